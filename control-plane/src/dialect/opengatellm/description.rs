//! How the API describes itself: the head of the document, and where document and pages are served.

use crate::dialect::finding::Findings;
use crate::dialect::plan::{ApiDescription, ApiTag};
use crate::dialect::walk::{Field, Fields};

/// The keys that name a path, with what applies without them.
const PATHS: [(&str, &str); 3] =
    [("swagger_openapi_url", "/openapi.json"), ("swagger_docs_url", "/docs"), ("swagger_redoc_url", "/redoc")];

/// Reads the keys; what is wrong is in the findings.
pub(super) fn read(fields: &Fields, findings: &mut Findings) -> ApiDescription {
    let (contact, license) = (fields.map("swagger_contact"), fields.map("swagger_license_info"));
    for name in ["name", "url", "email"] {
        let older = fields.get(&format!("swagger_contact_{name}"));
        if let (Some(older), Some(newer)) = (older, contact.get(name)) {
            findings.refuse(&older.path, older.line, format!("is the same as `{}`; leave one of them out", newer.path));
        }
    }
    paths(fields, findings);
    ApiDescription {
        title: fields.text("app_title"),
        version: fields.text("swagger_version"),
        summary: fields.text("swagger_summary"),
        description: fields.text("swagger_description"),
        terms_of_service: fields.text("swagger_terms_of_service"),
        contact_name: contact.text("name").or_else(|| fields.text("swagger_contact_name")),
        contact_url: contact.text("url").or_else(|| fields.text("swagger_contact_url")),
        contact_email: contact.text("email").or_else(|| fields.text("swagger_contact_email")),
        license_name: license.text("name"),
        license_identifier: license.text("identifier"),
        license_url: license.text("url"),
        openapi_path: fields.text("swagger_openapi_url"),
        docs_path: fields.text("swagger_docs_url"),
        redoc_path: fields.text("swagger_redoc_url"),
        tags: fields.maps("swagger_openapi_tags").iter().filter_map(tag).collect(),
    }
}

fn tag(fields: &Fields) -> Option<ApiTag> {
    let docs = fields.map("externalDocs");
    let docs = docs.text("url").map(|url| (url, docs.text("description")));
    Some(ApiTag { name: fields.text("name")?, description: fields.text("description"), docs })
}

/// Each path must be one that nothing else is served at.
fn paths(fields: &Fields, findings: &mut Findings) {
    let mut taken: Vec<(String, &str)> = Vec::new();
    for (name, default) in PATHS {
        let given = fields.get(name).zip(fields.text(name));
        let path = given.as_ref().map_or_else(|| default.to_owned(), |(_, path)| path.clone());
        if path.is_empty() {
            continue;
        }
        let twin = taken.iter().find(|(other, _)| *other == path).map(|(_, twin)| *twin);
        let field: Option<&Field> = given.map(|(field, _)| field).or_else(|| twin.and_then(|twin| fields.get(twin)));
        if let Some(field) = field {
            if !is_free(&path) {
                let reason = format!("is `{}`; a path outside `/v1` such as `{default}` is expected", field.shown);
                findings.refuse(&field.path, field.line, reason);
            } else if let Some(twin) = twin {
                let reason = format!("is `{path}`, the path of both `settings.{twin}` and `settings.{name}`");
                findings.refuse(&field.path, field.line, reason);
            }
        }
        taken.push((path, name));
    }
    if let Some(field) =
        fields.get("swagger_openapi_url").filter(|_| fields.text("swagger_openapi_url") == Some(String::new()))
    {
        findings.note(&field.path, "is empty: the document and the pages that show it are not served");
    }
}

/// Whether a page may be served there: a plain path that belongs to no route of the API.
fn is_free(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let Some(below) = path.strip_prefix('/') else { return false };
    let below = below.strip_suffix('/').unwrap_or(below);
    let first = below.split('/').next().unwrap_or_default();
    below.is_empty()
        || below.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain))
            && !matches!(first, "v1" | "v2" | "health" | "metrics")
}
