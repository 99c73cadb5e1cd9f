//! The names of a request, in and out.

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::CallId;
use shared::runtime::telemetry::{context, traces};

use crate::exchange::context::Ids;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CALL_ID: HeaderName = HeaderName::from_static("x-gatewright-call-id");

/// The names of a request: the caller's own id is kept when nothing in it can be mistaken for something else. The time in
/// ours is the fleet's, because the ledger takes no records from another time.
pub(super) fn ids(headers: &HeaderMap, now: FleetTime) -> Ids {
    let call = CallId::generate_at(now);
    let request = own_id(headers).map_or_else(|| call.to_string(), str::to_owned);
    let span = traces().map(|traces| traces.begin(headers));
    let trace = match &span {
        Some(span) => span.trace_id(),
        None => context::incoming(headers).map(|remote| remote.trace_id()).unwrap_or_default(),
    };
    Ids { call, request, trace, span }
}

fn own_id(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(&REQUEST_ID).iter();
    let (value, None) = (values.next()?.to_str().ok()?, values.next()) else { return None };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    ((1..=64).contains(&value.len()) && value.bytes().all(plain)).then_some(value)
}

/// Puts the names on an answer.
pub(super) fn stamp<B>(response: &mut Response<B>, ids: &Ids) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&ids.request) {
        headers.insert(REQUEST_ID, value);
    }
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    if let Ok(value) = HeaderValue::from_str(ids.call.uuid().hyphenated().encode_lower(&mut text)) {
        headers.insert(CALL_ID, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &'static str, value: &'static str) -> Ids {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        ids(&headers, FleetTime::from_unix_millis(1_700_000_000_000))
    }

    #[test]
    fn only_plain_ids_come_back() {
        assert_eq!(of("x-request-id", "My_request-1").request, "My_request-1");
        for odd in
            ["", "a b", "<b>", "a;b", "é", "%0d", "12345678901234567890123456789012345678901234567890123456789012345"]
        {
            let Ok(value) = HeaderValue::from_bytes(odd.as_bytes()) else { continue };
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, value);
            let ids = ids(&headers, FleetTime::default());
            assert_eq!(ids.request, ids.call.to_string(), "{odd}");
        }
        let mut two = HeaderMap::new();
        two.append(REQUEST_ID, HeaderValue::from_static("one"));
        two.append(REQUEST_ID, HeaderValue::from_static("two"));
        assert_eq!(ids(&two, FleetTime::default()).request.len(), 36);
    }

    #[test]
    fn our_ids_hold_the_time_of_the_fleet() {
        let ids = ids(&HeaderMap::new(), FleetTime::from_unix_millis(1_700_000_000_123));
        let (seconds, nanos) = ids.call.uuid().get_timestamp().map(|time| time.to_unix()).unwrap_or_default();
        assert_eq!((seconds, nanos), (1_700_000_000, 123_000_000));
    }

    #[test]
    fn traces_are_recognised() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(of("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").trace, trace);
        for bad in [
            "",
            "00",
            "00-xyz-1-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-1-01",
        ] {
            assert_eq!(of("traceparent", bad).trace, "", "{bad}");
        }
    }
}
