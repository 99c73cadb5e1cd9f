//! `dependencies.postgres` → [`Database`].

use std::time::Duration;

use shared::kernel::secret::Secret;
use url::Url;

use crate::dialect::finding::{Findings, Outcome};
use crate::dialect::plan::Database;
use crate::dialect::walk::Fields;

/// How many connections a pool has when only its overflow is given, as SQLAlchemy has it.
const DEFAULT_POOL: u32 = 5;

/// Reads the section; nothing when there is none or its address is wrong.
pub(super) fn read(fields: &Fields, findings: &mut Findings) -> Option<Database> {
    let field = fields.get("url")?;
    let address = match address(&fields.text("url")?) {
        Ok(address) => address,
        Err(reason) => {
            findings.refuse(&field.path, field.line, reason);
            return None;
        }
    };
    if address.had_driver {
        let to = "`postgresql://`: the driver's name is dropped".to_owned();
        findings.set(&field.path, field.line, Outcome::Mapped { to });
    }
    let arguments = fields.map("connect_args");
    let session = arguments.map("server_settings");
    Some(Database {
        url: Secret::new(address.url),
        max_connections: connections(fields),
        statement_timeout: shorter(session.duration("statement_timeout"), arguments.duration("command_timeout")),
        application_name: session.text("application_name"),
    })
}

fn connections(fields: &Fields) -> Option<u32> {
    let number = |name: &str| fields.integer(name).and_then(|value| u32::try_from(value).ok());
    match (number("pool_size"), number("max_overflow")) {
        (None, None) => None,
        (size, overflow) => Some(size.unwrap_or(DEFAULT_POOL).saturating_add(overflow.unwrap_or(0))),
    }
}

fn shorter(one: Option<Duration>, two: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(two).min()
}

/// An address that every Postgres library takes.
#[derive(Debug)]
struct Address {
    url: String,
    had_driver: bool,
}

/// `postgresql+asyncpg://…?ssl=require` → `postgresql://…?sslmode=require`. The error never repeats the address: it
/// holds a password.
fn address(text: &str) -> Result<Address, String> {
    let expected = "`postgresql://user:password@host:port/database` is expected";
    let Some((scheme, rest)) = text.trim().split_once("://") else {
        return Err(format!("has no scheme; {expected}"));
    };
    let (base, driver) = scheme.split_once('+').map_or((scheme, None), |(base, driver)| (base, Some(driver)));
    if !matches!(base, "postgresql" | "postgres") {
        return Err(format!("is not for Postgres; {expected}"));
    }
    let mut url = Url::parse(&format!("postgresql://{rest}")).map_err(|error| {
        format!("is no address ({error}); {expected}, with special characters of the password written as %XX")
    })?;
    if url.host_str().is_none_or(str::is_empty) && !rest.contains("host=") {
        return Err(format!("has no host; {expected}"));
    }
    // asyncpg calls it `ssl`.
    let renamed: Vec<(String, String)> = url
        .query_pairs()
        .map(|(name, value)| (if name == "ssl" { "sslmode".to_owned() } else { name.into_owned() }, value.into_owned()))
        .collect();
    if !renamed.is_empty() {
        url.query_pairs_mut().clear().extend_pairs(renamed);
    }
    Ok(Address { url: url.into(), had_driver: driver.is_some() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::address;

    #[test]
    fn addresses_lose_their_driver_and_never_leak() {
        let changed = address("postgresql+asyncpg://u:p%40@h:5432/db?ssl=require").unwrap();
        assert_eq!((changed.url.as_str(), changed.had_driver), ("postgresql://u:p%40@h:5432/db?sslmode=require", true));
        assert_eq!(address("postgres://h/db").unwrap().url, "postgresql://h/db");
        assert!(address("postgresql:///db?host=/run/postgresql").is_ok());
        for bad in
            ["", "mysql://u:canary@h/db", "u:canary@h", "postgresql://u:canary@:x/db", "postgresql://u:canary/x@h/db"]
        {
            assert!(!address(bad).unwrap_err().contains("canary"), "{bad}");
        }
    }
}
