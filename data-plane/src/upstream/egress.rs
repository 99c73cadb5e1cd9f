//! Which addresses are never called, whoever configured them, and the resolver that enforces it when connecting.
//!
//! The check sits where a name becomes the address that is connected to, so a name cannot change its meaning between.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;
use url::Host;

/// Names under which clouds serve credentials to whoever asks.
const METADATA_NAMES: &[&str] =
    &["metadata.google.internal", "metadata", "instance-data", "instance-data.ec2.internal"];

/// Why an address may not be called; nothing when it may.
pub(crate) fn refused(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(four) => refused_v4(four),
        IpAddr::V6(six) => refused_v6(six),
    }
}

fn refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [first, ..] = address.octets();
    if address.is_link_local() {
        Some("link-local and metadata addresses are never called")
    } else if address == Ipv4Addr::new(100, 100, 100, 200) {
        Some("metadata addresses are never called")
    } else if first == 0 || address.is_broadcast() || address.is_multicast() {
        Some("unspecified, broadcast and multicast addresses are never called")
    } else {
        None
    }
}

fn refused_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let [a, b, _, _, _, _, g, h] = segments;
    let embedded = Ipv4Addr::from((u32::from(g) << 16) | u32::from(h));
    if let Some(mapped) = address.to_ipv4_mapped() {
        return refused_v4(mapped);
    }
    // NAT64 (64:ff9b::/96) carries an IPv4 address in its last 32 bits.
    if (a, b) == (0x64, 0xff9b) && segments.iter().skip(2).take(4).all(|segment| *segment == 0) {
        return refused_v4(embedded);
    }
    if (a & 0xffc0) == 0xfe80 {
        Some("link-local addresses are never called")
    } else if segments == [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] {
        Some("metadata addresses are never called")
    } else if address.is_unspecified() || address.is_multicast() {
        Some("unspecified and multicast addresses are never called")
    } else {
        None
    }
}

/// Why the host of an address may not be called, as far as its text tells.
pub(crate) fn refused_host(uri: &Uri) -> Option<&'static str> {
    let host = uri.host()?.trim_end_matches('.');
    if METADATA_NAMES.iter().any(|name| host.eq_ignore_ascii_case(name)) {
        return Some("metadata services are never called");
    }
    // Whoever connects, we or a proxy, may read `0xa9fea9fe` as an address too.
    match Host::parse(host) {
        Ok(Host::Ipv4(address)) => refused_v4(address),
        Ok(Host::Ipv6(address)) => refused_v6(address),
        _ => None,
    }
}

/// The system's resolver, without addresses that are refused.
#[derive(Clone, Debug)]
pub(crate) struct CheckedResolver(GaiResolver);

impl CheckedResolver {
    pub(crate) fn new() -> Self {
        Self(GaiResolver::new())
    }
}

impl Service<Name> for CheckedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = self.0.call(name);
        Box::pin(async move {
            let (mut allowed, mut reason) = (Vec::new(), None);
            for address in found.await? {
                match refused(address.ip()) {
                    None => allowed.push(address),
                    Some(why) => reason = Some(why),
                }
            }
            match reason {
                Some(reason) if allowed.is_empty() => Err(io::Error::new(io::ErrorKind::PermissionDenied, reason)),
                _ => Ok(allowed.into_iter()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn addresses_that_hand_out_credentials_are_refused() {
        for bad in [
            "169.254.169.254",
            "169.254.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "fe80::1",
            "fd00:ec2::254",
            "::",
            "ff02::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "100.100.100.200",
        ] {
            assert!(refused(bad.parse().unwrap()).is_some(), "{bad}");
        }
        for good in
            ["127.0.0.1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "::1", "fd00::1", "2606:4700::1111", "::ffff:10.0.0.1"]
        {
            assert!(refused(good.parse().unwrap()).is_none(), "{good}");
        }
    }

    #[test]
    fn hosts_are_judged_by_their_text_too() {
        for bad in [
            "http://169.254.169.254/x",
            "http://[fe80::1]:80/",
            "http://Metadata.Google.Internal./",
            "http://[::ffff:169.254.1.1]/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://169.254.43518/",
            "http://0251.0376.1/",
        ] {
            assert!(refused_host(&bad.parse().unwrap()).is_some(), "{bad}");
        }
        assert!(refused_host(&"http://vllm.rack-2:8000/v1".parse().unwrap()).is_none());
    }

    #[tokio::test]
    async fn names_of_refused_addresses_do_not_resolve() {
        let mut resolver = CheckedResolver::new();
        assert!(resolver.call("127.0.0.1".parse().unwrap()).await.is_ok());
        let refusal = resolver.call("169.254.169.254".parse().unwrap()).await.map(|_| ()).unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::PermissionDenied);
    }
}
