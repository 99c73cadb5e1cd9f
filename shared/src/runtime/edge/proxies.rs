//! Whose word about the client's address counts.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderMap;

use crate::kernel::cidr::{BadCidr, Cidr};

/// The header in which each proxy appends whom it was called by.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies in front, by their addresses.
///
/// Anybody can send the header, so only what trusted proxies appended is believed: read from its end, the first address
/// that is not one of theirs is the client. What stands left of it is the client's own claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[Cidr]>);

impl TrustedProxies {
    /// From a list of blocks of addresses.
    ///
    /// # Errors
    /// [`BadCidr`] for the first that is none.
    pub fn from_list<'a>(list: impl IntoIterator<Item = &'a str>) -> Result<Self, BadCidr> {
        Ok(Self(list.into_iter().map(str::parse).collect::<Result<_, _>>()?))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(address))
    }

    /// Who is behind a connection.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
        let hops = lines.iter().rev().flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        for hop in hops {
            // A hop that is no address ends what is known: the last proxy that is tells nothing better.
            let Some(address) = address(hop) else { break };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`, each perhaps in quotes.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim().trim_matches('"');
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| hop.parse().ok().map(|socket: SocketAddr| socket.ip()))?;
    Some(address.to_canonical())
}

impl FromStr for TrustedProxies {
    type Err = BadCidr;

    /// A list with commas.
    fn from_str(text: &str) -> Result<Self, BadCidr> {
        Self::from_list(text.split(',').map(str::trim).filter(|one| !one.is_empty()))
    }
}
