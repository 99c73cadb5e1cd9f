//! The benchmark: Gatewright beside a direct connection, nginx and a bare hyper proxy, in interleaved rounds.
//!
//! Upstream and load share core 0, the target has core 1 alone. CPU per request and ratios taken in one run are the
//! figures to trust; absolute times belong to the machine. A window with a failed request is void.
//!
//! ```sh
//! cargo build --profile dist --bins && target/dist/bench run
//! target/dist/bench fleet
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a tool for developers"
)]

mod fleet;
mod floor;
mod load;
mod mock;
mod process;
mod report;
mod scenario;
mod target;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use load::Seen;
use report::Row;
use scenario::{SCENARIOS, Scenario};
use target::Target;

/// Before each window, so that pools are filled and code is warm.
const WARM_UP: Duration = Duration::from_millis(1_000);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["mock", listen] => Ok(mock::serve(listen.parse()?).await?),
        ["floor", listen, upstream, key] => Ok(floor::serve(listen.parse()?, upstream.parse()?, key).await?),
        ["run", rest @ ..] => pinned(rest),
        ["fleet", rest @ ..] => fleet::run(rest).await,
        ["run-pinned", rest @ ..] => run(rest).await,
        _ => bail!(
            "usage: bench run [--rounds N] [--seconds S] [--only SCENARIO] | bench fleet [--simulated N] [--real N] [--rounds N] [--keys N] [--many N]"
        ),
    }
}

/// Starts over with everything but the targets on core 0, and one worker thread for each target.
fn pinned(arguments: &[&str]) -> Result<()> {
    let mut command = std::process::Command::new("taskset");
    command.args(["-c", "0"]).arg(std::env::current_exe()?).arg("run-pinned").args(arguments);
    let status = command.env("TOKIO_WORKER_THREADS", "1").status().context("taskset (Debian: util-linux)")?;
    if !status.success() {
        bail!("the benchmark ended with {status}");
    }
    Ok(())
}

async fn run(arguments: &[&str]) -> Result<()> {
    let option =
        |name: &str| arguments.iter().position(|word| *word == name).and_then(|at| arguments.get(at + 1)).copied();
    let rounds: usize = option("--rounds").unwrap_or("3").parse().context("--rounds")?;
    let window = Duration::from_secs_f64(option("--seconds").unwrap_or("4").parse().context("--seconds")?);
    let scenarios: Vec<&Scenario> =
        SCENARIOS.iter().filter(|scenario| option("--only").is_none_or(|only| scenario.name.contains(only))).collect();

    let targets = target::start_all().await?;
    let mut rows: Vec<Row> = Vec::new();
    for target in &targets {
        let memory = target.pid.map(process::memory);
        rows.push(Row { scenario: "idle", target: target.name, memory, ..Row::default() });
    }
    for round in 0..rounds {
        for scenario in &scenarios {
            for target in &targets {
                eprintln!("round {} of {rounds}: {} {}", round + 1, scenario.name, target.name);
                rows.push(measure(scenario, target, window).await?);
            }
        }
    }
    report::print(&rows, &scenarios, &targets);
    Ok(())
}

async fn measure(scenario: &'static Scenario, target: &Target, window: Duration) -> Result<Row> {
    let bytes = load::request(target.address, &target.key, &scenario.body());
    load::drive(target.address, &bytes, scenario.shape, WARM_UP.min(window)).await?;
    let before = target.pid.map(process::cpu);
    let peak = tokio::spawn(memory_peak(target.pid, window));
    let mut seen: Seen = load::drive(target.address, &bytes, scenario.shape, window).await?;
    let spent = target.pid.map(process::cpu).zip(before).map(|(after, before)| after - before);
    let per = |count: u64| spent.filter(|_| count > 0).map(|spent| spent.as_secs_f64() * 1e6 / count as f64);
    Ok(Row {
        scenario: scenario.name,
        target: target.name,
        cpu_per_request: per(seen.requests),
        cpu_per_chunk: per(seen.chunks),
        per_second: seen.requests as f64 / seen.took.as_secs_f64(),
        chunks_per_second: seen.chunks as f64 / seen.took.as_secs_f64(),
        p50: seen.percentile(50),
        p99: seen.percentile(99),
        failures: seen.failures,
        memory: peak.await?,
    })
}

async fn memory_peak(pid: Option<u32>, window: Duration) -> Option<u64> {
    let (pid, end, mut peak) = (pid?, Instant::now() + window, 0);
    while Instant::now() < end {
        sleep(window / 4).await;
        peak = peak.max(process::memory(pid));
    }
    Some(peak)
}

/// A port that nobody has at this moment.
fn free_port() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
