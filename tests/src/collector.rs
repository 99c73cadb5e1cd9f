//! A collector of spans: the official OTLP service, by gRPC or HTTP, in this process.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
pub use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::{eventually, runtime};

/// A collector on a port of its own; ends when it is dropped.
pub struct Collector {
    url: String,
    taken: Taken,
    server: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<(ExportTraceServiceRequest, String)>>>);

impl Taken {
    async fn posted(self, request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let of_spans = head.method == "POST"
            && head.uri.path() == "/v1/traces"
            && head.headers.get("content-type").is_some_and(|kind| kind == "application/x-protobuf");
        let mut answer = http::Response::new(Full::default());
        match ExportTraceServiceRequest::decode(body) {
            Ok(message) if of_spans => self.0.lock().push((message, format!("{:?}", head.headers))),
            _ => *answer.status_mut() = http::StatusCode::BAD_REQUEST,
        }
        Ok(answer)
    }
}

#[tonic::async_trait]
impl TraceService for Taken {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = format!("{:?}", request.metadata());
        self.0.lock().push((request.into_inner(), headers));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the collector");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let taken = Taken::default();
        let service = TraceServiceServer::new(taken.clone());
        let server = runtime::runtime().spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let _ = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        Self { url, taken, server }
    }

    /// Starts one that takes binary messages by POST instead.
    pub async fn over_http() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the collector");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let taken = Taken::default();
        let its = taken.clone();
        let server = runtime::runtime().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taken = its.clone();
                let service = service_fn(move |request| taken.clone().posted(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, taken, server }
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every span so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let taken = self.taken.0.lock();
        let resources = taken.iter().flat_map(|(request, _)| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Everything that was received, as text.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{:?}", self.taken.0.lock())
    }

    /// The spans of a trace, once it has at least so many.
    pub async fn trace(&self, trace: &[u8], count: usize) -> Vec<Span> {
        eventually(&format!("{count} spans"), Duration::from_secs(8), || async {
            let spans: Vec<Span> = self.spans().into_iter().filter(|span| span.trace_id == trace).collect();
            (spans.len() >= count).then_some(spans)
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An attribute of a span as text; empty when it has none.
#[must_use]
pub fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.clone()) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        _ => String::new(),
    }
}
