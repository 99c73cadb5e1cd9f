//! The files of the pages, part of the binary.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Bytes;

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of a page.
pub(super) struct File {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    source: Source,
}

enum Source {
    /// In Swagger UI's distribution, which its crate carries.
    Swagger,
    /// Ours.
    Own(&'static [u8]),
}

/// What the Swagger page loads.
pub(super) const SWAGGER: &[File] = &[
    File { name: "swagger-ui.css", kind: "text/css; charset=utf-8", source: Source::Swagger },
    File { name: "swagger-ui-bundle.js", kind: SCRIPT, source: Source::Swagger },
    File { name: "favicon-32x32.png", kind: "image/png", source: Source::Swagger },
    File { name: "start.js", kind: SCRIPT, source: Source::Own(include_bytes!("start.js")) },
];

/// What the ReDoc page loads.
pub(super) const REDOC: &[File] = &[File {
    name: "redoc.standalone.js",
    kind: SCRIPT,
    source: Source::Own(include_bytes!("../../../assets/redoc/redoc.standalone.js")),
}];

impl File {
    pub(super) fn content(&self) -> Bytes {
        match self.source {
            Source::Own(bytes) => Bytes::from_static(bytes),
            Source::Swagger => {
                let unused = Arc::new(utoipa_swagger_ui::Config::from("/"));
                let file = utoipa_swagger_ui::serve(self.name, unused).ok().flatten();
                file.map(|file| match file.bytes {
                    Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                    Cow::Owned(bytes) => Bytes::from(bytes),
                })
                .unwrap_or_default()
            }
        }
    }
}
