//! The pages that show the API document to people: Swagger UI and ReDoc, from files of our own.
//!
//! They ask no other host for anything, and their content policy does not let them. Links in them are relative, so that
//! they work below a path prefix and behind a proxy that takes one off.

mod assets;

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue};

use super::state::{AppState, OpenApiInfo};

/// Nothing from elsewhere, nothing inline but styles (both libraries write those), never inside another page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";
/// Pages change with a restart; files with a release.
const FRESH: HeaderValue = HeaderValue::from_static("no-cache");
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// The pages that are switched on, with their files below them.
pub(super) fn routes(info: &OpenApiInfo) -> Router<AppState> {
    let mut routes = Router::new();
    if info.path.is_empty() {
        return routes;
    }
    if !info.docs_path.is_empty() {
        routes = routes.merge(page(&info.docs_path, swagger(info), assets::SWAGGER));
    }
    if !info.redoc_path.is_empty() {
        routes = routes.merge(page(&info.redoc_path, redoc(info), assets::REDOC));
    }
    routes
}

/// A page at a path, and its files below that path.
fn page(path: &str, text: String, files: &'static [assets::File]) -> Router<AppState> {
    let text = Bytes::from(text);
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let shown = get(move || async move { answer(text, html, FRESH) });
    let folder = path.trim_end_matches('/');
    files.iter().fold(Router::new().route(path, shown), |routes, file| {
        let kind = HeaderValue::from_static(file.kind);
        let served = get(move || async move { answer(file.content(), kind, KEPT) });
        routes.route(&format!("{folder}/{}", file.name), served)
    })
}

fn answer(body: Bytes, kind: HeaderValue, caching: HeaderValue) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, caching),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, body).into_response()
}

fn swagger(info: &OpenApiInfo) -> String {
    let (title, folder) = (escaped(&info.title), folder(&info.docs_path));
    let document = relative(&info.docs_path, &info.path);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"{folder}favicon-32x32.png\">\n<link rel=\"stylesheet\" href=\"{folder}swagger-ui.css\">\n\
         </head>\n<body>\n<div id=\"document\" data-url=\"{document}\"></div>\n\
         <script src=\"{folder}swagger-ui-bundle.js\"></script>\n<script src=\"{folder}start.js\"></script>\n</body>\n</html>\n"
    )
}

fn redoc(info: &OpenApiInfo) -> String {
    let (title, folder) = (escaped(&info.title), folder(&info.redoc_path));
    let document = relative(&info.redoc_path, &info.path);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <style>body {{ margin: 0 }} img[src^=\"https:\"] {{ display: none }}</style>\n</head>\n<body>\n\
         <redoc spec-url=\"{document}\"></redoc>\n<script src=\"{folder}redoc.standalone.js\"></script>\n</body>\n</html>\n"
    )
}

/// The folder of a page's files, as seen from the page: `docs/` at `/docs`, nothing at `/docs/`.
fn folder(page: &str) -> String {
    match page.rsplit('/').next() {
        Some(last) if !last.is_empty() => format!("{last}/"),
        _ => String::new(),
    }
}

/// The path of the document as seen from a page.
fn relative(page: &str, document: &str) -> String {
    let up = page.matches('/').count().saturating_sub(1);
    format!("{}{}", "../".repeat(up), document.trim_start_matches('/'))
}

/// Text that cannot leave its place in a page.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_to_their_page() {
        assert_eq!((folder("/docs"), relative("/docs", "/openapi.json")), ("docs/".into(), "openapi.json".into()));
        assert_eq!((folder("/a/docs"), relative("/a/docs", "/o/api.json")), ("docs/".into(), "../o/api.json".into()));
        assert_eq!((folder("/docs/"), relative("/docs/", "/openapi.json")), (String::new(), "../openapi.json".into()));
        assert_eq!(escaped("</title><script>\"&"), "&lt;/title&gt;&lt;script&gt;&quot;&amp;");
    }

    #[test]
    fn every_file_has_its_content() {
        for file in assets::SWAGGER.iter().chain(assets::REDOC) {
            assert!(file.content().len() > 300, "{}", file.name);
        }
    }
}
