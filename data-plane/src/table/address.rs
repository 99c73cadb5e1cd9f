//! A provider's address, taken apart when the table is built: a call only puts the path of its operation behind it.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use url::Url;

/// Where a provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    scheme: Scheme,
    authority: Authority,
    /// The provider's own path, without the slash at its end; mostly empty.
    prefix: Box<str>,
}

impl Address {
    /// Takes an address apart. One without a host is that of the upstream without a network.
    ///
    /// # Errors
    /// When nothing can be called there.
    pub(crate) fn of(url: &Url) -> Result<Self, http::Error> {
        let host = url.host_str().unwrap_or("local");
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let prefix = url.path().trim_end_matches('/');
        PathAndQuery::try_from(format!("{prefix}/"))?;
        Ok(Self {
            scheme: if url.scheme() == "https" { Scheme::HTTPS } else { Scheme::HTTP },
            authority: authority.parse()?,
            prefix: prefix.into(),
        })
    }

    /// Its host, as in the address.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// Its port, the scheme's own where none is named.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.scheme == Scheme::HTTPS { 443 } else { 80 })
    }

    /// Where an operation is.
    ///
    /// # Errors
    /// When the two paths together are none.
    pub fn target(&self, path: &'static str) -> Result<Uri, http::Error> {
        let path = match &*self.prefix {
            "" => PathAndQuery::from_static(path),
            prefix => PathAndQuery::try_from(format!("{prefix}{path}"))?,
        };
        Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path).build()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_provider_may_have_a_path_of_its_own() {
        for (base, expected, port) in [
            ("http://vllm:8000", "http://vllm:8000/v1/x", 8000),
            ("https://api.example.com/", "https://api.example.com/v1/x", 443),
            ("https://api.example.com:443/Team/llm/", "https://api.example.com/Team/llm/v1/x", 443),
            ("http://[::1]:80/", "http://[::1]/v1/x", 80),
            ("mock://local", "http://local/v1/x", 80),
        ] {
            let address = Address::of(&base.parse().unwrap()).unwrap();
            assert_eq!((address.target("/v1/x").unwrap().to_string().as_str(), address.port()), (expected, port));
        }
    }
}
