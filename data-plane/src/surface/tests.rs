//! Parsers and routes: what is refused, and how it is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use bytes::Bytes;

use super::*;
use crate::exchange::endpoint::{Call, Takes};
use crate::translate::{UsageWish, Wording};

fn parse(endpoint: &Endpoint, body: &str) -> Result<Call, (String, Option<String>)> {
    let Takes::Json(parse) = endpoint.takes else { panic!("{} takes a form", endpoint.path) };
    let parsed = parse(&Bytes::copy_from_slice(body.as_bytes()));
    parsed.map_err(|fault| (fault.code.into_owned(), fault.param.map(std::borrow::Cow::into_owned)))
}

#[test]
fn chat_requests_are_read() {
    let body = r#"{"messages":[],"mo\u0064el":"a\/b","stream":true , "x":1}"#;
    let call = parse(&chat::ENDPOINT, body).unwrap();
    assert_eq!(call.requested, "a/b");
    assert_eq!(&body[call.place], r#""a\/b""#);
    assert_eq!(call.streamed, Some(UsageWish::Absent { after: body.find("true").unwrap() + 4 }));
    let wish = |options: &str| {
        parse(&chat::ENDPOINT, &format!(r#"{{"model":"m","messages":[],"stream":true,"stream_options":{options}}}"#))
            .unwrap()
            .streamed
    };
    assert_eq!(wish(r#"{"include_usage":true}"#), Some(UsageWish::Yes));
    assert!(matches!(wish("null"), Some(UsageWish::Null(_))));
    assert!(matches!(wish("{ }"), Some(UsageWish::Silent { empty: true, .. })));
    assert!(matches!(wish(r#"{"other":1}"#), Some(UsageWish::Silent { empty: false, .. })));
    assert!(matches!(wish(r#"{"include_usage":false}"#), Some(UsageWish::No(_))));
    for quiet in [r#""stream":false"#, r#""stream":null"#, r#""n":2"#, r#""max_tokens":5,"max_completion_tokens":5"#] {
        assert_eq!(
            parse(&chat::ENDPOINT, &format!(r#"{{"model":"m","messages":[],{quiet}}}"#)).unwrap().streamed,
            None
        );
    }
}

#[test]
fn every_refusal_names_its_field() {
    let with = |member: &str| format!(r#"{{"model":"m","messages":[],{member}}}"#);
    let cases = [
        (r#"{"messages":[]}"#.to_owned(), "missing_required_parameter", Some("model")),
        (r#"{"model":null,"messages":[]}"#.to_owned(), "missing_required_parameter", Some("model")),
        (r#"{"model":5,"messages":[]}"#.to_owned(), "invalid_type", Some("model")),
        (r#"{"model":"","messages":[]}"#.to_owned(), "invalid_type", Some("model")),
        (r#"{"model":"m"}"#.to_owned(), "missing_required_parameter", Some("messages")),
        (r#"{"model":"m","messages":"x"}"#.to_owned(), "invalid_type", Some("messages")),
        (format!(r#"{{"model":"m","messages":[{}0]}}"#, "0,".repeat(20_000)), "request_too_complex", Some("messages")),
        (with(r#""stream":"yes""#), "invalid_type", Some("stream")),
        (with(r#""stream":1"#), "invalid_type", Some("stream")),
        (with(r#""stream":true,"stream_options":5"#), "invalid_type", Some("stream_options")),
        (with(r#""stream_options":[]"#), "invalid_type", Some("stream_options")),
        (
            with(r#""stream":true,"stream_options":{"include_usage":1}"#),
            "invalid_type",
            Some("stream_options.include_usage"),
        ),
        (
            with(r#""stream":true,"stream_options":{"include_usage":true,"include_usage":false}"#),
            "duplicate_parameter",
            Some("stream_options"),
        ),
        (with(r#""max_tokens":-1"#), "invalid_value", Some("max_tokens")),
        (with(r#""max_tokens":1.5"#), "invalid_value", Some("max_tokens")),
        (with(r#""max_tokens":2147483648"#), "invalid_value", Some("max_tokens")),
        (with(r#""max_tokens":5,"max_completion_tokens":6"#), "invalid_value", Some("max_tokens")),
        (with(r#""max_completion_tokens":"x""#), "invalid_value", Some("max_completion_tokens")),
        (with(r#""n":0"#), "invalid_value", Some("n")),
        (with(r#""n":129"#), "invalid_value", Some("n")),
        (with(r#""x":1,"x":2"#), "duplicate_parameter", None),
        (with(r#""x":"\ud800""#), "invalid_encoding", None),
        ("[]".to_owned(), "invalid_json", None),
        (String::new(), "invalid_json", None),
    ];
    for (body, code, param) in cases {
        let refusal = parse(&chat::ENDPOINT, &body).unwrap_err();
        assert_eq!((refusal.0.as_str(), refusal.1.as_deref()), (code, param), "{}", &body[..body.len().min(200)]);
    }
    for (input, code) in [
        ("\"\"", "invalid_value"),
        ("[]", "invalid_value"),
        ("5", "invalid_type"),
        ("null", "missing_required_parameter"),
        ("{}", "invalid_type"),
    ] {
        let refusal = parse(&embeddings::ENDPOINT, &format!(r#"{{"model":"m","input":{input}}}"#)).unwrap_err();
        assert_eq!((refusal.0.as_str(), refusal.1.as_deref()), (code, Some("input")), "{input}");
    }
    assert!(parse(&embeddings::ENDPOINT, r#"{"model":"m","input":[[1,2]],"encoding_format":"base64"}"#).is_ok());
}

#[test]
fn rankings_are_asked_for_in_two_ways() {
    let wording = |body: &str| parse(&rerank::ENDPOINT, body).map(|call| call.wording);
    assert_eq!(wording(r#"{"model":"m","query":"q","documents":["a",{"text":"b"}],"top_n":1}"#), Ok(Wording::Common));
    assert_eq!(wording(r#"{"model":"m","prompt":"q","input":["a"]}"#), Ok(Wording::OlderRerank));
    for (body, code, param) in [
        (r#"{"model":"m","documents":["a"]}"#, "missing_required_parameter", "query"),
        (r#"{"model":"m","query":1,"documents":["a"]}"#, "invalid_type", "query"),
        (r#"{"model":"m","query":"q"}"#, "missing_required_parameter", "documents"),
        (r#"{"model":"m","query":"q","documents":[]}"#, "invalid_value", "documents"),
        (r#"{"model":"m","prompt":"q","input":"a"}"#, "invalid_type", "input"),
        (r#"{"model":"m","query":"q","documents":["a"],"top_n":0}"#, "invalid_value", "top_n"),
    ] {
        let refusal = wording(body).unwrap_err();
        assert_eq!((refusal.0.as_str(), refusal.1.as_deref()), (code, Some(param)), "{body}");
    }
}

#[test]
fn texts_that_go_on_are_asked_for() {
    let call = |member: &str| parse(&completions::ENDPOINT, &format!(r#"{{"model":"m",{member}}}"#));
    assert!(call(r#""prompt":"Once","max_tokens":0"#).unwrap().streamed.is_none());
    assert!(call(r#""prompt":[1,2],"stream":true"#).unwrap().streamed.is_some());
    for (member, param) in [
        (r#""n":1"#, "prompt"),
        (r#""prompt":{}"#, "prompt"),
        (r#""prompt":"x","n":-1"#, "n"),
        (r#""prompt":"x","max_tokens":-1"#, "max_tokens"),
    ] {
        assert_eq!(call(member).unwrap_err().1.as_deref(), Some(param), "{member}");
    }
}

#[test]
fn paths_are_compared_letter_by_letter() {
    for served in [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/rerank",
        "/v2/rerank",
        "/v1/audio/transcriptions",
        "/v1/embeddings",
        "/v1/models",
        "/v1/models/a/b%2Fc",
        "/health",
    ] {
        assert!(PublicService::serves(served), "{served}");
    }
    for other in [
        "/",
        "/v1",
        "/v1/models/",
        "/V1/models",
        "/v1/chat/completions/",
        "/v1//models",
        "/v1/admin/users",
        "/openapi.json",
        "",
    ] {
        assert!(!PublicService::serves(other), "{other}");
    }
}

#[test]
fn the_document_knows_every_route() {
    let document = openapi::document();
    let paths: Vec<&String> = document.paths.paths.keys().collect();
    assert_eq!(paths.len(), 8);
    for path in paths {
        assert!(find(&path.replace("{model}", "x")).is_some(), "{path}");
    }
    assert!(document.to_json().unwrap().contains("ChatCompletionRequest"));
}
