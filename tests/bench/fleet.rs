//! The fleet: how soon a change and a revocation are on a hundred nodes, how soon a node is ready from disk, and a million keys.

use anyhow::{Context, Result};
use harness::client::Client;
use harness::postgres::Database;
use harness::runtime::runtime;
use harness::simulator::{Fleet, Plan, add_keys};

use crate::process;

/// How large, and how often.
#[derive(Clone, Copy)]
struct Size {
    simulated: usize,
    real: usize,
    rounds: usize,
    keys: u32,
    many: u32,
}

/// Measures and prints.
pub(crate) async fn run(arguments: &[&str]) -> Result<()> {
    let option =
        |name: &str| arguments.iter().position(|word| *word == name).and_then(|at| arguments.get(at + 1)).copied();
    let number = |name: &'static str, default: &'static str| option(name).unwrap_or(default).parse().context(name);
    let size = Size {
        simulated: number("--simulated", "96")?,
        real: number("--real", "4")?,
        rounds: number("--rounds", "30")?,
        keys: option("--keys").unwrap_or("100000").parse().context("--keys")?,
        many: option("--many").unwrap_or("1000000").parse().context("--many")?,
    };
    println!("| figure | measured |\n|---|---|");
    // Everything of the harness lives in its runtime.
    runtime().spawn(propagation(size)).await?;
    runtime().spawn(from_disk(size)).await?;
    runtime().spawn(many_keys(size)).await?;
    Ok(())
}

async fn propagation(size: Size) {
    let Size { simulated, real, rounds, .. } = size;
    let fleet = Fleet::start(Plan { control_planes: 2, simulated, real }).await;
    fleet.measure(2).await;
    let (changes, revocations) = fleet.measure(rounds).await;
    let nodes = simulated + real;
    println!("| a change on {nodes} nodes ({simulated} simulated, {real} processes), {rounds} changes | {changes} |");
    println!("| a revocation on {nodes} nodes, {rounds} revocations | {revocations} |");
}

async fn from_disk(size: Size) {
    let database = Database::migrated().await;
    add_keys(&database, size.keys).await;
    let mut fleet = Fleet::over(database, Plan { control_planes: 1, simulated: 0, real: 1 }).await;
    let took = fleet.restart_from_disk(0).await;
    println!("| start to ready from disk, {} keys, no control plane | {:.0} ms |", size.keys, took.as_secs_f64() * 1e3);
}

/// A whole catalog and a small change as a real node takes them, everything between the database and its table included.
async fn many_keys(size: Size) {
    const MIB: f64 = 1024.0 * 1024.0;
    if size.many == 0 {
        return;
    }
    let database = Database::migrated().await;
    add_keys(&database, size.many).await;
    let fleet = Fleet::over(database, Plan { control_planes: 1, simulated: 0, real: 1 }).await;
    let (full, _) = applied(&fleet).await;
    let cpu = process::cpu(fleet.node(0).id()).as_secs_f64();
    let (held, peak) = (fleet.node(0).resident(), fleet.node(0).peak());
    fleet.change(0).await;
    let (all, count) = applied(&fleet).await;
    let (fleet_changes, _) = fleet.measure(10).await;
    println!("| {} keys: FULL from its begin to its use, CPU of the data plane | {full:.2} s, {cpu:.2} s |", size.many);
    println!("| {} keys: the last of {count} revisions, a DELTA | {:.1} ms |", size.many, (all - full) * 1e3);
    println!("| {} keys: a change through all planes | {fleet_changes} |", size.many);
    println!(
        "| {} keys: memory of the data plane now, at most | {:.0} MiB, {:.0} MiB |",
        size.many,
        held as f64 / MIB,
        peak as f64 / MIB
    );
    println!(
        "| {} keys: memory of the control plane | {:.0} MiB |",
        size.many,
        fleet.control(0).resident() as f64 / MIB
    );
}

/// Seconds that the node spent on revisions so far, and how many they were.
async fn applied(fleet: &Fleet) -> (f64, f64) {
    let text = Client::new(fleet.operations(0)).get("/metrics").send().await.expect(200).text();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).unwrap_or(0.0)
    };
    (value("gatewright_config_apply_seconds_sum"), value("gatewright_config_apply_seconds_count"))
}
