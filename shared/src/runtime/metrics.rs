//! The one metrics recorder of a process, rendered as Prometheus text on the operations port.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

use super::shutdown::Shutdown;

/// How often histograms are folded: until then each sample takes memory of its own.
const UPKEEP: Duration = Duration::from_secs(1);

/// From an in-memory answer to a long generation.
const SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// From an empty body to the largest one accepted.
const BYTES: &[f64] = &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 33_554_432.0];

/// Histograms with bounds of their own: those that OpenGateLLM's dashboards expect.
const OWN_BUCKETS: &[(&str, &[f64])] = &[
    (
        "ogl_inference_requests_duration_seconds",
        &[
            0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0,
            15.0, 20.0, 25.0, 30.0, 45.0, 60.0, 75.0, 90.0, 105.0, 120.0, 150.0, 180.0, 210.0, 240.0, 270.0, 300.0,
        ],
    ),
    (
        "ogl_inference_ttft_milliseconds",
        &[
            5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 750.0, 1000.0, 1500.0, 2000.0,
            3000.0, 5000.0, 7500.0, 10_000.0, 15_000.0, 20_000.0, 25_000.0, 30_000.0, 45_000.0, 60_000.0, 75_000.0,
            90_000.0, 105_000.0, 120_000.0, 135_000.0, 150_000.0, 165_000.0, 180_000.0, 210_000.0, 240_000.0,
            270_000.0, 300_000.0,
        ],
    ),
    (
        "ogl_inference_output_tokens_per_second",
        &[
            5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 85.0, 90.0, 95.0, 100.0, 105.0, 110.0, 115.0, 125.0, 150.0, 175.0,
            200.0, 250.0, 300.0, 400.0, 500.0, 750.0, 1000.0,
        ],
    ),
];

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
    /// The names of its labels. Their values come from closed sets and from what operators configured, never from callers.
    pub labels: &'static [&'static str],
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

/// Brings gauges up to date.
type Refresh = Box<dyn Fn() + Send + Sync>;

static INSTALLED: OnceLock<Metrics> = OnceLock::new();
static REFRESHES: Mutex<Vec<Refresh>> = Mutex::new(Vec::new());
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
            .and_then(with_own_buckets)
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(MetricsError)?;
        Ok(INSTALLED.get_or_init(|| Self { handle }).clone())
    }

    /// Everything recorded, as Prometheus text.
    #[must_use]
    pub fn render(&self) -> String {
        for refresh in REFRESHES.lock().iter() {
            refresh();
        }
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

/// Something to be done before each scrape, for numbers that are counted elsewhere.
pub fn before_scrape(refresh: impl Fn() + Send + Sync + 'static) {
    REFRESHES.lock().push(Box::new(refresh));
}

/// Families whose bounds are the contract of another system's dashboards.
fn with_own_buckets(builder: PrometheusBuilder) -> Result<PrometheusBuilder, BuildError> {
    OWN_BUCKETS.iter().try_fold(builder, |builder, (name, bounds)| {
        builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds)
    })
}

/// Gives families their help text and unit.
pub fn describe(families: &[Family]) {
    for Family { name, kind, help, .. } in families.iter().copied() {
        let unit = match name {
            _ if name.ends_with("_seconds") => Unit::Seconds,
            _ if name.ends_with("_milliseconds") => Unit::Milliseconds,
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
        describe(&[Family {
            name: "test_runtime_seconds",
            kind: FamilyKind::Histogram,
            labels: &["route"],
            help: "How long.",
        }]);
        metrics::histogram!("test_runtime_seconds", "route" => "a").record(0.02);
        assert!(first.render().contains("# HELP test_runtime_seconds How long."));
        assert!(second.render().contains("test_runtime_seconds_bucket{route=\"a\",le=\"0.025\"} 1"));
    }
}
