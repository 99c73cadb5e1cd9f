//! The control plane as a process of its own: its three ports, and its end.

use std::io;
use std::time::Duration;

use shared::runtime::listen::{self, HttpLimits, Port};
use shared::runtime::metrics::Metrics;
use shared::runtime::operations;
use shared::runtime::public::PublicSettings;
use shared::runtime::readiness::Readiness;
use shared::runtime::shutdown::Shutdown;
use shared::runtime::telemetry;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::app::{ControlPlane, StartError};
use crate::config::{NodePort, ServeConfig};
use crate::fleet::certificates::NodePortTls;
use crate::grpc::enrollment::EnrollmentService;
use crate::grpc::peer::PeerLayer;
use crate::grpc::port;

/// How often a data plane is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long it has to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams of one node: one for the catalog, one for usage, and room for calls.
const STREAMS: u32 = 16;
/// What may be on its way in one stream: a chunk of a snapshot without a pause.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// What may be on its way in one connection.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// Serves until a signal; `announce` gets the one line that says where, once everything is up.
///
/// # Errors
/// [`StartError`] when it could not start.
pub async fn run(serve: ServeConfig, announce: impl FnOnce(&str) -> io::Result<()>) -> Result<(), StartError> {
    let readiness = Readiness::new();
    let started = readiness.condition("started");
    let shutdown = Shutdown::new(readiness.clone(), serve.timing);
    shutdown.on_signals().map_err(StartError::io("signals cannot be handled"))?;
    let settings = serve.config.settings();
    let metrics = Metrics::install()?;
    metrics.keep_up(&shutdown);
    telemetry::install("gatewright-control-plane", &shutdown);

    // All addresses first: a taken one is told before anything is waited for.
    let public = listen::bind(serve.listen, "--listen")?;
    let grpc = listen::bind(serve.grpc_listen, "--grpc-listen")?;
    let operations = listen::bind(serve.operations_listen, "--operations-listen")?;
    let limits = serve.public.open(HttpLimits::default(), &shutdown)?;
    let line = ready_line(&serve.public, &public, (&grpc, serve.nodes.plain), &operations)
        .map_err(StartError::io("the addresses cannot be read"))?;

    let shown = metrics.clone();
    let probes = operations::routes(readiness.clone(), settings.metrics.unwrap_or(true).then_some(shown));
    tokio::spawn(listen::serve(operations, probes, Port::operations(), shutdown.clone()));

    let plane = tokio::select! {
        plane = ControlPlane::start(&serve.config, &readiness, &shutdown) => plane?,
        () = shutdown.draining() => return Ok(()),
    };
    tokio::spawn(listen::serve(public, plane.management(), limits, shutdown.clone()));
    serve_grpc(grpc, &plane, &serve.nodes, &shutdown).await?;
    started.set(true);
    tokio::select! {
        () = ready(&readiness) => {
            announce(&line).map_err(StartError::io("the ready line cannot be printed"))?;
            tracing::info!("{line}");
        }
        () = shutdown.draining() => {}
    }
    shutdown.finished().await;
    plane.close().await;
    Ok(())
}

/// Waits until nothing stands in the way.
async fn ready(readiness: &Readiness) {
    while !readiness.unmet().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Data planes' streams never end by themselves: they get until the connections of the public port are done.
async fn serve_grpc(
    listener: TcpListener,
    plane: &ControlPlane,
    settings: &NodePort,
    shutdown: &Shutdown,
) -> Result<(), StartError> {
    let enrolments = plane.enrolments(settings.certificate_lifetime).await?;
    let tls = NodePortTls::new(enrolments.authority().clone(), &settings.names)?;
    let incoming = ReceiverStream::new(port::accept(listener, &tls, settings.plain, shutdown));
    tls.keep_up(shutdown);
    let (closing, expired) = (shutdown.clone(), shutdown.clone());
    let peers = plane.peers(&enrolments, shutdown);
    let routes = plane.routes().add_service(EnrollmentService::server(enrolments));
    let serving = server()
        .layer(peers)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async move { closing.closing().await });
    shutdown.spawn("grpc", async move {
        tokio::select! {
            done = serving => {
                if let Err(error) = done {
                    tracing::error!(error = &error as &dyn std::error::Error, "the port for data planes failed");
                }
            }
            () = expired.expired() => {}
        }
    });
    Ok(())
}

/// Serves one connection inside this process until its other end is dropped.
pub(super) async fn local(routes: Routes, stream: DuplexStream) {
    let incoming = tokio_stream::once(Ok::<_, io::Error>(stream));
    let served = server().layer(PeerLayer::local()).add_routes(routes).serve_with_incoming(incoming).await;
    if let Err(error) = served {
        tracing::error!(error = &error as &dyn std::error::Error, "the connection between the planes failed");
    }
}

/// With the limits that tonic leaves open.
fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(STREAMS))
        .initial_stream_window_size(Some(STREAM_WINDOW))
        .initial_connection_window_size(Some(CONNECTION_WINDOW))
}

fn ready_line(
    settings: &PublicSettings,
    public: &TcpListener,
    (grpc, plain): (&TcpListener, bool),
    operations: &TcpListener,
) -> io::Result<String> {
    let (public, grpc, operations) = (settings.url(public.local_addr()?), grpc.local_addr()?, operations.local_addr()?);
    // Both are spoken where it may be plain; http is what works without a name in the certificate.
    let scheme = if plain { "http" } else { "https" };
    Ok(format!("ready: public={public} grpc={scheme}://{grpc} operations=http://{operations}"))
}
