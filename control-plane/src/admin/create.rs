//! A create, once: with an `Idempotency-Key`, repeating the request repeats the answer and nothing else.

use std::sync::Arc;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use super::context::Context;
use super::error::ApiError;
use super::reply::entity_tag;
use super::state::AppState;
use crate::store::CatalogTx;
use crate::store::idempotency::{self, Claim, StoredAnswer};
use crate::vault::KeyRing;

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What a create begins with.
pub(super) enum Begun {
    /// It was done before: this was the answer.
    Replay(Response),
    /// It is to be done.
    New(Creation),
}

/// A create in progress.
pub(super) struct Creation {
    /// Where to do it.
    pub(super) tx: CatalogTx,
    once: Option<Once>,
    vault: Arc<KeyRing>,
}

/// The name under which the answer is kept.
struct Once {
    actor: String,
    key: String,
}

impl Once {
    /// Answers may show a key in clear, so they are sealed, each to its name.
    fn seal_context(&self) -> Vec<u8> {
        format!("idempotency|{}|{}", self.actor, self.key).into_bytes()
    }
}

impl Creation {
    /// Begins a create, or finds that it was done.
    ///
    /// # Errors
    /// [`ApiError::IdempotencyReused`] when the key came with another request, or the database.
    pub(super) async fn begin(state: &AppState, context: &Context, body: &[u8]) -> Result<Begun, ApiError> {
        let mut tx = state.store.begin(context.actor()).await?;
        let vault = Arc::clone(&state.vault);
        let Some(key) = context.idempotency_key.clone() else {
            return Ok(Begun::New(Self { tx, once: None, vault }));
        };
        let actor = context.caller.user().map_or_else(|| "master".to_owned(), |user| user.id.to_string());
        let once = Once { actor, key };
        let request = fingerprint(&context.path, body);
        match idempotency::claim(&mut tx, &once.actor, &once.key, &request).await? {
            Claim::Fresh => Ok(Begun::New(Self { tx, once: Some(once), vault })),
            Claim::Used(answer) if answer.request == request => Ok(Begun::Replay(replay(&vault, &once, &answer)?)),
            Claim::Used(_) => Err(ApiError::IdempotencyReused),
        }
    }

    /// Commits and answers 201.
    ///
    /// # Errors
    /// The database or the key ring.
    pub(super) async fn finish<T: Serialize>(mut self, version: i64, object: &T) -> Result<Response, ApiError> {
        let body = serde_json::to_vec(object).map_err(|error| ApiError::Internal(error.into()))?;
        let tag = entity_tag(version);
        if let Some(once) = &self.once {
            let kept = [tag.as_bytes(), b"\n", &body].concat();
            let sealed = self.vault.seal(&once.seal_context(), &kept)?;
            idempotency::fill(&mut self.tx, &once.actor, &once.key, StatusCode::CREATED.as_u16(), &sealed).await?;
        }
        self.tx.commit().await?;
        Ok(answer(StatusCode::CREATED, &tag, body))
    }
}

fn replay(vault: &KeyRing, once: &Once, stored: &StoredAnswer) -> Result<Response, ApiError> {
    let kept = vault.open(&once.seal_context(), &stored.body)?;
    let status = u16::try_from(stored.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut parts = kept.expose().splitn(2, |byte| *byte == b'\n');
    let tag = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let body = parts.next().unwrap_or_default().to_vec();
    let mut response = answer(status.unwrap_or(StatusCode::CREATED), &tag, body);
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn answer(status: StatusCode, tag: &str, body: Vec<u8>) -> Response {
    let mut response = (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response();
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn fingerprint(path: &str, body: &[u8]) -> Vec<u8> {
    let mut digest = Digest::new(&SHA256);
    digest.update(path.as_bytes());
    digest.update(&[0]);
    digest.update(body);
    digest.finish().as_ref().to_vec()
}
