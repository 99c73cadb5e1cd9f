//! Prefixes, proxies and origins, good and dishonest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use http::{HeaderMap, Method, Request, Uri};

use super::*;

fn strip(prefix: &str, uri: &str) -> Result<Option<String>, ()> {
    let prefix: PathPrefix = prefix.parse().unwrap();
    prefix.strip(&uri.parse::<Uri>().unwrap()).map(|below| below.map(|uri| uri.to_string()))
}

#[test]
fn only_what_lies_below_the_prefix_is_served() {
    for (uri, below) in [
        ("/gateway", "/"),
        ("/gateway/", "/"),
        ("/gateway?a=/b", "/?a=/b"),
        ("/gateway/v1/models/a%2Fb?x=1", "/v1/models/a%2Fb?x=1"),
        ("/gateway//v1", "//v1"),
        ("http://host/gateway/v1", "http://host/v1"),
        ("/gateway/gateway/v1", "/gateway/v1"),
    ] {
        assert_eq!(strip("/gateway", uri), Ok(Some(below.to_owned())), "{uri}");
    }
    for uri in ["/", "/v1/models", "/gateways/v1", "/gateway%2Fv1", "/Gateway/v1", "/x/gateway/v1", "//gateway/v1", "*"]
    {
        assert_eq!(strip("/gateway", uri), Err(()), "{uri}");
    }
    assert_eq!(strip("", "/v1"), Ok(None));
    assert_eq!("/a/b/".parse::<PathPrefix>().unwrap().as_str(), "/a/b");
    for bad in ["gateway", "/a//b", "/../x", "/a b", "/a?b", "//", "/%61", "/ü"] {
        assert!(bad.parse::<PathPrefix>().is_err(), "{bad}");
    }
}

fn client(trusted: &str, peer: &str, lines: &[&str]) -> String {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append("x-forwarded-for", line.parse().unwrap());
    }
    trusted.parse::<TrustedProxies>().unwrap().client(peer.parse().unwrap(), &headers).to_string()
}

#[test]
fn only_trusted_hops_tell_who_the_client_is() {
    let trusted = "10.0.0.0/8, fd00::/8";
    assert_eq!(client("", "10.0.0.1", &["203.0.113.9"]), "10.0.0.1", "nobody is trusted");
    assert_eq!(client(trusted, "198.51.100.4", &["203.0.113.9"]), "198.51.100.4", "the peer is not trusted");
    assert_eq!(client(trusted, "10.0.0.1", &[]), "10.0.0.1");
    assert_eq!(client(trusted, "10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
    assert_eq!(client(trusted, "::ffff:10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
    assert_eq!(client(trusted, "10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.2.0.1"]), "203.0.113.9", "the left is a claim");
    assert_eq!(client(trusted, "10.0.0.1", &["1.1.1.1", "203.0.113.9,10.2.0.1"]), "203.0.113.9", "lines are one list");
    assert_eq!(client(trusted, "10.0.0.1", &["10.3.0.1, 10.2.0.1"]), "10.3.0.1", "all trusted: the first");
    assert_eq!(client(trusted, "10.0.0.1", &["203.0.113.9, unknown, 10.2.0.1"]), "10.2.0.1", "no address ends it");
    assert_eq!(client(trusted, "10.0.0.1", &["203.0.113.9,"]), "10.0.0.1");
    assert_eq!(client(trusted, "fd00::1", &["\"[2001:db8::7]:4711\""]), "2001:db8::7");
    assert_eq!(client(trusted, "10.0.0.1", &["[2001:db8::7]"]), "2001:db8::7");
    assert_eq!(client(trusted, "10.0.0.1", &["203.0.113.9:80"]), "203.0.113.9");
}

fn ask(cors: &str, method: Method, headers: &[(&str, &str)]) -> Result<Visit, Box<Turned>> {
    let mut request = Request::builder().method(method).uri("/v1/models");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let edge = Edge { cors: cors.parse().unwrap(), ..Edge::default() };
    edge.enter(&mut parts, "127.0.0.1".parse().unwrap())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn listed_origins_may_call_and_others_may_not() {
    let list = "https://app.example.org,http://localhost:3000";
    let from = |origin| ask(list, Method::GET, &[("origin", origin)]).unwrap().headers;
    let good = from("https://app.example.org");
    assert_eq!(text(&good, "access-control-allow-origin"), "https://app.example.org");
    assert_eq!(text(&good, "access-control-allow-credentials"), "true");
    assert!(text(&good, "access-control-expose-headers").contains("x-request-id"));
    for other in ["https://app.example.org.evil", "http://app.example.org", "null", "https://app.example.org:444", "*"]
    {
        let other = from(other);
        assert_eq!(text(&other, "access-control-allow-origin"), "");
        assert_eq!(text(&other, "vary"), "origin");
    }
    let any = ask("*", Method::GET, &[("origin", "https://x.example")]).unwrap().headers;
    assert_eq!(text(&any, "access-control-allow-origin"), "*");
    assert_eq!(text(&any, "access-control-allow-credentials"), "");
    assert!(
        ask("", Method::OPTIONS, &[("origin", "https://x.example"), ("access-control-request-method", "GET")]).is_ok()
    );
}

#[test]
fn preflights_are_answered_here() {
    let asked = |origin, wanted| {
        let headers =
            [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", wanted)];
        ask("https://app.example.org", Method::OPTIONS, &headers).unwrap_err()
    };
    let good = asked("https://app.example.org", "authorization,x-stainless-os");
    assert_eq!((good.status, good.refusal), (StatusCode::NO_CONTENT, None));
    assert_eq!(text(&good.headers, "access-control-allow-headers"), "authorization,x-stainless-os");
    assert!(text(&good.headers, "access-control-allow-methods").contains("DELETE"));
    let odd = asked("https://app.example.org", "a b, <script>");
    assert_eq!(odd.headers.get("access-control-allow-headers").unwrap(), HEADERS_WHEN_ODD);
    let bad = asked("https://evil.example", "authorization");
    assert_eq!(bad.status, StatusCode::FORBIDDEN);
    assert_eq!(text(&bad.headers, "access-control-allow-origin"), "");
    // Asked for what can be done, not whether a page may.
    assert!(ask("https://app.example.org", Method::OPTIONS, &[("origin", "https://app.example.org")]).is_ok());
}

const HEADERS_WHEN_ODD: &str = "authorization, content-type, x-api-key, api-key, x-request-id";

#[test]
fn origins_are_written_as_browsers_write_them() {
    for good in ["https://app.example.org", "http://localhost:3000", "http://[::1]:8080", "chrome-extension://abcdef"] {
        assert_eq!(good.parse::<Origin>().unwrap().to_string(), good);
    }
    for (given, right) in [
        ("https://App.Example.org", "https://app.example.org"),
        ("https://app.example.org/", "https://app.example.org"),
        ("https://app.example.org:443", "https://app.example.org"),
    ] {
        assert_eq!(given.parse::<Origin>(), Err(BadOrigin::Spelling { given: given.into(), right: right.into() }));
    }
    for bad in [
        "",
        "null",
        "app.example.org",
        "https://",
        "https://*.example.org",
        "https://a/b",
        "https://u@h",
        "https://h:99999",
    ] {
        assert!(matches!(bad.parse::<Origin>(), Err(BadOrigin::Form(_))), "{bad}: {:?}", bad.parse::<Origin>());
    }
    assert_eq!("*,https://a.example".parse::<Cors>(), Err(BadOrigin::Beside));
    assert_eq!("".parse::<Cors>(), Ok(Cors::Off));
}
