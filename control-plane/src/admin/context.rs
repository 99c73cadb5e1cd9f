//! Who asks, from where, and under which conditions; the extractors that guard every route.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::IF_MATCH;
use http::request::Parts;
use shared::catalog::Permission;
use shared::runtime::listen::ClientAddr;

use super::error::{ApiError, Problem};
use super::request_id::RequestId;
use super::state::AppState;
use crate::access::{Caller, credential};
use crate::store::Actor;

/// A request of a known caller.
#[derive(Debug)]
pub struct Context {
    /// Who asks.
    pub caller: Caller,
    /// Where from.
    pub origin: Origin,
    /// The path, for the digest of an idempotent request.
    pub path: String,
    if_match: Option<String>,
    /// What makes a repeated create one create.
    pub idempotency_key: Option<String>,
}

impl Context {
    /// The author of a change.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.caller.actor(&self.origin.request_id, self.origin.address)
    }

    /// Refuses a change of an object that somebody else changed since the caller read it.
    ///
    /// # Errors
    /// [`ApiError::Version`].
    pub fn check_version(&self, present: i64) -> Result<(), ApiError> {
        let present = super::reply::entity_tag(present);
        let Some(wanted) = &self.if_match else { return Ok(()) };
        let fits = wanted.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == present);
        if fits { Ok(()) } else { Err(ApiError::Version { present }) }
    }
}

/// Where a request comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Its id.
    pub request_id: String,
    /// Its address.
    pub address: Option<IpAddr>,
}

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Ok(Self {
            request_id: parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default(),
            address: parts.extensions.get::<ClientAddr>().map(|client| client.0),
        })
    }
}

/// An administrator.
#[derive(Debug)]
pub struct Admin(pub Context);

impl FromRequestParts<AppState> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let Current(context) = Current::from_request_parts(parts, state).await?;
        context.caller.require(Permission::Admin)?;
        Ok(Self(context))
    }
}

/// Anybody whose account is valid now.
#[derive(Debug)]
pub struct Current(pub Context);

impl FromRequestParts<AppState> for Current {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let Account(context) = Account::from_request_parts(parts, state).await?;
        context.caller.require_current()?;
        Ok(Self(context))
    }
}

/// Anybody who may look at their account, which they may also when its time is over.
#[derive(Debug)]
pub struct Account(pub Context);

impl FromRequestParts<AppState> for Account {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let origin = Origin::from_request_parts(parts, state).await?;
        let key = credential(&parts.headers).map_err(crate::access::AccessError::from)?;
        let caller = state.access.identify(key, origin.address).await?;
        Ok(Self(Context {
            caller,
            origin,
            path: parts.uri.path().to_owned(),
            if_match: header(&parts.headers, IF_MATCH.as_str(), 1_024)?,
            idempotency_key: header(&parts.headers, "idempotency-key", 255)?,
        }))
    }
}

fn header(headers: &HeaderMap, name: &'static str, longest: usize) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= longest);
    text.map(|text| Some(text.to_owned())).ok_or_else(|| {
        ApiError::Invalid(vec![Problem {
            kind: "value_error",
            at: vec!["header".into(), name.into()],
            message: format!("1 to {longest} visible ASCII characters are expected"),
            input: serde_json::Value::Null,
        }])
    })
}
