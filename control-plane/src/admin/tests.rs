//! Bodies, queries and the description; what needs a database is tested from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use serde_json::value::RawValue;
use shared::catalog::RouterKind;
use shared::kernel::money::Amount;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use shared::kernel::secret::{Secret, SecretBytes};
use tower::ServiceExt;

use super::body::{Fields, FromField, Word};
use super::error::ApiError;
use super::{AdminSettings, AppState};
use crate::access::{Access, AccessSettings};
use crate::domain::{Lookup, Patch};
use crate::store::Store;
use crate::vault::KeyRing;

fn field<T: FromField>(json: &str) -> Result<T, String> {
    let raw = RawValue::from_string(json.to_owned()).unwrap();
    T::from_field(&raw).map_err(|problems| problems[0].kind.to_owned())
}

#[test]
fn a_body_is_an_object_with_each_field_once() {
    for bad in ["null", "[]", "\"x\"", "1", "", "{", "{\"a\":1}x", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}"] {
        assert!(matches!(Fields::parse(bad.as_bytes()), Err(ApiError::Json(_))), "{bad}");
    }
    assert!(matches!(Fields::parse(b"{\"a\":\"\xff\"}"), Err(ApiError::Encoding)));
    assert!(matches!(Fields::parse(br#"{"\ud800":1}"#), Err(ApiError::Encoding)));
}

#[test]
fn what_is_not_asked_for_is_refused_by_name() {
    let mut fields = Fields::parse(br#"{"name":"a","nmae":"b"}"#).unwrap();
    assert_eq!(fields.take::<String>("name"), Patch::Value("a".into()));
    let error = fields.finish(&[]).unwrap_err();
    assert_eq!(error.to_string(), "Unknown field `nmae`: did you mean `name`?");
    let fields = Fields::parse(br#"{"id":1,"zzz":2}"#).unwrap();
    assert!(matches!(fields.finish(&["id"]), Err(ApiError::ForbiddenField { field }) if field == "id"));
}

#[test]
fn older_names_count_unless_both_are_given() {
    let mut fields = Fields::parse(br#"{"role":7}"#).unwrap();
    fields.older("role", "role_id");
    assert_eq!(fields.take::<Lookup>("role_id"), Patch::Value(Lookup::Number(7)));
    assert!(fields.finish(&[]).is_ok());
    let mut fields = Fields::parse(br#"{"role":7,"role_id":8}"#).unwrap();
    fields.older("role", "role_id");
    let _ = fields.take::<Lookup>("role_id");
    assert!(matches!(fields.finish(&[]), Err(ApiError::Invalid(problems)) if problems[0].at[1] == "role"));
}

#[test]
fn three_states_and_wrong_types() {
    let mut fields = Fields::parse(br#"{"a":null,"b":5,"c":"x"}"#).unwrap();
    assert_eq!(fields.take::<i64>("a"), Patch::Null);
    assert_eq!(fields.take::<i64>("b"), Patch::Value(5));
    assert_eq!(fields.take::<i64>("c"), Patch::Absent);
    assert_eq!(fields.take::<i64>("d"), Patch::Absent);
    let Err(ApiError::Invalid(problems)) = fields.finish(&[]) else { panic!() };
    assert_eq!((problems.len(), problems[0].kind, problems[0].at[1].as_str()), (1, "int_type", Some("c")));
}

#[test]
fn values_are_read_exactly_or_not_at_all() {
    assert_eq!(field::<i64>("3.0"), Ok(3));
    assert_eq!(field::<i64>("3.5"), Err("int_type".into()));
    assert_eq!(field::<i64>("99999999999999999999"), Err("int_type".into()));
    assert_eq!(field::<bool>("1"), Err("bool_type".into()));
    assert_eq!(field::<Amount>("0.100000001"), Ok(Amount::from_billionths(100_000_001)));
    assert_eq!(field::<Amount>("\"8999999999.999999999\""), Ok(Amount::from_billionths(8_999_999_999_999_999_999)));
    assert_eq!(field::<Amount>("8999999999.999999999"), Ok(Amount::from_billionths(8_999_999_999_999_999_999)));
    assert_eq!(field::<Amount>("1e400"), Err("json_invalid".into()));
    assert_eq!(field::<Word<RouterKind>>("\"chat\"").unwrap_err(), "enum");
    assert_eq!(field::<Vec<i64>>("[1,2]"), Ok(vec![1, 2]));
    assert_eq!(field::<Vec<i64>>("{}"), Err("list_type".into()));
    assert!(field::<String>("\"\\ud800\"").is_err());
    let raw = RawValue::from_string("[\"a\",1,{\"x\":2}]".into()).unwrap();
    let problems = Vec::<String>::from_field(&raw).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.at[0].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_secret_of_the_wrong_type_is_not_repeated() {
    let raw = RawValue::from_string("[\"canary\"]".into()).unwrap();
    let problems = Secret::from_field(&raw).unwrap_err();
    assert!(!format!("{problems:?}").contains("canary"));
}

const MASTER: &str = "a master key that is long enough for a test";

fn state() -> AppState {
    let store = Store::nowhere();
    let settings = AccessSettings {
        master_key: Secret::new(MASTER.into()),
        master_name: "master".into(),
        pepper: SecretBytes::new(vec![1; 32]),
        session_duration: Duration::from_secs(60),
    };
    AppState {
        access: Access::new(store.clone(), settings),
        fleet: crate::fleet::Together::new(store.clone(), crate::fleet::nodes::Nodes::default()),
        store,
        vault: Arc::new(KeyRing::parse(&Secret::new("0123456789abcdef".repeat(4))).unwrap()),
        settings: Arc::new(AdminSettings::default()),
    }
}

async fn send(method: &str, path: &str, key: Option<&str>, body: &str) -> (StatusCode, http::HeaderMap, Value) {
    let (router, _) = super::router(state());
    let mut request = Request::builder().method(method).uri(path);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let response = router.oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Denied by default: whatever is described asks for a credential, but for the two routes that cannot.
#[tokio::test]
async fn every_route_asks_who_speaks() {
    let (_, document) = super::router(state());
    let document = serde_json::to_value(&document).unwrap();
    let mut ids = std::collections::HashSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{method} {path}: id used twice"
            );
            let place = path.replace("{id}", "1");
            let (status, headers, body) = send(&method.to_uppercase(), &place, None, "{").await;
            assert!(headers.contains_key("x-request-id"), "{method} {path}");
            if ["/health", "/v1/auth/login"].contains(&path.as_str()) {
                assert_ne!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
                continue;
            }
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}: {body}");
            assert_eq!(headers["www-authenticate"], "Bearer", "{method} {path}");
            assert_eq!(body["error"]["code"], "missing_api_key", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn without_a_database_the_answer_is_quick_and_says_when_to_come_back() {
    let began = Instant::now();
    for key in [MASTER, "sk-whoever"] {
        let (status, headers, body) = send("GET", "/v1/admin/roles", Some(key), "").await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &"store_unavailable".into()));
        assert!(headers.contains_key("retry-after"));
    }
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there() {
    let (status, _, body) = send("GET", "/v1/admin/nothing", Some(MASTER), "").await;
    assert_eq!((status, &body["detail"]), (StatusCode::NOT_FOUND, &"Not Found".into()));
    let (status, headers, body) = send("DELETE", "/v1/admin/roles", Some(MASTER), "").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::METHOD_NOT_ALLOWED, &"method_not_allowed".into()));
    assert!(headers["allow"].to_str().unwrap().contains("POST"));
}

#[tokio::test]
async fn a_change_takes_what_a_create_takes_and_requires_nothing() {
    let (_, document) = super::router(state());
    let document = serde_json::to_value(&document).unwrap();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["RoleBody"]["required"], serde_json::json!(["name"]));
    assert_eq!(schemas["RoleBodyChange"]["properties"], schemas["RoleBody"]["properties"]);
    assert!(schemas["RoleBodyChange"].get("required").is_none());
}
