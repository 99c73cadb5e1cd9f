//! Who calls: decided from the headers alone, before any byte of a body is read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use shared::catalog::FaultKind;
use shared::kernel::clock::FleetTime;

use super::fault::Fault;
use crate::table::{AuthRefusal, Principal, Table};

/// Wrong credentials that an address may send at once.
const BURST: f64 = 1000.0;
/// How many more each second.
const PER_SECOND: f64 = 50.0;
/// Addresses remembered.
const ADDRESSES: usize = 100_000;

/// Where a key may stand beside `Authorization`.
const API_KEYS: [HeaderName; 2] = [HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

/// The credential of a request: `Authorization: Bearer`, `x-api-key` or `api-key`.
///
/// # Errors
/// When there is none, when it has another scheme, or when there are two that differ.
pub(crate) fn credential(headers: &HeaderMap) -> Result<&str, Box<Fault>> {
    let mut found: Option<&str> = None;
    let mut wrong_scheme = false;
    for value in headers.get_all(AUTHORIZATION) {
        match bearer(value.to_str().unwrap_or_default()) {
            Some(token) => found = Some(agree(found, token)?),
            None => wrong_scheme = true,
        }
    }
    for name in API_KEYS {
        for value in headers.get_all(&name) {
            match value.to_str().unwrap_or_default().trim() {
                "" => {}
                token => found = Some(agree(found, token)?),
            }
        }
    }
    match found {
        Some(token) if !wrong_scheme => Ok(token),
        None if !wrong_scheme => Err(unauthenticated(
            "missing_api_key",
            "No API key was given: send `Authorization: Bearer <key>`.",
            "Not authenticated",
        )),
        _ => Err(unauthenticated(
            "invalid_authentication_scheme",
            "The `Authorization` header must be `Bearer <key>`.",
            "Invalid authentication scheme.",
        )),
    }
}

/// The token of `Bearer <token>`; the scheme's case does not matter.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The same credential in two places is fine; two different ones are a question that nobody may answer for the caller.
fn agree<'a>(before: Option<&'a str>, token: &'a str) -> Result<&'a str, Box<Fault>> {
    match before {
        Some(other) if other != token => Err(Fault::new(
            FaultKind::AmbiguousCredentials,
            "ambiguous_credentials",
            "Two different credentials were given: send one of `Authorization`, `x-api-key` and `api-key`.",
        )),
        _ => Ok(token),
    }
}

fn unauthenticated(code: &'static str, message: &'static str, detail: &'static str) -> Box<Fault> {
    Fault::new(FaultKind::Unauthenticated, code, message).detailed(detail)
}

/// Who a credential belongs to. Correct keys are served whatever else their address did.
///
/// # Errors
/// Why nobody is let in.
pub(crate) fn authenticate(
    table: &Table,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    now: FleetTime,
    failures: &Failures,
) -> Result<Principal, Box<Fault>> {
    let token = credential(headers)?;
    if table.epoch().is_none() {
        // A node that has not heard of any key cannot call one wrong.
        let message = "This node has not received its configuration yet; try again later.";
        return Err(Fault::new(FaultKind::Unavailable, "not_ready", message).retry_after(1));
    }
    table.authenticate(token, now).map_err(|refusal| match refusal {
        AuthRefusal::Unknown if peer.is_some_and(|peer| failures.is_flood(peer)) => Fault::new(
            FaultKind::RateLimited,
            "too_many_auth_failures",
            "Too many wrong API keys came from this address.",
        )
        .retry_after(1),
        AuthRefusal::Unknown => unauthenticated("invalid_api_key", "The API key is not known.", "Invalid API key."),
        AuthRefusal::KeyExpired => unauthenticated("invalid_api_key", "The API key has expired.", "Invalid API key."),
        AuthRefusal::AccountExpired => Fault::new(
            FaultKind::AccountDisabled,
            "account_disabled",
            "The account that the API key belongs to has expired.",
        )
        .detailed("Your account has expired. Please contact support to renew your account."),
        AuthRefusal::Blocked => Fault::new(
            FaultKind::AccountDisabled,
            "account_disabled",
            "The API key, or the account it belongs to, is disabled.",
        )
        .detailed("Access denied, please contact your administrator."),
        AuthRefusal::Closed => closed(),
    })
}

/// Something that decides about the caller could not be applied on this node.
pub(crate) fn closed() -> Box<Fault> {
    Fault::new(
        FaultKind::PolicyUnavailable,
        "policy_unavailable",
        "A policy that applies to this caller cannot be applied on this node; the operator has been told.",
    )
    .retry_after(10)
}

/// Wrong credentials by address: a bucket that refills.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    buckets: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Failures {
    /// Counts a failure; whether the address has sent too many.
    fn is_flood(&self, peer: IpAddr) -> bool {
        let now = Instant::now();
        let refilled =
            |(left, since): (f64, Instant)| (left + now.duration_since(since).as_secs_f64() * PER_SECOND).min(BURST);
        let mut buckets = self.buckets.lock();
        if buckets.len() >= ADDRESSES && !buckets.contains_key(&peer) {
            buckets.retain(|_, bucket| refilled(*bucket) < BURST);
            if buckets.len() >= ADDRESSES {
                // Too many addresses at once to tell them apart: they share the fate of a flood.
                return true;
            }
        }
        let bucket = buckets.entry(peer).or_insert((BURST, now));
        let left = refilled(*bucket) - 1.0;
        *bucket = (left.max(0.0), now);
        left < 0.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use http::HeaderValue;

    use super::*;

    fn found(pairs: &[(&'static str, &'static str)]) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        credential(&headers).map(str::to_owned).map_err(|fault| fault.code.into_owned())
    }

    #[test]
    fn one_credential_in_any_place() {
        for pairs in [
            &[("authorization", "Bearer k")][..],
            &[("authorization", "bEARER   k ")],
            &[("x-api-key", "k")],
            &[("api-key", " k")],
            &[("authorization", "Bearer k"), ("x-api-key", "k"), ("api-key", "k"), ("authorization", "bearer k")],
        ] {
            assert_eq!(found(pairs).unwrap(), "k", "{pairs:?}");
        }
        for pairs in [
            &[("authorization", "Bearer k"), ("x-api-key", "l")][..],
            &[("api-key", "k"), ("x-api-key", "l")],
            &[("authorization", "Bearer k"), ("authorization", "Bearer l")],
        ] {
            assert_eq!(found(pairs).unwrap_err(), "ambiguous_credentials", "{pairs:?}");
        }
        assert_eq!(found(&[]).unwrap_err(), "missing_api_key");
        assert_eq!(found(&[("x-api-key", "")]).unwrap_err(), "missing_api_key");
        for value in ["k", "Basic k", "Bearer", "Bearer ", "", "Bearerk", "Token k"] {
            assert_eq!(found(&[("authorization", value)]).unwrap_err(), "invalid_authentication_scheme", "{value}");
        }
    }

    #[test]
    fn a_flood_is_told_from_mistakes() {
        let failures = Failures::default();
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let refused = (0..2000).filter(|_| failures.is_flood(one)).count();
        assert!((900..=1000).contains(&refused), "{refused}");
        assert!(!failures.is_flood(other));
    }
}
