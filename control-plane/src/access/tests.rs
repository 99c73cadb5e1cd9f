//! Credentials, passwords and the guard.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    headers
}

#[test]
fn one_credential_in_one_of_three_headers() {
    for (pairs, expected) in [
        (vec![], Err(CredentialFault::Missing)),
        (vec![("authorization", "Bearer k")], Ok("k")),
        (vec![("authorization", "bearer  k ")], Ok("k")),
        (vec![("x-api-key", "k")], Ok("k")),
        (vec![("api-key", "k")], Ok("k")),
        (vec![("authorization", "Bearer k"), ("x-api-key", "k")], Ok("k")),
        (vec![("authorization", "Bearer k"), ("x-api-key", "l")], Err(CredentialFault::Ambiguous)),
        (vec![("authorization", "Bearer k"), ("authorization", "Bearer l")], Err(CredentialFault::Ambiguous)),
        (vec![("authorization", "Basic k")], Err(CredentialFault::Scheme)),
        (vec![("authorization", "k")], Err(CredentialFault::Scheme)),
        (vec![("authorization", "Bearer ")], Err(CredentialFault::Scheme)),
        (vec![("authorization", "")], Err(CredentialFault::Scheme)),
        (vec![("x-api-key", "")], Err(CredentialFault::Scheme)),
    ] {
        assert_eq!(credential(&headers(&pairs)), expected, "{pairs:?}");
    }
}

#[tokio::test]
async fn a_password_is_recognised_and_its_hash_is_not() {
    let passwords = Passwords::new();
    let secret = |text: &str| Secret::new(text.to_owned());
    let stored = passwords.hash(secret("correct horse")).await.unwrap();
    assert!(stored.starts_with("$argon2id$"), "{stored}");
    assert_eq!(passwords.verify(secret("correct horse"), Some(stored.clone())).await, Ok(true));
    assert_eq!(passwords.verify(secret("wrong"), Some(stored.clone())).await, Ok(false));
    assert_eq!(passwords.verify(secret(&stored), Some(stored.clone())).await, Ok(false));
    assert_eq!(passwords.verify(secret("correct horse"), None).await, Ok(false));
}

#[test]
fn guessing_is_stopped_and_getting_in_forgives() {
    let guard = Guard::new();
    let here = Some(std::net::IpAddr::from([127, 0, 0, 1]));
    for _ in 0..10 {
        assert_eq!(guard.may_try("a@b", here), None);
        guard.wrong_password("a@b", here);
    }
    assert!(guard.may_try("a@b", here).is_some_and(|refusal| refusal.retry_after.as_secs() > 0));
    assert_eq!(guard.may_try("other@b", here), None);
    assert_eq!(guard.may_try("a@b", None), None, "another address");
    guard.right_password("a@b", here);
    assert_eq!(guard.may_try("a@b", here), None);
    for _ in 0..600 {
        assert_eq!(guard.wrong_key(here), None);
    }
    assert!(guard.wrong_key(here).is_some());
    assert_eq!(guard.wrong_key(None), None);
}
