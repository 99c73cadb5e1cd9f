//! One export, in either of OTLP's two ways (<https://opentelemetry.io/docs/specs/otlp/>).

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;

use super::connect::connector;
use super::settings::{Protocol, TraceSettings};

/// How much of an answer is read.
const ANSWER_MOST: usize = 64 * 1024;
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

type Http<B> = Client<HttpsConnector<HttpConnector>, B>;

/// The collector of this process.
pub(super) enum Collector {
    /// A call of its gRPC service.
    Grpc(Box<TraceServiceClient<Http<tonic::body::Body>>>),
    /// A POST of a binary message.
    Http { client: Box<Http<Full<Bytes>>>, endpoint: Uri, headers: HeaderMap },
}

impl Collector {
    pub(super) fn new(settings: &TraceSettings) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        let endpoint = settings.endpoint.clone();
        match settings.protocol {
            Protocol::Grpc => {
                let client = builder.http2_only(true).build(connector());
                Self::Grpc(Box::new(TraceServiceClient::with_origin(client, endpoint)))
            }
            Protocol::HttpProtobuf => {
                let mut headers = settings.headers.clone().into_headers();
                headers.insert(CONTENT_TYPE, PROTOBUF);
                Self::Http { client: Box::new(builder.build(connector())), endpoint, headers }
            }
        }
    }

    /// Sends spans; how many of them were rejected.
    ///
    /// # Errors
    /// Why none was taken.
    pub(super) async fn take(
        &mut self,
        spans: ExportTraceServiceRequest,
        settings: &TraceSettings,
    ) -> Result<u64, Cow<'static, str>> {
        let answer = match self {
            Self::Grpc(client) => {
                let mut request = tonic::Request::new(spans);
                *request.metadata_mut() = settings.headers.clone();
                request.set_timeout(settings.timeout);
                let answer = within(settings.timeout, client.export(request)).await?;
                answer.map_err(|status| status.code().description())?.into_inner()
            }
            Self::Http { client, endpoint, headers } => {
                let mut request = Request::new(Full::new(Bytes::from(spans.encode_to_vec())));
                *request.method_mut() = Method::POST;
                *request.uri_mut() = endpoint.clone();
                request.headers_mut().clone_from(headers);
                within(settings.timeout, posted(client, request)).await??
            }
        };
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or(0))
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, &'static str> {
    tokio::time::timeout(limit, work).await.map_err(|_| "no answer in time")
}

async fn posted(
    client: &Http<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<ExportTraceServiceResponse, Cow<'static, str>> {
    let answer = client.request(request).await.map_err(|_| "it cannot be reached")?;
    if !answer.status().is_success() {
        return Err(format!("its status is {}", answer.status().as_u16()).into());
    }
    let body = Limited::new(answer.into_body(), ANSWER_MOST).collect().await.map_err(|_| "its answer broke off")?;
    // Some collectors answer in JSON; the status has said enough.
    Ok(ExportTraceServiceResponse::decode(body.to_bytes()).unwrap_or_default())
}
