//! The OpenAPI document, generated from the handlers and completed here.

use shared::document::{leave_out, serve_below};
use utoipa::openapi::external_docs::ExternalDocsBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::{Tag, TagBuilder};
use utoipa::openapi::{
    Components, ContactBuilder, InfoBuilder, LicenseBuilder, OpenApi, Ref, RefOr, Response, Schema, SecurityRequirement,
};

use super::state::{AdminSettings, OpenApiInfo, TagInfo};

/// The name of the security scheme.
const BEARER: &str = "bearer";
/// Routes that ask for no credential.
const OPEN: &[&str] = &["/v1/auth/login", "/health"];

/// Adds the operator's head, the security scheme, and what is the same for every route.
#[must_use]
pub(super) fn complete(mut document: OpenApi, settings: &AdminSettings) -> OpenApi {
    let info = &settings.openapi;
    document.info = head(info);
    if !info.tags.is_empty() {
        document.tags = Some(info.tags.iter().map(tag).collect());
    }
    serve_below(&mut document, &info.prefix);
    let components = document.components.get_or_insert_with(Components::new);
    let scheme =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A virtual key or the master key."));
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme.build()));
    document.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("get", &mut item.get),
            ("post", &mut item.post),
            ("put", &mut item.put),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            operation.operation_id = Some(operation_id(method, path));
            if OPEN.contains(&path.as_str()) {
                operation.security = Some(vec![SecurityRequirement::default()]);
            }
            let error = Response::new("A refusal: `detail` and `error` say what, `error.param` names the field.");
            operation.responses.responses.entry("4XX".to_owned()).or_insert_with(|| RefOr::T(error));
        }
        let body = item.patch.as_mut().and_then(|patch| patch.request_body.as_mut());
        if let Some(RefOr::T(body)) = body {
            for content in body.content.values_mut() {
                if let RefOr::T(content) = content {
                    relax(&mut content.schema, components);
                }
            }
        }
    }
    leave_out(&mut document, settings.disabled.with(settings.hidden));
    document
}

/// A name that no other operation has, such as `get_v1_admin_roles_id`.
fn operation_id(method: &str, path: &str) -> String {
    let parts = path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    std::iter::once(method).chain(parts).collect::<Vec<_>>().join("_")
}

/// A change takes the fields of a create, none of them required: its schema is the same without `required`.
fn relax(schema: &mut Option<RefOr<Schema>>, components: &mut Components) {
    const PREFIX: &str = "#/components/schemas/";
    let Some(RefOr::Ref(reference)) = schema else { return };
    let Some(name) = reference.ref_location.strip_prefix(PREFIX).map(str::to_owned) else { return };
    let Some(RefOr::T(Schema::Object(object))) = components.schemas.get(&name) else { return };
    if object.required.is_empty() {
        return;
    }
    let mut relaxed = object.clone();
    relaxed.required.clear();
    let relaxed_name = format!("{name}Change");
    components.schemas.insert(relaxed_name.clone(), RefOr::T(Schema::Object(relaxed)));
    *schema = Some(RefOr::Ref(Ref::new(format!("{PREFIX}{relaxed_name}"))));
}

fn head(info: &OpenApiInfo) -> utoipa::openapi::Info {
    let mut head = InfoBuilder::new()
        .title(&info.title)
        .version(&info.version)
        .description(info.description.as_ref())
        .terms_of_service(info.terms_of_service.as_ref());
    if info.contact_name.is_some() || info.contact_url.is_some() || info.contact_email.is_some() {
        let contact = ContactBuilder::new()
            .name(info.contact_name.as_ref())
            .url(info.contact_url.as_ref())
            .email(info.contact_email.as_ref());
        head = head.contact(Some(contact.build()));
    }
    if let Some(name) = &info.license_name {
        let license = LicenseBuilder::new()
            .name(name)
            .url(info.license_url.as_ref())
            .identifier(info.license_identifier.as_ref());
        head = head.license(Some(license.build()));
    }
    let mut head = head.build();
    if let Some(summary) = &info.summary {
        // The builder has no field for it, and would call it `x-summary` as an extension; fields and extensions are written
        // beside each other.
        let mut extensions = utoipa::openapi::extensions::ExtensionsBuilder::new().build();
        extensions.insert("summary".to_owned(), summary.clone().into());
        head.extensions = Some(extensions);
    }
    head
}

fn tag(info: &TagInfo) -> Tag {
    let docs =
        info.docs.as_ref().map(|(url, what)| ExternalDocsBuilder::new().url(url).description(what.as_ref()).build());
    TagBuilder::new().name(&info.name).description(info.description.as_ref()).external_docs(docs).build()
}
