//! Proxies between this process and upstreams, as the usual variables name them.
//!
//! `HTTP_PROXY` is for upstreams with http, `HTTPS_PROXY` for those with https, `ALL_PROXY` for both where the other is
//! absent; each in lower case first. `NO_PROXY` takes places out ([`NoProxy`]); loopback goes through the proxy like any
//! other place unless it is listed there, as with curl. Credentials in a proxy's address are sent to it and told to nobody.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use url::Url;

use super::egress::refused_host;
use super::no_proxy::NoProxy;

/// Which proxy stands before which upstream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    plain: Option<Proxy>,
    secure: Option<Proxy>,
    except: NoProxy,
}

/// One proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    /// Scheme, host and port.
    uri: Uri,
    /// Its credentials, marked as not to be shown.
    authorization: Option<HeaderValue>,
}

/// A variable that names no proxy. What it holds may be a password and is not shown.
#[derive(Debug, thiserror::Error)]
#[error(
    "{variable} {problem}; an address such as http://proxy.example.org:3128 is expected, perhaps with user:password@ before the host"
)]
pub(crate) struct BadProxy {
    variable: &'static str,
    problem: &'static str,
}

/// The environment, or what stands for it.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Proxies {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`BadProxy`], which names the variable.
    pub(crate) fn read(variables: Variables<'_>) -> Result<Self, BadProxy> {
        let first = |names: [&'static str; 4]| {
            let found = names.into_iter().find_map(|name| Some((name, given(variables, name)?)));
            found.map(|(name, text)| Proxy::read(name, &text)).transpose()
        };
        let plain = first(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?;
        let secure = first(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?;
        let listed = ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| given(variables, name)).unwrap_or_default();
        let (except, unclear) = NoProxy::read(&listed);
        for (kind, proxy) in [("http", &plain), ("https", &secure)] {
            if let Some(proxy) = proxy {
                tracing::info!(upstreams = kind, %proxy, no_proxy = listed, "upstreams are called through a proxy");
            }
        }
        if plain.is_some() || secure.is_some() {
            for entry in unclear {
                tracing::warn!(
                    entry,
                    "this entry of NO_PROXY means nothing: neither a name, an address, a block nor `*`"
                );
            }
        }
        Ok(Self { plain, secure, except })
    }

    /// The proxy before this upstream.
    pub(super) fn before(&self, upstream: &Uri) -> Option<&Proxy> {
        let secure = upstream.scheme() == Some(&Scheme::HTTPS);
        let proxy = if secure { &self.secure } else { &self.plain }.as_ref()?;
        let port = upstream.port_u16().unwrap_or(if secure { 443 } else { 80 });
        (!self.except.covers(upstream.host()?, port)).then_some(proxy)
    }

    /// The proxy that passes on requests of this upstream one by one, because they are not encrypted.
    pub(super) fn forwarding(&self, upstream: &Uri) -> Option<&Proxy> {
        if self.plain.is_none() || upstream.scheme() != Some(&Scheme::HTTP) {
            return None;
        }
        self.before(upstream)
    }
}

/// A variable that is set; an empty one is how composed environments say that it is not.
fn given(variables: Variables<'_>, name: &str) -> Option<String> {
    variables(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

impl Proxy {
    fn read(variable: &'static str, text: &str) -> Result<Self, BadProxy> {
        let bad = |problem| BadProxy { variable, problem };
        // A host with its port is enough for curl.
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url: Url = text.parse().map_err(|_| bad("is no address"))?;
        let (scheme, usual) = match url.scheme() {
            "http" => (Scheme::HTTP, 80),
            "https" => (Scheme::HTTPS, 443),
            "socks4" | "socks4a" | "socks5" | "socks5h" => return Err(bad("names a SOCKS proxy, which is not spoken")),
            _ => return Err(bad("names a proxy that speaks neither http nor https")),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("has no host"))?;
        let authority: Authority =
            format!("{host}:{}", url.port().unwrap_or(usual)).parse().map_err(|_| bad("is no address"))?;
        let parts = Uri::builder().scheme(scheme).authority(authority).path_and_query(PathAndQuery::from_static("/"));
        let uri = parts.build().map_err(|_| bad("is no address"))?;
        if refused_host(&uri).is_some() {
            return Err(bad("names a link-local or metadata address, which is never called"));
        }
        Ok(Self { uri, authorization: authorization(&url) })
    }

    /// Where it is.
    pub(super) const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What it is told of who calls.
    pub(super) const fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

fn authorization(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.uri.to_string().trim_end_matches('/'))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Proxies, BadProxy> {
        Proxies::read(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn before(variables: &[(&str, &str)], upstream: &str) -> String {
        read(variables).unwrap().before(&upstream.parse().unwrap()).map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn each_upstream_has_its_proxy() {
        let both = [
            ("HTTP_PROXY", "http://plain:3128"),
            ("HTTPS_PROXY", "https://secure"),
            ("NO_PROXY", "inside.test,10.0.0.0/8"),
        ];
        assert_eq!(before(&both, "http://vllm:8000"), "http://plain:3128");
        assert_eq!(before(&both, "https://api.example.com"), "https://secure:443");
        assert_eq!(before(&both, "http://127.0.0.1:1"), "http://plain:3128", "as curl does it");
        for inside in ["https://a.inside.test", "http://10.1.2.3:8000"] {
            assert_eq!(before(&both, inside), "");
        }
        assert_eq!(before(&[("ALL_PROXY", "all:1"), ("https_proxy", "low:2")], "https://x"), "http://low:2");
        assert_eq!(before(&[("ALL_PROXY", "all:1"), ("https_proxy", "low:2")], "http://x"), "http://all:1");
        assert_eq!(before(&[("https_proxy", ""), ("HTTPS_PROXY", "up:3")], "https://x"), "http://up:3");
        assert_eq!(before(&[("HTTPS_PROXY", "up:3")], "http://x"), "");
        assert_eq!(before(&[], "http://x"), "");
    }

    #[test]
    fn credentials_are_sent_and_never_shown() {
        let proxies = read(&[("HTTP_PROXY", "http://us%40er:pass%3Aword-canary@proxy:3128/")]).unwrap();
        let proxy = proxies.before(&"http://x".parse().unwrap()).unwrap();
        let sent = proxy.authorization().unwrap().to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(sent).unwrap(), b"us@er:pass:word-canary");
        let shown = format!("{proxies:?} {proxy} {:?} {}", proxy.authorization(), proxy.uri());
        assert!(!shown.contains("canary") && !shown.contains(sent) && shown.contains("http://proxy:3128"), "{shown}");
    }

    #[test]
    fn what_names_no_proxy_is_told_without_its_value() {
        for (bad, problem) in [
            ("socks5://user:canary@p:1080", "SOCKS"),
            ("ftp://canary", "neither http nor https"),
            ("http://user:canary@:3128", "no address"),
            ("http://canary:port", "no address"),
            ("http://169.254.169.254:80", "never called"),
        ] {
            let error = read(&[("ALL_PROXY", bad)]).unwrap_err().to_string();
            assert!(error.starts_with("ALL_PROXY") && error.contains(problem) && !error.contains("canary"), "{error}");
        }
        assert!(
            read(&[("ALL_PROXY", "socks5://p"), ("HTTP_PROXY", "p:1"), ("HTTPS_PROXY", "p:1")]).is_ok(),
            "it is not asked for"
        );
    }
}
