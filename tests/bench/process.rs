//! What a process and its children have cost: CPU time and memory, read from `/proc`.

use std::fs;
use std::time::Duration;

/// The kernel's unit of CPU time in `/proc`, fixed at 100 Hz on Linux.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process and all below it.
pub(crate) fn cpu(pid: u32) -> Duration {
    tree(pid).into_iter().filter_map(ticks).sum::<u32>() * TICK
}

/// Proportional memory of a process and all below it, in KiB.
pub(crate) fn memory(pid: u32) -> u64 {
    let pss = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?.parse::<u64>().ok()
    };
    tree(pid).into_iter().filter_map(pss).sum()
}

fn tree(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let processes: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, fields(pid)?.get(1)?.parse().ok()?)))
        .collect();
    let mut at = 0;
    while let Some(parent) = all.get(at).copied() {
        all.extend(processes.iter().filter(|(_, above)| *above == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    all
}

/// User and system time, in ticks.
fn ticks(pid: u32) -> Option<u32> {
    let fields = fields(pid)?;
    Some(fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?)
}

/// The fields of `/proc/<pid>/stat` after the name, which may hold anything.
fn fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}
