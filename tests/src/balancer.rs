//! The haproxy that is shipped for a fleet on one machine, with its own configuration but for addresses.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use parking_lot::Mutex;

use crate::client::Client;
use crate::postgres::free_port;
use crate::process::Ready;
use crate::{eventually, paths, runtime, unique};

/// A running haproxy; ends when it is dropped.
pub struct Balancer {
    url: String,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The configuration as it is shipped.
#[must_use]
pub fn shipped() -> String {
    std::fs::read_to_string(paths::root().join("deploy/compose/haproxy.cfg")).expect("haproxy's configuration")
}

impl Balancer {
    /// In front of these data planes and control planes, once it answers; nothing where haproxy is not installed.
    pub async fn start(data: &[Ready], control: &[Ready]) -> Option<Self> {
        let (program, libraries) = program()?;
        let file = paths::scratch().join(unique("haproxy"));
        let log = file.with_extension("log");
        let port = free_port();
        std::fs::write(&file, configuration(port, data, control)).expect("haproxy's configuration");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let output = std::fs::File::create(&log).expect("a file for its log");
        command.stderr(output.try_clone().expect("a file for its log")).stdout(output);
        let child = runtime::launch(command).expect("haproxy starts");
        let balancer = Self { url: format!("http://127.0.0.1:{port}"), child: Mutex::new(child), log };
        let client = Client::new(balancer.url());
        eventually("haproxy has found everybody", Duration::from_secs(20), || async {
            let ended = balancer.child.lock().try_wait().expect("the state of a child");
            assert!(ended.is_none(), "haproxy ended:\n{}", balancer.said());
            let inference = client.get("/health").try_send().await.is_ok_and(|reply| reply.status == 200);
            let management = client.get("/v1/admin/fleet").try_send().await.is_ok_and(|reply| reply.status == 401);
            (inference && management).then_some(())
        })
        .await;
        Some(balancer)
    }

    /// Where clients and operators come in.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it said of itself and of its servers.
    #[must_use]
    pub fn said(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines = log.lines().filter(|line| line.starts_with('[') || line.starts_with("Server "));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The program, and where its libraries are when it lies unpacked among the counterparts.
fn program() -> Option<(PathBuf, Option<PathBuf>)> {
    let installed = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].map(PathBuf::from);
    if let Some(installed) = installed.into_iter().find(|path| path.exists()) {
        return Some((installed, None));
    }
    let home = paths::target().join("counterparts/haproxy");
    let unpacked = home.join("usr/sbin/haproxy");
    let libraries = home.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    unpacked.exists().then_some((unpacked, Some(libraries)))
}

fn configuration(port: u16, data: &[Ready], control: &[Ready]) -> String {
    let (mut text, mut left_out) = (String::new(), false);
    for line in shipped().lines() {
        // The names of containers mean nothing here, nor does who resolves them.
        left_out = line.starts_with("resolvers ") || (left_out && line.starts_with(' '));
        if left_out || line.trim_start().starts_with("server ") {
            continue;
        }
        let line = line.replace(" resolvers engine init-addr last,libc,none", "");
        let line = line.replace("bind :8000", &format!("bind 127.0.0.1:{port}"));
        writeln!(text, "{line}").expect("text");
        match line.as_str() {
            "backend data_planes" => servers(&mut text, data),
            "backend control_planes" => servers(&mut text, control),
            _ => {}
        }
    }
    text
}

fn servers(text: &mut String, planes: &[Ready]) {
    for (number, plane) in planes.iter().enumerate() {
        let address = plane.public.trim_start_matches("http://");
        let (_, operations) = plane.operations.rsplit_once(':').expect("a port");
        writeln!(text, "    server plane-{number} {address} port {operations}").expect("text");
    }
}
