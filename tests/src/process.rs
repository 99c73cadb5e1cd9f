//! A process of the product: started as an operator would, watched through what it prints, never left behind.

use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{paths, runtime};

/// How long a start may take on a loaded machine.
const START: Duration = Duration::from_secs(60);

/// A command line of one of the product's binaries, about to be started.
pub struct Launch {
    name: String,
    command: Command,
}

/// A running (or ended) process and the files that hold its output.
pub struct Process {
    name: String,
    child: Mutex<Child>,
    pid: u32,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// The addresses a process printed when it became ready, without a trailing slash.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    /// Clients or operators.
    pub public: String,
    /// Data planes (control plane only).
    pub grpc: Option<String>,
    /// Probes and metrics.
    pub operations: String,
}

impl Launch {
    /// `binary` with an environment that holds nothing of the developer's own settings.
    #[must_use]
    pub fn new(binary: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        // A file that may not grow is to look like a full disk: an error, and no signal.
        command.args(["env", "--ignore-signal=XFSZ"]).arg(paths::binary(binary)).env_clear().stdin(Stdio::null());
        for kept in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE", "TOKIO_WORKER_THREADS"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        // No balancer has to learn of an end here.
        command.env("GATEWRIGHT_MIN_DRAIN", "0s");
        Self { name: binary.to_owned(), command }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Adds a flag with its value.
    #[must_use]
    pub fn flag(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.args([name.as_ref(), value.as_ref()])
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts in this folder.
    #[must_use]
    pub fn within(mut self, folder: &std::path::Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Starts the process.
    #[must_use]
    pub fn start(mut self) -> Process {
        let base = paths::scratch().join(crate::unique(&self.name));
        let (stdout, stderr) = (base.with_extension("out"), base.with_extension("err"));
        self.command.stdout(File::create(&stdout).expect("a file for the output"));
        self.command.stderr(File::create(&stderr).expect("a file for the log"));
        let child =
            runtime::launch(self.command).unwrap_or_else(|error| panic!("{} does not start: {error}", self.name));
        Process { name: self.name, pid: child.id(), child: Mutex::new(child), stdout, stderr }
    }

    /// Starts the process and waits for its end.
    pub async fn finish(self) -> Finished {
        let process = self.start();
        let status = process.wait(START).await;
        Finished { code: status.code(), stdout: process.stdout(), stderr: process.stderr() }
    }
}

/// How a process ended and what it said.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Finished {
    /// Both outputs together.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Process {
    /// Waits for the line that tells the addresses.
    pub async fn ready(&self) -> Ready {
        let start = Instant::now();
        loop {
            if let Some(ready) = self.stdout().lines().find_map(ready_line) {
                return ready;
            }
            if let Some(status) = self.ended() {
                panic!("{} ended before it was ready ({status}):\n{}", self.name, self.said());
            }
            assert!(start.elapsed() < START, "{} is not ready within {START:?}:\n{}", self.name, self.said());
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// Its number for the operating system.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.pid
    }

    /// Asks the process to end, and waits.
    pub async fn terminate(&self, within: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait(within).await
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        // The shell's own `kill` exists on every machine; the program of that name does not.
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid)]).status();
        assert!(sent.is_ok_and(|status| status.success()), "no signal {name} to {} ({})", self.name, self.pid);
    }

    /// Ends the process at once.
    pub fn kill(&self) {
        let mut child = self.child.lock();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Waits for the end of the process.
    pub async fn wait(&self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(start.elapsed() < within, "{} still runs after {within:?}:\n{}", self.name, self.said());
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().try_wait().expect("the state of a child")
    }

    /// Resident memory in bytes.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that was resident since its start, in bytes.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix(name));
        kib.and_then(|kib| kib.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// What it printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// What it logged so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Both outputs together.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout(), self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads `ready: public=… grpc=… operations=…`.
fn ready_line(line: &str) -> Option<Ready> {
    let mut ready = Ready::default();
    for word in line.strip_prefix("ready: ")?.split_whitespace() {
        match word.split_once('=') {
            Some(("public", url)) => ready.public = url.trim_end_matches('/').to_owned(),
            Some(("grpc", url)) => ready.grpc = Some(url.trim_end_matches('/').to_owned()),
            Some(("operations", url)) => ready.operations = url.trim_end_matches('/').to_owned(),
            _ => {}
        }
    }
    Some(ready)
}
