//! Blocks of addresses: `10.0.0.0/8`, `fd00::/8`, or a single address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses. An IPv4 address inside an IPv6 one counts as the IPv4 address that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    length: u8,
}

/// A text that is no block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCidr {
    /// Not of that form at all.
    #[error("`{0}` is not a block of addresses such as `10.0.0.0/8`, `fd00::/8` or `192.0.2.7`")]
    Form(String),
    /// It reaches further than its text looks.
    #[error("`{text}` has bits set beyond its prefix; `{right}` is the block, `{address}` the address")]
    HostBits {
        /// What was given.
        text: String,
        /// The block that holds it.
        right: Cidr,
        /// The address alone.
        address: IpAddr,
    },
}

impl Cidr {
    /// Whether an address lies in the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => network == masked_v4(address, self.length),
            (IpAddr::V6(network), IpAddr::V6(address)) => network == masked_v6(address, self.length),
            _ => false,
        }
    }

    /// The block of that length around an address.
    fn around(address: IpAddr, length: u8) -> Self {
        let network = match address {
            IpAddr::V4(address) => masked_v4(address, length).into(),
            IpAddr::V6(address) => masked_v6(address, length).into(),
        };
        Self { network, length }
    }
}

fn masked_v4(address: Ipv4Addr, length: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
    Ipv4Addr::from(u32::from(address) & mask)
}

fn masked_v6(address: Ipv6Addr, length: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
    Ipv6Addr::from(u128::from(address) & mask)
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let bad = || BadCidr::Form(text.chars().take(64).collect());
        let (address, length) = text.split_once('/').map_or((text, None), |(one, two)| (one, Some(two)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => all,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| bad())?,
            Some(_) => return Err(bad()),
        };
        if length > all {
            return Err(bad());
        }
        // `::ffff:10.0.0.0/104` is `10.0.0.0/8` in other words.
        let (address, length) = match (address.to_canonical(), address) {
            (IpAddr::V4(four), IpAddr::V6(_)) if length >= 96 => (IpAddr::V4(four), length - 96),
            _ => (address, length),
        };
        let block = Self::around(address, length);
        if block.network == address {
            Ok(block)
        } else {
            Err(BadCidr::HostBits { text: text.to_owned(), right: block, address })
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn holds(block: &str, address: &str) -> bool {
        block.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn blocks_hold_their_addresses_and_no_others() {
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3") && holds("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("::/0", "2001:db8::1") && !holds("::/0", "10.0.0.1"));
        assert!(holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe80::1"));
    }

    #[test]
    fn what_is_no_block_is_told_what_would_be_right() {
        for bad in
            ["", "10.0.0/8", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "10.0.0.0/", "10.0.0.0/8/8", "proxy", " ::1"]
        {
            assert!(matches!(bad.parse::<Cidr>(), Err(BadCidr::Form(_))), "{bad}");
        }
        let message = "10.1.2.3/8".parse::<Cidr>().unwrap_err().to_string();
        assert!(message.contains("`10.0.0.0/8`") && message.contains("`10.1.2.3`"), "{message}");
    }
}
