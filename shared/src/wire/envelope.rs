//! The envelope: read by every version, before and apart from the body.

use uuid::Uuid;

use super::body::{decode_body, encode_body};
use super::{RejectCode, Rejection};
use crate::catalog::{Kind, Ref, Resource};
use crate::kernel::clock::FleetTime;
use crate::proto;

/// Features that this build knows; a resource that requires another one is rejected.
const FEATURES: &[&str] = &[];

/// The number of a kind.
#[must_use]
pub const fn kind_to_wire(kind: Kind) -> i32 {
    let wire = match kind {
        Kind::Organization => proto::Kind::Organization,
        Kind::Project => proto::Kind::Project,
        Kind::Role => proto::Kind::Role,
        Kind::User => proto::Kind::User,
        Kind::Key => proto::Kind::Key,
        Kind::Router => proto::Kind::Router,
        Kind::Provider => proto::Kind::Provider,
        Kind::Limit => proto::Kind::Limit,
        Kind::Budget => proto::Kind::Budget,
        Kind::Secret => proto::Kind::Secret,
        Kind::Setting => proto::Kind::Setting,
        Kind::Guardrail => proto::Kind::Guardrail,
    };
    wire as i32
}

/// The kind of a number, if this build knows it.
#[must_use]
pub fn kind_from_wire(number: i32) -> Option<Kind> {
    Kind::ALL.iter().copied().find(|kind| kind_to_wire(*kind) == number)
}

/// Writes a reference.
#[must_use]
pub fn ref_to_wire(reference: Ref) -> proto::Ref {
    proto::Ref { kind: kind_to_wire(reference.kind), id: reference.id.as_bytes().to_vec() }
}

/// Reads a reference.
#[must_use]
pub fn ref_from_wire(reference: &proto::Ref) -> Option<Ref> {
    Some(Ref { kind: kind_from_wire(reference.kind)?, id: Uuid::from_slice(&reference.id).ok()? })
}

/// Writes a resource.
#[must_use]
pub fn encode(resource: &Resource) -> proto::Resource {
    proto::Resource {
        kind: kind_to_wire(resource.kind()),
        id: resource.id.as_bytes().to_vec(),
        version: resource.version,
        parents: resource.parents.iter().copied().map(ref_to_wire).collect(),
        blocked: resource.blocked,
        expires_unix_ms: resource.expires.map(FleetTime::unix_millis),
        requires: resource.requires.clone(),
        body: encode_body(&resource.item).into(),
    }
}

/// What can be said of a resource without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What and which.
    pub reference: Ref,
    /// Rises with each change of it.
    pub version: u64,
    /// What it belongs to.
    pub parents: Vec<Ref>,
    /// Switched off.
    pub blocked: bool,
    /// When it stops being valid.
    pub expires: Option<FleetTime>,
}

/// Reads a resource.
///
/// # Errors
/// The [`Rejection`], and the envelope where that much could be read, so that the resource can be closed
/// or kept at its last good version.
pub fn decode(wire: &proto::Resource) -> Result<Resource, Box<(Rejection, Option<Envelope>)>> {
    let id = Uuid::from_slice(&wire.id).ok();
    let reject = |code, text: String| Rejection {
        kind: wire.kind,
        id: id.unwrap_or_default(),
        version: wire.version,
        code,
        text,
    };
    let Some(kind) = kind_from_wire(wire.kind) else {
        return Err(Box::new((
            reject(RejectCode::UnknownKind, format!("kind {} is not known to this build", wire.kind)),
            None,
        )));
    };
    let (Some(id), Some(parents)) = (id, wire.parents.iter().map(ref_from_wire).collect::<Option<Vec<_>>>()) else {
        return Err(Box::new((
            reject(RejectCode::BadEnvelope, "an id is not 16 bytes long, or a parent has an unknown kind".into()),
            None,
        )));
    };
    let envelope = Envelope {
        reference: Ref { kind, id },
        version: wire.version,
        parents,
        blocked: wire.blocked,
        expires: wire.expires_unix_ms.map(FleetTime::from_unix_millis),
    };
    if let Some(feature) = wire.requires.iter().find(|feature| !FEATURES.contains(&feature.as_str())) {
        let rejection =
            reject(RejectCode::MissingFeature, format!("needs `{feature}`, which this build does not have"));
        return Err(Box::new((rejection, Some(envelope))));
    }
    match decode_body(kind, &wire.body, &envelope.parents) {
        Ok(item) => Ok(Resource {
            id,
            version: envelope.version,
            parents: envelope.parents,
            blocked: envelope.blocked,
            expires: envelope.expires,
            requires: wire.requires.clone(),
            item,
        }),
        Err((code, text)) => Err(Box::new((reject(code, text), Some(envelope)))),
    }
}
