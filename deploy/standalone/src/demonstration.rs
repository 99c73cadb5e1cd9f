//! Something to try at once: a router whose provider answers by itself, and a key that may use nothing else.
//!
//! Made through the admin API like anything an operator makes, at the first start without a configuration file, and
//! never touched again: whoever deletes it does not get it back.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use data_plane::app::PublicService;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use serde_json::{Value, json};
use shared::kernel::secret::Secret;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

/// The public name of the demonstration router.
pub(crate) const ROUTER: &str = "demonstration";
/// How long a change may take to reach the data plane of the same process, with much to spare.
const PATIENCE: Duration = Duration::from_secs(5);
const KEY_FILE: &str = "demonstration.key";

/// Why there is no demonstration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemonstrationError {
    /// The admin API refused.
    #[error("the admin API answered {status} to {path}: {body}")]
    Refused {
        /// Which call.
        path: &'static str,
        /// With what status.
        status: u16,
        /// And what body.
        body: String,
    },
    /// The key could not be kept.
    #[error("writing {path}")]
    File {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The file with the demonstration key; made, with the objects around it, when the database has no router yet.
pub(crate) async fn prepare(
    management: &Router,
    master: &Secret,
    secrets_dir: &Path,
) -> Result<Option<PathBuf>, DemonstrationError> {
    let file = secrets_dir.join(KEY_FILE);
    if file.exists() {
        return Ok(Some(file));
    }
    let admin = Admin { management, master };
    let existing = admin.call(Method::GET, "/v1/admin/routers", None).await?;
    if existing.get("total").and_then(Value::as_u64) != Some(0) {
        return Ok(None);
    }
    let router = admin.create("/v1/admin/routers", json!({"name": ROUTER, "type": "text-generation"})).await?;
    let provider = json!({"router_id": router, "type": "mock", "model_name": "mock", "timeout": 60});
    admin.create("/v1/admin/providers", provider).await?;
    let role = admin.create("/v1/admin/roles", json!({"name": ROUTER, "all_routers": true})).await?;
    let user = json!({"email": "demonstration@localhost", "name": "Demonstration", "role_id": role});
    let user = admin.create("/v1/admin/users", user).await?;
    let key = json!({"name": ROUTER, "user_id": user, "allowed_routers": [router]});
    let key = admin.call(Method::POST, "/v1/admin/keys", Some(key)).await?;
    let text = key.get("value").and_then(Value::as_str).unwrap_or_default();
    write(&file, text).map_err(|source| DemonstrationError::File { path: file.clone(), source })?;
    Ok(Some(file))
}

/// Waits until the data plane knows the key: the line that is printed next must work at once.
pub(crate) async fn until_known(inference: &PublicService, file: &Path) -> Result<(), DemonstrationError> {
    let read = fs::read_to_string(file);
    let key = read.map_err(|source| DemonstrationError::File { path: file.to_owned(), source })?;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let request = Request::get("/v1/models").header(AUTHORIZATION, format!("Bearer {}", key.trim()));
        let Ok(request) = request.body(Empty::<Bytes>::new()) else { return Ok(()) };
        let Ok(response) = inference.clone().oneshot(request).await;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

struct Admin<'a> {
    management: &'a Router,
    master: &'a Secret,
}

impl Admin<'_> {
    async fn create(&self, path: &'static str, body: Value) -> Result<Value, DemonstrationError> {
        Ok(self.call(Method::POST, path, Some(body)).await?.get("id").cloned().unwrap_or_default())
    }

    async fn call(&self, method: Method, path: &'static str, body: Option<Value>) -> Result<Value, DemonstrationError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.master.expose()))
            .header(CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
        let refused = |status, body: String| DemonstrationError::Refused { path, status, body };
        let request = request.map_err(|error| refused(0, error.to_string()))?;
        let Ok(response) = self.management.clone().oneshot(request).await;
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20)
            .await
            .map_err(|error| refused(status.as_u16(), error.to_string()))?;
        if !status.is_success() {
            return Err(refused(status.as_u16(), String::from_utf8_lossy(&body).into_owned()));
        }
        serde_json::from_slice(&body).map_err(|error| refused(status.as_u16(), error.to_string()))
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
