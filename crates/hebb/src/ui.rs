//! What people see while they wait, and tables on standard output.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use hebbian::train::Event;
use hebbian_data::Skipped;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::processes::Processes;

/// Unreadable images named on standard error; the rest are counted.
const NAMED: usize = 5;

/// Progress bars on standard error: one line a stage, with rate and time left.
/// Where standard error is no terminal, one line at the end of each stage.
#[derive(Default)]
pub struct Progress {
    stage: Option<(ProgressBar, String, Instant)>,
    /// Something else is on the terminal, or another process speaks for all.
    silent: bool,
}

impl Progress {
    /// Of what several processes do, which the first shows for all.
    pub fn of(processes: &Processes) -> Self {
        Self { silent: !processes.is_first(), ..Self::default() }
    }

    /// Says nothing of what is to come, while the terminal is taken.
    pub fn silence(&mut self, silent: bool) {
        self.silent = silent;
    }

    /// Takes an event of a long job.
    pub fn on(&mut self, event: Event<'_>) {
        if self.silent {
            return;
        }
        match event {
            Event::Stage { name, done, total } => self.begin(name, done, total),
            Event::Step { done, text } => self.step(done, text),
            Event::End => self.end(),
            Event::Skipped(skipped) => report_skipped(skipped),
        }
    }

    /// Writes a line to standard error, beside whatever is shown there.
    pub fn note(&self, text: &str) {
        match &self.stage {
            Some((bar, _, _)) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn begin(&mut self, name: &str, done: usize, total: usize) {
        self.end();
        let target = ProgressDrawTarget::stderr();
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let template = "{prefix:<24} {bar:32} {pos:>6}/{len} {elapsed:>4} left {eta:>4} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        bar.set_prefix(name.to_owned());
        bar.set_position(done as u64);
        bar.reset_eta();
        self.stage = Some((bar, name.to_owned(), Instant::now()));
    }

    fn step(&mut self, done: usize, text: String) {
        if let Some((bar, _, _)) = &self.stage {
            bar.set_position(done as u64);
            bar.set_message(text);
        }
    }

    fn end(&mut self) {
        if let Some((bar, name, since)) = self.stage.take() {
            bar.finish_and_clear();
            eprintln!("{name:<24} {:.1} s", since.elapsed().as_secs_f64());
        }
    }

    /// A callback for jobs that report images done and in all.
    pub fn counter<'a>(&'a mut self, name: &'a str) -> impl FnMut(usize, usize) + 'a {
        let mut begun = false;
        move |done, total| {
            if !std::mem::replace(&mut begun, true) {
                self.begin(name, 0, total);
            }
            self.step(done, String::new());
            if done == total {
                self.end();
            }
        }
    }
}

/// Makes room for a line where another process may be drawing its progress.
pub fn clear_line() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K");
    }
}

/// Names the images that were left out.
pub fn report_skipped(skipped: &[Skipped]) {
    eprintln!("warning: {} images could not be read and were left out:", skipped.len());
    for image in skipped.iter().take(NAMED) {
        eprintln!("  {}: {}", image.id, image.reason);
    }
    if skipped.len() > NAMED {
        eprintln!("  and {} more; `hebb data describe` lists them all", skipped.len() - NAMED);
    }
}

/// Writes a line to standard output; leaves the function with the error if
/// that cannot be written to.
macro_rules! say {
    ($($text:tt)*) => { $crate::ui::line(format_args!($($text)*))? };
}
pub(crate) use say;

/// Writes a line to standard output.
pub fn line(text: std::fmt::Arguments<'_>) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}

/// Prints rows in columns: the first to the left, the others to the right.
pub fn print_table(columns: &[&str], rows: &[Vec<String>]) -> std::io::Result<()> {
    let width = |i: usize| {
        let cells = rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count());
        cells.chain([columns[i].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let aligned = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths).enumerate();
        let cells = cells.map(|(i, (cell, &width))| match i {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let header = aligned(columns.to_vec());
    let bold = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if bold {
        say!("\x1b[1m{header}\x1b[0m");
    } else {
        say!("{header}");
    }
    for row in rows {
        say!("{}", aligned(row.iter().map(String::as_str).collect()));
    }
    Ok(())
}

/// A share as a percentage with two decimals.
pub fn percent(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}
