//! Steps of two processes of one thread each, what they exchange, and from that
//! what more processes would give.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use hebbian::engine::Device;
use rayon::ThreadPoolBuilder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Bench;
use crate::machine::GemmRates;
use crate::peers::json_lines;
use crate::report::{Section, Table, ms};
use crate::steps::{Form, RULES, Work};
use crate::timing::Timing;

/// Processes that a projection is made for.
const PROJECTED: [f64; 2] = [8.0, 64.0];

/// How processes may be connected: name, bytes a second that one sends while it
/// receives, seconds of a message.
const NETWORKS: [(&str, f64, f64); 3] =
    [("10 Gbit/s", 1.25e9, 3e-5), ("25 Gbit/s", 3.125e9, 2e-5), ("100 Gbit/s", 12.5e9, 5e-6)];

/// What one of the processes measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Shared {
    timing: Timing,
    /// Sums over the processes, a step.
    sums: f64,
    /// Bytes of them, a step.
    bytes: f64,
    /// Seconds of them, a step, but for waiting.
    exchange: f64,
    /// Seconds of waiting for the slower process, a step.
    waiting: f64,
    /// Seconds of the sum of one number.
    smallest: f64,
}

#[derive(Serialize)]
struct Row {
    what: String,
    /// Images a step, of both processes.
    images: usize,
    /// One process and thread, the whole batch.
    one: Timing,
    /// One process and thread, the part of one of two.
    part: Timing,
    two: Shared,
}

impl Row {
    /// Bytes a second that a process sends while it receives, from what is left
    /// when each sum's message is taken off.
    fn rate(&self) -> f64 {
        let Shared { sums, bytes, exchange, smallest, .. } = self.two;
        bytes / (exchange - sums * smallest).max(1e-9)
    }

    /// Share of so many processes' time that is work, each with the images that
    /// one of the two had.
    fn efficiency(&self, processes: f64, rate: f64, message: f64) -> f64 {
        let Shared { sums, bytes, .. } = self.two;
        let work = self.part.summary()[1];
        let sent = 2.0 * (processes - 1.0) / processes * bytes;
        work / (work + sent / rate + sums * processes.log2() * message)
    }
}

/// How it compares.
pub(crate) struct Processes(Vec<Row>);

/// Measures all of it.
///
/// # Errors
/// If `mpirun` is not there, or this was built without MPI.
pub(crate) fn measure(bench: &Bench) -> Result<Processes> {
    if cfg!(not(feature = "mpi")) {
        bail!("processes are measured in a build with --features mpi");
    }
    let one_thread = ThreadPoolBuilder::new().num_threads(1).build()?;
    let mut rows = Vec::new();
    for &images in &bench.batches {
        for work in RULES.map(Work::Hebbian).into_iter().chain([Work::Supervised]) {
            eprintln!("{work}, {images}: one process, and two");
            let alone = |images| {
                let subject = bench.subject(images)?;
                one_thread.install(|| {
                    work.measure(&Device::Cpu, Form::Engine, subject, images, bench.runs)
                })
            };
            let (one, part) = (alone(images)?, alone(images.div_ceil(2))?);
            let two = by_two(work, &bench.inputs(images)?, bench.runs)?;
            rows.push(Row { what: work.to_string(), images, one, part, two });
        }
    }
    Ok(Processes(rows))
}

/// Two processes of this program, which [`part`] answers for.
fn by_two(work: Work, inputs: &Path, runs: usize) -> Result<Shared> {
    let mut command = Command::new("mpirun");
    command.args(["-n", "2", "--bind-to", "core", "-x", "RAYON_NUM_THREADS=1"]);
    // Open MPI does not start as root unless told so.
    command.envs(["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"].map(|n| (n, "1")));
    command.arg(std::env::current_exe()?).args(["--row", &work.to_string()]);
    command.args(["--form", &Form::Engine.to_string(), "--part", "--runs", &runs.to_string()]);
    command.arg("--inputs").arg(inputs);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.context("`mpirun` can't be started; install Open MPI")?;
    ensure!(output.status.success(), "measuring {work} by two processes failed; see above");
    let mut found = json_lines(&work.to_string(), &output.stdout)?;
    match (found.pop(), found.is_empty()) {
        (Some(found), true) => Ok(found),
        _ => bail!("measuring {work} by two processes gave no single result"),
    }
}

/// What one of two processes has to do; the first writes what it took.
///
/// # Errors
/// If this was built without MPI, or a step fails.
#[cfg(feature = "mpi")]
pub(crate) fn part(work: Work, inputs: &Path, runs: usize) -> Result<()> {
    use std::sync::Arc;
    use std::time::Instant;

    use hebbian::collective::{Collective, Group, Meter, Mpi};

    use hebbian::network::NetworkSpec;

    use crate::NETWORK;
    use crate::steps::Subject;

    let mpi: Arc<dyn Collective> = Arc::new(Mpi::start()?);
    let mut number = [0.0];
    let mut smallest = || {
        let begun = Instant::now();
        (0..1000).for_each(|_| mpi.sum_f64(&mut number));
        begun.elapsed().as_secs_f64() / 1000.0
    };
    // The first to warm up.
    smallest();
    let smallest = smallest();
    let meter = Arc::new(Meter::new(Arc::clone(&mpi)));
    let group = Group::from(Arc::clone(&meter) as Arc<dyn Collective>);
    let subject = Subject::read(&NetworkSpec::find(NETWORK)?, inputs)?;
    let rows = group.share().rows(subject.labels.len());
    let (subject, images) = (subject.part(rows.clone()), rows.len());
    let device = Device::Cpu.shared(&group)?;
    let timing = work.measure(&device, Form::Engine, subject, images, runs)?;
    let (traffic, steps) = (meter.take(), (runs + 1) as f64);
    let found = Shared {
        timing,
        sums: traffic.calls as f64 / steps,
        bytes: traffic.bytes as f64 / steps,
        exchange: traffic.seconds / steps,
        waiting: traffic.waited / steps,
        smallest,
    };
    if mpi.rank() == 0 {
        println!("{}", serde_json::to_string(&found)?);
    }
    Ok(())
}

/// As above.
#[cfg(not(feature = "mpi"))]
pub(crate) fn part(_: Work, _: &Path, _: usize) -> Result<()> {
    bail!("this program was built without MPI")
}

impl Section for Processes {
    fn key(&self) -> &'static str {
        "processes"
    }

    fn json(&self, _: &GemmRates) -> Result<Value> {
        Ok(json!({ "rows": self.0 }))
    }

    fn page(&self, _: &GemmRates) -> String {
        let head = [
            "what",
            "images",
            "one process ms",
            "half the images ms",
            "two processes ms",
            "speed-up",
            "sums",
            "MiB",
            "exchange ms",
            "share",
            "waiting ms",
            "GB/s",
        ];
        let mut measured = Table::new(1, &head);
        let [few, many] = PROJECTED.map(|processes| format!("{processes} processes"));
        let head = ["what", "images each", "connected by", &few, &many];
        let mut projected = Table::new(1, &head);
        for row in &self.0 {
            let median = |timing: &Timing| timing.summary()[1];
            let (one, two) = (median(&row.one), median(&row.two.timing));
            let Shared { sums, bytes, exchange, waiting, smallest, .. } = row.two;
            measured.push([
                row.what.clone(),
                row.images.to_string(),
                ms(one),
                ms(median(&row.part)),
                ms(two),
                format!("{:.2}", one / two),
                format!("{sums:.0}"),
                format!("{:.1}", bytes / f64::from(1 << 20)),
                ms(exchange),
                format!("{:.1} %", 100.0 * exchange / two),
                ms(waiting),
                format!("{:.1}", row.rate() / 1e9),
            ]);
            let memory = ("memory, as measured", row.rate(), smallest);
            for (network, rate, message) in [memory].into_iter().chain(NETWORKS) {
                let [few, many] = PROJECTED.map(|processes| {
                    format!("{:.0} %", 100.0 * row.efficiency(processes, rate, message))
                });
                let each = row.images.div_ceil(2).to_string();
                projected.push([row.what.clone(), each, network.into(), few, many]);
            }
        }
        let mut page = String::from("## Processes\n\n");
        let _ = write!(
            page,
            "Steps of one process and of two that share the batch, each of one thread; what each \
             of the two exchanges a step, and how long that takes when both are ready:\n\n{}\n\
             Efficiency on paper, each process with as many images as one of the two: \
             `T / (T + 2 (P - 1) / P S / R + n L log2 P)` with `T` the step of one process, `S` \
             the bytes and `n` the number of sums, `R` bytes a second and `L` the seconds of a \
             message; of a ring for the numbers and a tree for their beginnings:\n\n{}",
            measured.to_markdown(),
            projected.to_markdown()
        );
        page
    }
}
