//! The rules, case by case.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use chrono::DateTime;
use shared::catalog::{BalanceStrategy, CarbonFacts, ProviderKind, RouterKind};
use shared::kernel::ids::RouterId;
use shared::kernel::money::{Amount, Prices};

use super::*;

fn field_of(error: Error) -> String {
    match error {
        Error::Invalid { field, .. } => field,
        other => panic!("not Invalid: {other:?}"),
    }
}

fn router() -> RouterSpec {
    RouterSpec {
        name: "chat".into(),
        kind: RouterKind::TextGeneration,
        aliases: vec!["gpt".into(), "模型".into()],
        strategy: BalanceStrategy::Shuffle,
        prices: Prices::default(),
        organization: None,
        owned_by: String::new(),
        max_context_length: None,
        max_output_tokens: None,
        vector_size: None,
        blocked: false,
        groups: vec!["eu".into(), "us".into()],
    }
}

#[test]
fn names_are_bounded_and_printable() {
    for good in ["a", "a/b", "模型", "=cmd()", "<b>", &"x".repeat(255)] {
        assert_eq!(check_name("name", good), Ok(()), "{good}");
    }
    for bad in ["", "   ", "a\0b", "a\nb", "a\u{202e}b", &"x".repeat(256)] {
        assert_eq!(field_of(check_name("name", bad).unwrap_err()), "name", "{bad}");
    }
    let long = check_name("name", &"x".repeat(10_000)).unwrap_err().to_string();
    assert!(long.len() < 300, "{long}");
}

#[test]
fn emails() {
    for good in ["a@b", "first.last+tag@example.org", "é@exämple.fr"] {
        assert_eq!(check_email(good), Ok(()), "{good}");
    }
    for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\n", &format!("{}@b", "x".repeat(300))] {
        assert_eq!(field_of(check_email(bad).unwrap_err()), "email", "{bad}");
    }
    assert!(matches!(check_email("Master"), Err(Error::Forbidden { .. })));
}

#[test]
fn a_refused_password_is_not_repeated() {
    assert!(check_password("correct horse").is_ok());
    let error = check_password("canary").unwrap_err().to_string();
    assert!(!error.contains("canary"), "{error}");
    assert!(check_password(&"x".repeat(1_025)).is_err());
}

#[test]
fn a_provider_url_has_one_form() {
    let url = |text| provider_url(ProviderKind::Vllm, Some(text));
    for (text, stored) in [
        ("http://10.0.0.5:8000", "http://10.0.0.5:8000"),
        ("http://10.0.0.5:8000/", "http://10.0.0.5:8000"),
        ("HTTPS://Api.Example.org/v1", "https://api.example.org"),
        ("https://api.example.org/v1/", "https://api.example.org"),
        ("https://api.example.org/openai/v1//", "https://api.example.org/openai"),
        ("https://api.example.org:443/x", "https://api.example.org/x"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ] {
        assert_eq!(url(text).as_deref(), Ok(stored), "{text}");
    }
    assert_eq!(provider_url(ProviderKind::OpenAi, None).as_deref(), Ok("https://api.openai.com"));
    assert_eq!(provider_url(ProviderKind::Mock, Some("mock://local")).as_deref(), Ok("mock://local"));
    assert!(matches!(provider_url(ProviderKind::Vllm, None), Err(Error::Refused { .. })));
}

#[test]
fn addresses_that_no_provider_may_have() {
    for text in [
        "http://169.254.169.254/latest",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:a9fe:a9fe::1]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://metadata.google.internal/",
        "http://METADATA.google.internal./",
        "http://100.100.100.200/",
        "http://0.0.0.0/",
        "ftp://host/",
        "file:///etc/passwd",
        "mock://local",
        "http://user:canary@host/",
        "http://host/?q=1",
        "http://host/#f",
        "host:8000",
        "not a url",
        "",
        "http://",
    ] {
        let error = provider_url(ProviderKind::OpenAi, Some(text)).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
        assert_eq!(field_of(error), "url", "{text}");
    }
    assert!(provider_url(ProviderKind::Mock, Some("http://host")).is_err());
}

#[test]
fn a_credential_or_a_reference() {
    assert!(matches!(CredentialSpec::read("sk-abc"), Ok(CredentialSpec::Stored(_))));
    assert!(matches!(CredentialSpec::read("env:OPENAI_KEY"), Ok(CredentialSpec::Reference(_))));
    assert!(matches!(CredentialSpec::read("file:/run/secrets/x"), Ok(CredentialSpec::Reference(_))));
    for bad in ["", "a b", "a\r\nX: y", "é", "env:", "env:1A", "env:A-B", "file:relative", "file:"] {
        assert_eq!(field_of(CredentialSpec::read(bad).unwrap_err()), "key", "{bad}");
    }
}

#[test]
fn a_provider_fits_its_router() {
    let spec = ProviderSpec {
        router: RouterId::generate(),
        kind: ProviderKind::Vllm,
        url: "http://host".into(),
        upstream_model: "m".into(),
        timeout: DEFAULT_TIMEOUT,
        carbon: CarbonFacts { zone: "WOR".into(), total_params: None, active_params: None },
        weight: None,
        drain_on_disconnect: false,
        blocked: false,
    };
    assert_eq!(spec.check(RouterKind::TextGeneration), Ok(()));
    let Err(Error::Refused { detail, .. }) = spec.check(RouterKind::ImageToText) else { panic!() };
    assert_eq!(detail, "Invalid model provider type vllm for image-to-text router.");
    let timeout = ProviderSpec { timeout: Duration::ZERO, ..spec.clone() };
    assert_eq!(field_of(timeout.check(RouterKind::TextGeneration).unwrap_err()), "timeout");
    for code in ["fr", "fra", "XXX", ""] {
        let zone = ProviderSpec { carbon: CarbonFacts { zone: code.into(), ..spec.carbon.clone() }, ..spec.clone() };
        assert_eq!(field_of(zone.check(RouterKind::TextGeneration).unwrap_err()), "model_hosting_zone", "{code}");
    }
    let params = ProviderSpec { carbon: CarbonFacts { total_params: Some(f64::NAN), ..spec.carbon.clone() }, ..spec };
    assert_eq!(field_of(params.check(RouterKind::TextGeneration).unwrap_err()), "model_total_params");
}

#[test]
fn routers() {
    assert_eq!(router().check(), Ok(()));
    let cases = [
        ("aliases", RouterSpec { aliases: vec!["chat".into()], ..router() }),
        ("aliases", RouterSpec { aliases: vec!["x".repeat(65)], ..router() }),
        ("aliases", RouterSpec { aliases: vec!["a".into(), "a".into()], ..router() }),
        ("groups", RouterSpec { groups: vec!["eu".into(), "eu".into()], ..router() }),
        ("groups", RouterSpec { groups: vec![" ".into()], ..router() }),
        ("name", RouterSpec { name: String::new(), ..router() }),
        ("vector_size", RouterSpec { vector_size: Some(0), ..router() }),
        (
            "cost_prompt_tokens",
            RouterSpec {
                prices: Prices { prompt: Some(Amount::from_billionths(-1)), ..Prices::default() },
                ..router()
            },
        ),
    ];
    for (field, spec) in cases {
        assert_eq!(field_of(spec.check().unwrap_err()), field);
    }
}

#[test]
fn expiry_of_keys() {
    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let month = Some(Duration::from_secs(30 * 86_400));
    assert_eq!(key_expiry(KeyNoun::Key, None, None, now), Ok(None));
    assert_eq!(key_expiry(KeyNoun::Key, None, month, now).unwrap().unwrap().timestamp(), 1_700_000_000 + 30 * 86_400);
    assert!(key_expiry(KeyNoun::Key, Some(253_402_300_799), None, now).is_ok(), "the year 9999");
    for past in [0, -1, 1_700_000_000, i64::MIN, i64::MAX, 253_402_300_800] {
        assert_eq!(field_of(key_expiry(KeyNoun::Key, Some(past), None, now).unwrap_err()), "expires", "{past}");
    }
    let beyond = key_expiry(KeyNoun::Token, Some(1_700_000_000 + 31 * 86_400), month, now).unwrap_err();
    assert_eq!(beyond.to_string(), "Token expiration timestamp cannot be greater than 30 days from now.");
}

#[test]
fn a_role_names_each_limit_once() {
    let router = RouterId::generate();
    let limit = |limit, amount| LimitSpec { router, limit, amount };
    let role = |limits| RoleSpec { name: "r".into(), permissions: vec![], all_routers: false, limits };
    assert_eq!(role(vec![limit(LimitType::Rpm, None), limit(LimitType::Rpd, Some(0))]).check(), Ok(()));
    assert!(role(vec![limit(LimitType::Rpm, None), limit(LimitType::Rpm, Some(1))]).check().is_err());
    assert!(role(vec![limit(LimitType::Tpm, Some(-1))]).check().is_err());
    assert_eq!(LimitType::of("tokens", "day"), Some(LimitType::Tpd));
    assert_eq!(LimitType::of("tokens", "week"), None);
}

#[test]
fn three_states_of_a_field() {
    assert_eq!(Patch::<i32>::Absent.nullable(Some(1)), Some(1));
    assert_eq!(Patch::<i32>::Null.nullable(Some(1)), None);
    assert_eq!(Patch::Value(2).nullable(Some(1)), Some(2));
    assert_eq!(Patch::<i32>::Null.defaulted(Some(1), 9), 9);
    assert_eq!(Patch::<i32>::Absent.defaulted(None, 9), 9);
    assert!(Patch::<i32>::Null.required("f", Some(1)).is_err());
    assert!(Patch::<i32>::Absent.required("f", None).is_err());
    assert_eq!(Patch::<i32>::Absent.required("f", Some(1)), Ok(1));
}

#[test]
fn objects_are_named_by_number_or_uuid() {
    assert_eq!("7".parse(), Ok(Lookup::Number(7)));
    assert!(matches!("0190a0b0-0000-7000-8000-000000000001".parse(), Ok(Lookup::Id(_))));
    for bad in ["", "-1", "x", "1.5", "0190a0b000007000800000000000001", "99999999999999999999", "%2e"] {
        assert_eq!(bad.parse::<Lookup>(), Err(BadLookup), "{bad}");
    }
}
