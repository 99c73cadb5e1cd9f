//! The one metrics recorder of a process, rendered as Prometheus text on the operations port.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

use super::shutdown::Shutdown;

/// How often histograms are folded, so that memory stays bounded when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// From an in-memory answer to a long generation.
const SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// From an empty body to the largest one accepted.
const BYTES: &[f64] = &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 33_554_432.0];

/// What a family counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric family: declared in one place, described once.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Its name, with its unit at the end (`_seconds`, `_bytes`, `_total`).
    pub name: &'static str,
    /// What it counts.
    pub kind: FamilyKind,
    /// One sentence for the reader of a dashboard.
    pub help: &'static str,
}

/// Why the recorder could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("the metrics recorder cannot be installed")]
pub struct MetricsError(#[source] BuildError);

/// Renders what the process has recorded. Clones are cheap.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

static INSTALLED: OnceLock<Metrics> = OnceLock::new();
static INSTALLING: Mutex<()> = Mutex::new(());

impl Metrics {
    /// Installs the recorder, or returns the one that this process has already.
    ///
    /// # Errors
    /// [`MetricsError`] when another library installed a recorder of its own.
    pub fn install() -> Result<Self, MetricsError> {
        let _one_at_a_time = INSTALLING.lock();
        if let Some(installed) = INSTALLED.get() {
            return Ok(installed.clone());
        }
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES))
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(MetricsError)?;
        Ok(INSTALLED.get_or_init(|| Self { handle }).clone())
    }

    /// Everything recorded, as Prometheus text.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Starts the task that keeps histograms small until the process stops.
    pub fn keep_up(&self, shutdown: &Shutdown) {
        let (handle, ending) = (self.handle.clone(), shutdown.clone());
        shutdown.spawn("metrics upkeep", async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(UPKEEP) => handle.run_upkeep(),
                    () = ending.stopping() => return,
                }
            }
        });
    }
}

/// Gives families their help text and unit.
pub fn describe(families: &[Family]) {
    for Family { name, kind, help } in families.iter().copied() {
        let unit = match name {
            _ if name.ends_with("_seconds") => Unit::Seconds,
            _ if name.ends_with("_bytes") => Unit::Bytes,
            _ => Unit::Count,
        };
        match kind {
            FamilyKind::Counter => metrics::describe_counter!(name, unit, help),
            FamilyKind::Gauge => metrics::describe_gauge!(name, unit, help),
            FamilyKind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn one_recorder_serves_the_process() {
        let (first, second) = (Metrics::install().unwrap(), Metrics::install().unwrap());
        describe(&[Family { name: "test_runtime_seconds", kind: FamilyKind::Histogram, help: "How long." }]);
        metrics::histogram!("test_runtime_seconds", "route" => "a").record(0.02);
        assert!(first.render().contains("# HELP test_runtime_seconds How long."));
        assert!(second.render().contains("test_runtime_seconds_bucket{route=\"a\",le=\"0.025\"} 1"));
    }
}
