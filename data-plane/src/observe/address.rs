//! The text of a client's address, on the stack: every log line has one.

use std::fmt::{self, Write};
use std::net::IpAddr;

use tracing::field::{DisplayValue, display};

/// What an address is at most: eight groups of IPv6, the last two as IPv4.
const LONGEST: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

/// An address as people write it.
pub(super) struct AddressText {
    bytes: [u8; LONGEST],
    length: usize,
}

impl AddressText {
    pub(super) fn new(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; LONGEST], length: 0 };
        match address {
            IpAddr::V4(address) => text.push_octets(address.octets()),
            // It always has room.
            IpAddr::V6(address) => write!(text, "{address}").unwrap_or_default(),
        }
        text
    }

    /// As a field of a line.
    pub(super) fn shown(&self) -> DisplayValue<&str> {
        display(self.as_str())
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }

    fn push_octets(&mut self, octets: [u8; 4]) {
        for octet in octets {
            if self.length > 0 {
                self.push(b'.');
            }
            if octet >= 100 {
                self.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.push(b'0' + octet / 10 % 10);
            }
            self.push(b'0' + octet % 10);
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }
}

impl Write for AddressText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn addresses_are_written_as_ever() {
        let v4 = (0..=u8::MAX).map(|octet| IpAddr::from(Ipv4Addr::new(octet, 255 - octet, octet / 2, 9)));
        let longest = [0xffff; 8];
        let v6 = [Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED, Ipv6Addr::from(longest)];
        let mapped = Ipv4Addr::BROADCAST.to_ipv6_mapped();
        for address in v4.chain(v6.map(IpAddr::from)).chain([mapped.into()]) {
            assert_eq!(AddressText::new(address).as_str(), address.to_string());
        }
    }
}
