//! The targets, each a process of its own on core 1: nothing, nginx, the floor, Gatewright's data plane.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use harness::admin::number;
use harness::gateway::{Gateway, Mode};
use harness::{eventually, paths};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::free_port;
use crate::scenario::ROUTERS;

/// One thing under load.
pub(crate) struct Target {
    /// For the table.
    pub(crate) name: &'static str,
    /// Where requests go.
    pub(crate) address: SocketAddr,
    /// The bearer that it accepts.
    pub(crate) key: String,
    /// Whose CPU counts; nothing for a direct connection.
    pub(crate) pid: Option<u32>,
    #[expect(dead_code, reason = "ends the process when the target is dropped")]
    alive: Alive,
}

#[expect(dead_code, reason = "held for their drop")]
enum Alive {
    Process(Killed),
    Gateway(Box<Gateway>),
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// The core that only the target uses.
const CORE: &str = "1";
const KEY: &str = "bench-key-0123456789";

/// Starts everything; nginx only where it is installed.
pub(crate) async fn start_all() -> Result<Vec<Target>> {
    let upstream = free_port()?;
    let mock = spawn(itself()?.arg("mock").arg(upstream.to_string()))?;
    until_open(upstream).await?;
    let mut targets =
        vec![Target { name: "direct", address: upstream, key: KEY.into(), pid: None, alive: Alive::Process(mock) }];
    match nginx(upstream).await {
        Ok(target) => targets.push(target),
        Err(error) => eprintln!("nginx is left out: {error:#}"),
    }
    targets.push(floor(upstream).await?);
    targets.push(gatewright(upstream).await?);
    Ok(targets)
}

async fn floor(upstream: SocketAddr) -> Result<Target> {
    let address = free_port()?;
    let mut command = pinned(&std::env::current_exe()?.to_string_lossy());
    let process = spawn(command.args(["floor", &address.to_string(), &upstream.to_string(), KEY]))?;
    until_open(address).await?;
    let pid = Some(process.0.id());
    Ok(Target { name: "floor", address, key: KEY.into(), pid, alive: Alive::Process(process) })
}

async fn nginx(upstream: SocketAddr) -> Result<Target> {
    let (address, folder) = (free_port()?, paths::folder("nginx"));
    let place = folder.display();
    let config = format!(
        "daemon off; master_process off; worker_processes 1; pid {place}/pid; error_log {place}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n  \
         fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n  \
         keepalive_requests 100000000; client_body_buffer_size 128k; client_max_body_size 32m;\n  \
         map $http_authorization $known {{ default 0; \"Bearer {KEY}\" 1; }}\n  \
         upstream mock {{ server {upstream}; keepalive 512; keepalive_requests 100000000; }}\n  \
         server {{ listen {address};\n    location / {{\n      if ($known = 0) {{ return 401; }}\n      \
         proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off;\n      \
         proxy_set_header Authorization \"Bearer upstream\";\n    }}\n  }}\n}}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = pinned("nginx");
    let process = spawn(command.arg("-c").arg(&file).arg("-p").arg(&folder))?;
    until_open(address).await?;
    let pid = Some(process.0.id());
    Ok(Target { name: "nginx", address, key: KEY.into(), pid, alive: Alive::Process(process) })
}

/// Everything on, as shipped: key check, routing, usage, accounting, metrics, access log.
async fn gatewright(upstream: SocketAddr) -> Result<Target> {
    let gateway = Gateway::start(Mode::Split).await;
    let admin = gateway.admin();
    for name in ROUTERS {
        let router = admin.create("routers", &json!({"name": name, "type": "text-generation"})).await;
        let provider = json!({
            "router_id": number(&router), "type": "vllm", "url": format!("http://{upstream}"), "key": "upstream", "model_name": name,
        });
        admin.create("providers", &provider).await;
    }
    let role = admin.create("roles", &json!({"name": "bench", "all_routers": true})).await;
    let user = admin.user(number(&role), None).await;
    let (_, key) = admin.key(user).await;
    let client = gateway.client().bearer(&key);
    eventually("the routers reach the data plane", Duration::from_secs(5), || async {
        let models = client.get("/v1/models").send().await.json();
        (models["data"].as_array()?.len() >= ROUTERS.len()).then_some(())
    })
    .await;
    let pid = gateway.data_process().id();
    let pinned = Command::new("taskset").args(["-acp", CORE, &pid.to_string()]).stdout(Stdio::null()).status()?;
    if !pinned.success() {
        bail!("taskset could not pin the data plane");
    }
    let address = gateway.inference_url().trim_start_matches("http://").parse()?;
    Ok(Target { name: "gatewright", address, key, pid: Some(pid), alive: Alive::Gateway(Box::new(gateway)) })
}

fn itself() -> Result<Command> {
    Ok(Command::new(std::env::current_exe()?))
}

fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", CORE, program]);
    command
}

fn spawn(command: &mut Command) -> Result<Killed> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(Killed).with_context(|| format!("starting {command:?}"))
}

async fn until_open(address: SocketAddr) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(address).await.is_err() {
        if Instant::now() > end {
            bail!("nobody listens on {address}");
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
