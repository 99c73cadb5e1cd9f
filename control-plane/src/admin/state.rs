//! What every handler of the management API works with.

use std::sync::Arc;
use std::time::Duration;

use shared::catalog::RouteGroups;

use crate::access::Access;
use crate::fleet::Together;
use crate::store::Store;
use crate::vault::KeyRing;

/// Handles that all requests share; cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The database.
    pub store: Store,
    /// Seals credentials.
    pub vault: Arc<KeyRing>,
    /// Tells who speaks.
    pub access: Access,
    /// The data planes, also those of other control planes.
    pub fleet: Together,
    /// What the operator configured.
    pub settings: Arc<AdminSettings>,
}

/// What the operator configured about this API.
#[derive(Debug, Clone, Default)]
pub struct AdminSettings {
    /// Longest life of a key, and the life of one made without an expiry.
    pub key_max_expiration: Option<Duration>,
    /// The head of the OpenAPI document.
    pub openapi: OpenApiInfo,
    /// Routes that are not there.
    pub disabled: RouteGroups,
    /// Routes that are served and not in the document.
    pub hidden: RouteGroups,
}

/// The head of the OpenAPI document.
#[derive(Debug, Clone)]
pub struct OpenApiInfo {
    /// The title.
    pub title: String,
    /// The version of the API.
    pub version: String,
    /// One line.
    pub summary: Option<String>,
    /// Some paragraphs, in Markdown.
    pub description: Option<String>,
    /// A link to the terms of service.
    pub terms_of_service: Option<String>,
    /// Whom to ask.
    pub contact_name: Option<String>,
    /// Their page.
    pub contact_url: Option<String>,
    /// Their e-mail address.
    pub contact_email: Option<String>,
    /// The name of the licence.
    pub license_name: Option<String>,
    /// Its SPDX identifier.
    pub license_identifier: Option<String>,
    /// Its text.
    pub license_url: Option<String>,
    /// What tags stand for.
    pub tags: Vec<TagInfo>,
    /// Where the document is served; empty: nowhere.
    pub path: String,
    /// Where Swagger UI shows it; empty: nowhere.
    pub docs_path: String,
    /// Where ReDoc shows it; empty: nowhere.
    pub redoc_path: String,
    /// Below which path everything is served.
    pub prefix: String,
}

/// What a tag of the document stands for.
#[derive(Debug, Clone)]
pub struct TagInfo {
    /// Its name.
    pub name: String,
    /// Markdown.
    pub description: Option<String>,
    /// A link to more, and what is there.
    pub docs: Option<(String, Option<String>)>,
}

impl Default for OpenApiInfo {
    fn default() -> Self {
        Self {
            title: "Gatewright".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: None,
            description: None,
            terms_of_service: None,
            contact_name: None,
            contact_url: None,
            contact_email: None,
            license_name: None,
            license_identifier: None,
            license_url: None,
            tags: Vec::new(),
            path: "/openapi.json".to_owned(),
            docs_path: "/docs".to_owned(),
            redoc_path: "/redoc".to_owned(),
            prefix: String::new(),
        }
    }
}
