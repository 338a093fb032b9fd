//! The live view of a run on a terminal: what `metrics.jsonl` and the run's folder say, drawn anew
//! twice a second. `hebb watch` shows it of any run, `--dashboard` of the one in hand.

mod history;
mod view;

use std::io::{self, IsTerminal, Stderr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use hebbian::Error;
use hebbian::train::Stop;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use self::history::History;
use self::view::View;

/// How often the run's folder is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is looked whether the view is to end.
const POLL: Duration = Duration::from_millis(50);

/// Whether the terminal is ours.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Whether the view can be shown.
///
/// # Errors
/// `option` needs a terminal, and standard error is none.
pub fn check(option: &str) -> Result<()> {
    if io::stderr().is_terminal() {
        return Ok(());
    }
    let problem = "needs a terminal on standard error; leave it out, or look at the run from \
                   another one with hebb watch";
    Err(Error::config(option, problem).into())
}

/// Gives the terminal back, if it is ours: also for panics and sudden ends.
pub fn restore() {
    if SHOWN.swap(false, Ordering::SeqCst) {
        // Nothing could be done about it.
        let _ = disable_raw_mode();
        let _ = execute!(io::stderr(), LeaveAlternateScreen, Show);
    }
}

/// Shows a run until a key ends it.
///
/// # Errors
/// If the run's folder can't be read, or the terminal not be used.
pub fn watch(run: &Path) -> Result<()> {
    show(run, "q quits; the run goes on", |key| key.is_some_and(ends))
}

/// The view of the run in hand, in a thread of its own; dropped, it ends.
pub struct Dashboard {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Dashboard {
    /// Shows the run in folder `run`, which its keys can stop.
    pub fn start(run: &Path, stop: Stop) -> Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let (run, ended) = (run.to_owned(), Arc::clone(&end));
        let shown = move || {
            let keys = "q saves a checkpoint and stops the run; again: at once";
            show(&run, keys, |key| {
                if key.is_some_and(ends) {
                    if stop.is_asked() {
                        restore();
                        std::process::exit(130);
                    }
                    stop.ask();
                }
                ended.load(Ordering::Relaxed)
            })
        };
        let thread = std::thread::Builder::new().name("hebb-dashboard".to_owned());
        let thread = thread.spawn(shown).context("no thread for the view could be started")?;
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("warning: the view ended early: {error:#}");
        }
        restore();
    }
}

/// Whether a key asks for the end.
fn ends(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
        || (control && key.code == KeyCode::Char('c'))
}

/// Draws the run again and again; `done` is told the keys, and asked between them.
fn show(run: &Path, keys: &str, mut done: impl FnMut(Option<KeyEvent>) -> bool) -> Result<()> {
    let mut history = History::of(run);
    let colours = std::env::var_os("NO_COLOR").is_none();
    let mut terminal = take_terminal()?;
    let result = (|| -> Result<()> {
        let mut looked: Option<Instant> = None;
        loop {
            if looked.is_none_or(|at| at.elapsed() >= LOOK) {
                history.refresh().with_context(|| run.display().to_string())?;
                let view = View { history: &history, now: SystemTime::now(), keys, colours };
                terminal.draw(|frame| view.draw(frame))?;
                looked = Some(Instant::now());
            }
            let key = match event::poll(POLL)? {
                false => None,
                true => match event::read()? {
                    Event::Key(key) if key.is_press() => Some(key),
                    Event::Resize(..) => {
                        looked = None;
                        None
                    }
                    _ => None,
                },
            };
            if done(key) {
                return Ok(());
            }
        }
    })();
    restore();
    result
}

fn take_terminal() -> Result<Terminal<CrosstermBackend<Stderr>>> {
    enable_raw_mode()?;
    SHOWN.store(true, Ordering::SeqCst);
    execute!(io::stderr(), EnterAlternateScreen)?;
    Ok(Terminal::new(CrosstermBackend::new(io::stderr()))?)
}
