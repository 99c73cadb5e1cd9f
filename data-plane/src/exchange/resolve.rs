//! What the requested name means for this caller: a router of the right kind that it may use.

use std::sync::Arc;

use http::StatusCode;
use shared::catalog::{FaultKind, RouterKind};

use super::authenticate::closed;
use super::endpoint::Endpoint;
use super::fault::Fault;
use crate::table::{Access, Principal, RouterEntry, Table};

/// The longest part of a caller's text that is repeated in an answer.
const QUOTED: usize = 128;

/// Finds the router and decides, once, whether the caller may use it here.
///
/// # Errors
/// A name that means nothing, a router that may not be used, or one of another kind.
pub(crate) fn resolve(
    table: &Table,
    principal: &Principal,
    requested: &str,
    endpoint: &Endpoint,
) -> Result<Arc<RouterEntry>, Box<Fault>> {
    let router = table.resolve(principal, requested).ok_or_else(|| unknown(requested))?;
    match table.access(principal, &router) {
        Access::Allowed => {}
        Access::Closed => return Err(closed()),
        Access::Denied => {
            let message = format!("This key may not use the model `{}`.", quoted(requested));
            return Err(Fault::new(FaultKind::Forbidden, "model_forbidden", message)
                .about("model")
                .detailed("Insufficient permissions to access the model."));
        }
    }
    let actual = router.noun.kind;
    if !endpoint.serves.contains(&actual) {
        let expected = endpoint.serves.first().map_or("", |kind| RouterKind::as_str(*kind));
        let detail = format!("Model has wrong type. Expected: {expected}. Actual: {actual}.");
        return Err(Fault::invalid("wrong_model_type", "model", detail).with_status(StatusCode::UNPROCESSABLE_ENTITY));
    }
    Ok(router)
}

/// No router of that name for this caller.
pub(crate) fn unknown(requested: &str) -> Box<Fault> {
    let name = quoted(requested);
    Fault::new(FaultKind::UnknownRouter, "model_not_found", format!("Model {name} not found.")).about("model")
}

/// A caller's text, cut to a length that is no burden.
fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).filter(|letter| !letter.is_control()).collect()
}
