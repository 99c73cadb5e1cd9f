//! The floor: what a bare hyper proxy costs that checks a key, replaces the credential and forwards.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shared::kernel::virtual_key::hmac_digest;
use tokio::net::TcpListener;

const PEPPER: &[u8] = b"pepper";

type Upstream = Client<HttpConnector, Full<bytes::Bytes>>;

struct Floor {
    keys: HashSet<[u8; 32]>,
    upstream: SocketAddr,
    client: Upstream,
}

/// Serves until the process ends.
pub(crate) async fn serve(listen: SocketAddr, upstream: SocketAddr, key: &str) -> std::io::Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let floor = Arc::new(Floor {
        keys: HashSet::from([hmac_digest(PEPPER, key)]),
        upstream,
        client: Client::builder(TokioExecutor::new()).build(connector),
    });
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let floor = Arc::clone(&floor);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let floor = Arc::clone(&floor);
                async move { Ok::<_, Infallible>(floor.forward(request).await) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

impl Floor {
    async fn forward(&self, request: Request<Incoming>) -> Response<Either<Incoming, Empty<bytes::Bytes>>> {
        let refuse = |status| {
            let mut response = Response::new(Either::Right(Empty::new()));
            *response.status_mut() = status;
            response
        };
        let key = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(key) = key.and_then(|value| value.strip_prefix("Bearer ")) else {
            return refuse(StatusCode::UNAUTHORIZED);
        };
        if !self.keys.contains(&hmac_digest(PEPPER, key)) {
            return refuse(StatusCode::UNAUTHORIZED);
        }
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return refuse(StatusCode::BAD_REQUEST) };
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let Ok(uri) = format!("http://{}{path}", self.upstream).parse::<Uri>() else {
            return refuse(StatusCode::BAD_REQUEST);
        };
        let mut forwarded = Request::new(Full::new(body.to_bytes()));
        *forwarded.method_mut() = parts.method;
        *forwarded.uri_mut() = uri;
        let headers = forwarded.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer upstream"));
        match self.client.request(forwarded).await {
            Ok(response) => response.map(Either::Left),
            Err(_) => refuse(StatusCode::BAD_GATEWAY),
        }
    }
}
