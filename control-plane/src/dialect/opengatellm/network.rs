//! Where the gateway stands: certificate, origins, prefix and proxies of the public port; and how it meets upstreams.

use std::fmt::Display;

use shared::runtime::edge::{Cors, Edge, PathPrefix, TrustedProxies};
use shared::runtime::outbound::OutboundSettings;
use shared::runtime::public::PublicSettings;
use shared::runtime::tls::TlsFiles;

use crate::dialect::finding::Findings;
use crate::dialect::walk::Fields;

const EXPECTED: &str =
    "origins such as `https://app.example.org`, a path such as `/gateway`, blocks such as `10.0.0.0/8`";

/// Reads the keys; what is wrong is in the findings and left out.
pub(super) fn read(fields: &Fields, findings: &mut Findings) -> PublicSettings {
    let tls = fields.map("tls");
    let files = tls.text("certificate").zip(tls.text("key"));
    let prefix = fields.text("path_prefix").unwrap_or_default().parse::<PathPrefix>();
    let list = |name| fields.texts(name).iter().map(String::as_str);
    let cors = Cors::from_list(list("cors"));
    let proxies = TrustedProxies::from_list(list("trusted_proxies"));
    let edge = Edge {
        prefix: right(prefix, "path_prefix", fields, findings),
        proxies: right(proxies, "trusted_proxies", fields, findings),
        cors: right(cors, "cors", fields, findings),
    };
    PublicSettings {
        tls: files.map(|(certificate, key)| TlsFiles { certificate: certificate.into(), key: key.into() }),
        edge,
    }
}

/// Reads the keys of `egress`; half a pair is refused.
pub(super) fn outbound(fields: &Fields, findings: &mut Findings) -> OutboundSettings {
    let egress = fields.map("egress");
    let (certificate, key) = (egress.text("client_certificate"), egress.text("client_key"));
    for (given, missing) in [("client_certificate", "client_key"), ("client_key", "client_certificate")] {
        if let Some(field) =
            egress.get(given).filter(|_| egress.text(given).is_some() && egress.text(missing).is_none())
        {
            let reason = format!("is given without `settings.egress.{missing}`: both are needed");
            findings.refuse(&field.path, field.line, reason);
        }
    }
    OutboundSettings {
        ca_bundle: egress.text("ca_bundle").map(Into::into),
        client: certificate
            .zip(key)
            .map(|(certificate, key)| TlsFiles { certificate: certificate.into(), key: key.into() }),
    }
}

/// The value, or the default beside a refusal that tells why.
fn right<T: Default, E: Display>(value: Result<T, E>, name: &str, fields: &Fields, findings: &mut Findings) -> T {
    value.unwrap_or_else(|error| {
        if let Some(field) = fields.get(name) {
            // What a variable holds is not shown, and the error would.
            let reason = match field.shown.contains("${") {
                true => format!("is `{}`, whose variables do not hold what is expected: {EXPECTED}", field.shown),
                false => error.to_string(),
            };
            findings.refuse(&field.path, field.line, reason);
        }
        T::default()
    })
}
