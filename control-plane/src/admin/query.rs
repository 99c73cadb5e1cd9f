//! Reads the query string of a list: paging, order and filters.

use std::collections::HashMap;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use chrono::{DateTime, Utc};
use http::request::Parts;
use serde_json::Value;

use super::error::{ApiError, Problem};
use crate::domain::Lookup;
use crate::store::{Page, Sort};

/// The parameters of a query string; a parameter that stands there twice is refused.
#[derive(Debug)]
pub struct Query {
    pairs: HashMap<String, String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let mut pairs = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            if value.contains('\0') {
                return Err(invalid(&name, "value_error", "no NUL character is expected", Value::Null));
            }
            if pairs.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(invalid(&name, "value_error", "it is expected once", Value::Null));
            }
        }
        Ok(Self { pairs })
    }
}

impl Query {
    /// A parameter as text; an empty one counts as absent.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The first of two names of one parameter.
    #[must_use]
    pub fn either(&self, name: &'static str, older: &'static str) -> Option<(&'static str, &str)> {
        [name, older].into_iter().find_map(|name| self.text(name).map(|text| (name, text)))
    }

    /// A parameter that is read from text.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming it.
    pub fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        self.text(name)
            .map(|text| text.parse().map_err(|_| invalid(name, "value_error", expected, shown(text))))
            .transpose()
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming it.
    pub fn required<T: FromStr>(&self, name: &str, expected: &str) -> Result<T, ApiError> {
        self.parsed(name, expected)?.ok_or_else(|| invalid(name, "missing", "Field required", Value::Null))
    }

    /// The id of an object, under either of two names.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming it.
    pub fn lookup(&self, name: &'static str, older: &'static str) -> Result<Option<Lookup>, ApiError> {
        let Some((name, _)) = self.either(name, older) else { return Ok(None) };
        self.parsed(name, "an integer or a UUID is expected")
    }

    /// A time, as Unix seconds.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming it.
    pub fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, ApiError> {
        let Some(seconds) = self.parsed::<i64>(name, "Unix seconds are expected")? else { return Ok(None) };
        let at = DateTime::from_timestamp(seconds, 0).filter(|_| seconds.abs() < 253_402_300_800);
        at.map(Some).ok_or_else(|| invalid(name, "value_error", "Unix seconds are expected", seconds.into()))
    }

    /// `offset` (0 or more) and `limit` (1 to 100, default 10).
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the parameter.
    pub fn window(&self) -> Result<(i64, i64), ApiError> {
        let offset = self.parsed("offset", "an integer of 0 or more is expected")?.unwrap_or(0);
        if offset < 0 {
            return Err(invalid("offset", "greater_than_equal", "0 or more is expected", offset.into()));
        }
        let limit = self.parsed("limit", "an integer from 1 to 100 is expected")?.unwrap_or(10);
        if !(1..=100).contains(&limit) {
            return Err(invalid("limit", "value_error", "1 to 100 is expected", limit.into()));
        }
        Ok((offset, limit))
    }

    /// The whole page: the window, and `sort_by` and `sort_order` (older: `order_by`, `order_direction`) among these words.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the parameter.
    pub fn page(&self, words: &[(&str, Sort)]) -> Result<Page, ApiError> {
        let (offset, limit) = self.window()?;
        let sort = match self.either("sort_by", "order_by") {
            None => Sort::Number,
            Some((name, word)) => {
                let found = words.iter().find(|(known, _)| *known == word).map(|(_, sort)| *sort);
                let expected = words.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
                found.ok_or_else(|| invalid(name, "enum", &format!("one of: {expected}"), shown(word)))?
            }
        };
        Ok(Page { offset, limit, sort, descending: self.descending()?.unwrap_or(false) })
    }

    /// Whether the order is turned around, where it is named.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the parameter.
    pub fn descending(&self) -> Result<Option<bool>, ApiError> {
        match self.either("sort_order", "order_direction") {
            None => Ok(None),
            Some((_, "asc")) => Ok(Some(false)),
            Some((_, "desc")) => Ok(Some(true)),
            Some((name, word)) => Err(invalid(name, "enum", "one of: asc, desc", shown(word))),
        }
    }
}

/// The id at the end of a path.
#[derive(Debug, Clone, Copy)]
pub struct At(pub Lookup);

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| ApiError::UnknownPath)?;
        text.parse().map(Self).map_err(|_| {
            ApiError::Invalid(vec![Problem {
                kind: "int_parsing",
                at: vec!["path".into(), "id".into()],
                message: "an integer or a UUID is expected".into(),
                input: shown(&text),
            }])
        })
    }
}

fn shown(text: &str) -> Value {
    Value::String(text.chars().take(64).collect())
}

fn invalid(name: &str, kind: &'static str, expected: &str, input: Value) -> ApiError {
    let name: String = name.chars().take(64).collect();
    ApiError::Invalid(vec![Problem {
        kind,
        at: vec!["query".into(), name.into()],
        message: expected.to_owned(),
        input,
    }])
}
