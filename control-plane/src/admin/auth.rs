//! Login with an e-mail address and a password.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::CACHE_CONTROL;
use serde_json::json;
use shared::kernel::secret::Secret;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::body::{Body, Fields};
use super::context::Origin;
use super::error::ApiError;
use super::keys::KeyObject;
use super::me::NewKeyObject;
use super::{AppState, Routes, reply};
use crate::access::Login;
use crate::domain::{self, Patch};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(login))
}

/// Who wants to come in.
#[derive(Debug, ToSchema)]
struct LoginBody {
    /// Or the name of the master.
    #[schema(value_type = String, required = true)]
    email: Patch<String>,
    /// Or the master key.
    #[schema(value_type = String, required = true)]
    password: Patch<Secret>,
}

/// Log in: the answer holds a key that is valid for a while and replaces that of the login before.
#[utoipa::path(post, path = "/v1/auth/login", tag = "auth", request_body = LoginBody,
    responses((status = 200, body = NewKeyObject)))]
async fn login(State(state): State<AppState>, origin: Origin, body: Body) -> Result<Response, ApiError> {
    let mut fields = Fields::parse(&body.0)?;
    let body = LoginBody { email: fields.take("email"), password: fields.take("password") };
    fields.finish(&[])?;
    let email = body.email.required("email", None)?;
    let password = body.password.required("password", None)?;
    if email.len() > 254 || email.contains('\0') {
        return Err(domain::Error::invalid("email", &email, "an e-mail address is expected").into());
    }
    if password.expose().len() > 1_024 {
        return Err(crate::access::AccessError::WrongPassword.into());
    }
    let mut response = match state.access.login(&email, password, &origin.request_id, origin.address).await? {
        Login::Master { key } => reply::json(StatusCode::OK, &json!({ "id": 0, "key": key.expose() })),
        Login::User { row, key } => reply::json(StatusCode::OK, &NewKeyObject::new(KeyObject::from(&*row), &key)),
    };
    response.headers_mut().insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    Ok(response)
}
