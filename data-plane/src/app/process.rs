//! The data plane as a process of its own: ports, logs, signals.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use shared::kernel::secret::Secret;
use shared::runtime::listen::{self, HttpLimits, Port};
use shared::runtime::logs::{LogSettings, Logs};
use shared::runtime::metrics::Metrics;
use shared::runtime::operations;
use shared::runtime::outbound::OutboundSettings;
use shared::runtime::public::PublicSettings;
use shared::runtime::readiness::Readiness;
use shared::runtime::secrets_dir::{RootSecret, read_optional};
use shared::runtime::shutdown::Shutdown;
use shared::runtime::telemetry;
use tokio::time::sleep;

use super::{DataPlane, LogLevel, Options, StartError, Upstreams};
use crate::config::Args;
use crate::link::Dialer;

/// A data plane as a process of its own; returns when it has ended in order.
///
/// # Errors
/// [`StartError`]
pub async fn run(args: Args) -> Result<(), StartError> {
    let io = |doing| move |source| StartError::Io { doing, source };
    let logs = Arc::new(Logs::init(&args.logs.over(LogSettings::default())?)?);
    let readiness = Readiness::new();
    let shutdown = Shutdown::new(readiness.clone(), args.timing());
    shutdown.on_signals().map_err(io("handling signals"))?;
    let metrics = Metrics::install()?;
    metrics.keep_up(&shutdown);
    telemetry::install("gatewright-data-plane", &shutdown);
    // Addresses first: a taken one is told before anything is waited for.
    let public = listen::bind(args.listen, "--listen")?;
    let probes = listen::bind(args.operations_listen, "--operations-listen")?;
    let settings = args.public.clone().over(PublicSettings::default())?;
    let port = settings.open(HttpLimits::default(), &shutdown)?;
    let upstreams = Upstreams::of_process(&args.outbound.clone().over(OutboundSettings::default())?)?;
    let address = settings.url(public.local_addr().map_err(io("reading an address"))?);
    let operations_at = probes.local_addr().map_err(io("reading an address"))?;
    // Before anybody can ask: between one condition that is met and the next one that is made, a node would look ready.
    let joining = readiness.condition("enrolled");
    let _ = readiness.condition("catalog");
    let routes = operations::routes(readiness.clone(), Some(metrics));
    tokio::spawn(listen::serve(probes, routes, Port::operations(), shutdown.clone()));
    let dialer = Dialer::addresses(&args.control_plane, args.join_token.as_ref(), args.insecure)?;
    if !dialer.join(args.data_dir.as_deref(), args.join_token.as_ref(), &shutdown).await? {
        return Ok(());
    }
    joining.set(true);
    let options = Options {
        dialer,
        upstreams,
        data_dir: args.data_dir.clone(),
        node_key: node_key(&args)?,
        labels: args.labels(),
        max_stale: args.max_stale,
        limits: args.limits.limits(),
        log_level: log_level(&logs),
    };
    let plane = DataPlane::start(options, &readiness, &shutdown)?;
    let service = plane.service().below(settings.edge.prefix);
    tokio::spawn(listen::serve(public, service, port, shutdown.clone()));
    tokio::select! {
        () = ready(&readiness) => {
            let line = format!("ready: public={address} operations=http://{operations_at}\n");
            let mut out = io::stdout();
            out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(io("writing to standard output"))?;
        }
        () = shutdown.draining() => {}
    }
    shutdown.finished().await;
    drop(logs);
    Ok(())
}

/// What seals the copy of the catalog; the data folder without it keeps none.
fn node_key(args: &Args) -> Result<Option<Secret>, StartError> {
    let key = args.secrets_dir.as_deref().map(|folder| read_optional(folder, RootSecret::Node)).transpose()?.flatten();
    if args.data_dir.is_some() && key.is_none() {
        tracing::warn!(
            "without node.key (--secrets-dir) no copy of the catalog is kept: this node starts only with a control plane"
        );
    }
    Ok(key)
}

/// Waits until nothing stands in the way.
async fn ready(readiness: &Readiness) {
    while !readiness.unmet().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Lets the control plane change what is logged.
fn log_level(logs: &Arc<Logs>) -> LogLevel {
    let logs = Arc::clone(logs);
    Arc::new(move |level: &str| {
        if let Err(error) = logs.set_level(level) {
            tracing::warn!(%error, "the log level stays as it is");
        }
    })
}
