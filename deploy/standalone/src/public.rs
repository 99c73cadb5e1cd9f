//! One address for both planes: the inference surface takes its own paths, everything else is management.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use data_plane::app::{PublicService, ReplyBody};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use shared::catalog::RouteGroups;
use shared::document::leave_out;
use tower::Service;
use utoipa::openapi::OpenApi;

/// Both surfaces. Clones share everything.
#[derive(Clone)]
pub(crate) struct Public {
    inference: PublicService,
    management: Router,
    document: Document,
}

/// The OpenAPI document of both surfaces, and where it is.
#[derive(Clone)]
struct Document {
    path: Arc<str>,
    text: Bytes,
}

impl Public {
    /// Joins them; the head of the document is the management side's, which operators configure.
    pub(crate) fn new(
        inference: PublicService,
        management: Router,
        document: &OpenApi,
        unseen: RouteGroups,
        path: &str,
    ) -> Self {
        let mut whole = document.clone().merge_from(data_plane::app::openapi());
        leave_out(&mut whole, unseen);
        let text = whole.to_json().unwrap_or_default().into();
        Self { inference, management, document: Document { path: path.into(), text } }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Either<ReplyBody, Body>>, Infallible>> + Send>>;

impl Service<Request<Incoming>> for Public {
    type Response = Response<Either<ReplyBody, Body>>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answering {
        if PublicService::serves(request.uri().path()) {
            let answering = self.inference.call(request);
            return Box::pin(async move { Ok(answering.await?.map(Either::Left)) });
        }
        if request.method() == Method::GET && request.uri().path() == &*self.document.path {
            let mut response = Response::new(Either::Right(Body::from(self.document.text.clone())));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return Box::pin(async move { Ok(response) });
        }
        let answering = Service::<Request<Incoming>>::call(&mut self.management, request);
        Box::pin(async move { Ok(answering.await?.map(Either::Right)) })
    }
}
