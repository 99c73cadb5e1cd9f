//! `GET /v1/models` and `GET /v1/models/{name}`: exactly what a call by the same key may use.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Response};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use shared::kernel::money::Amount;

use super::json as answer;
use crate::exchange::Services;
use crate::exchange::authenticate::authenticate;
use crate::exchange::deliver::ReplyBody;
use crate::exchange::fault::Fault;
use crate::exchange::resolve::unknown;
use crate::table::{RouterEntry, Table};

/// Every router that the caller may use.
pub(super) fn list(
    services: &Services,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<Response<ReplyBody>, Box<Fault>> {
    let table = services.table.load();
    let principal = authenticate(&table, headers, peer, services.clock.now(), &services.failures)?;
    let data: Vec<Value> = table.routers_for(&principal).iter().map(|router| render(&table, router)).collect();
    Ok(answer(Bytes::from(json!({"object": "list", "data": data}).to_string())))
}

/// One router, by its name or an alias. What may not be used is not told apart from what does not exist.
pub(super) fn retrieve(
    services: &Services,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    name: &str,
) -> Result<Response<ReplyBody>, Box<Fault>> {
    let table = services.table.load();
    let principal = authenticate(&table, headers, peer, services.clock.now(), &services.failures)?;
    let name = percent_decode_str(name).decode_utf8_lossy();
    let router = table
        .resolve(&principal, &name)
        .filter(|router| !router.providers.is_empty() && table.may_use(&principal, router));
    let router = router.ok_or_else(|| unknown(&name))?;
    Ok(answer(Bytes::from(render(&table, &router).to_string())))
}

fn render(table: &Table, router: &RouterEntry) -> Value {
    let noun = &router.noun;
    let owner = if noun.owned_by.is_empty() { &table.settings().app_title } else { &noun.owned_by };
    let price = |price: Option<Amount>| price.unwrap_or_default().to_f64();
    json!({
        "object": "model",
        "id": noun.name,
        "type": noun.kind.as_str(),
        "aliases": noun.aliases,
        "created": noun.created_unix_s,
        "owned_by": owner,
        "max_context_length": noun.max_context_length,
        "costs": {"prompt_tokens": price(noun.prices.prompt), "completion_tokens": price(noun.prices.completion)},
    })
}
