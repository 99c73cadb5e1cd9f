//! HTTP, with or without TLS, to the systems that are told things.

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};

/// Connects to either scheme. Without certificates on this machine only plain addresses can be reached.
pub(super) fn connector() -> HttpsConnector<HttpConnector> {
    let builder = HttpsConnectorBuilder::new();
    let builder = match builder.with_native_roots() {
        Ok(builder) => builder,
        Err(error) => {
            tracing::debug!(%error, "this machine has no certificates of authorities");
            let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        }
    };
    builder.https_or_http().enable_http1().enable_http2().build()
}
