//! `NO_PROXY`: the places that are called directly although a proxy is named.
//!
//! As curl reads it: entries with commas or spaces between them; a name stands for itself and all names below it (a dot
//! or `*.` in front changes nothing), an address for itself, a block (`10.0.0.0/8`) for the addresses in it, each perhaps
//! with a port behind it, and `*` for everything. Names are not looked up, so a block never matches a name.

use std::net::IpAddr;

use shared::kernel::cidr::{BadCidr, Cidr};

/// The entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NoProxy(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    place: Place,
    /// Any port when absent.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Everything,
    Block(Cidr),
    /// In lower case, without dots around it.
    Name(String),
}

impl NoProxy {
    /// Reads the variable; entries that mean nothing come back beside it.
    pub(super) fn read(text: &str) -> (Self, Vec<&str>) {
        let (mut entries, mut unclear) = (Vec::new(), Vec::new());
        for word in text.split(|letter: char| letter == ',' || letter.is_whitespace()).filter(|word| !word.is_empty()) {
            match entry(word) {
                Some(entry) => entries.push(entry),
                None => unclear.push(word),
            }
        }
        (Self(entries), unclear)
    }

    /// Whether this host is called directly.
    pub(super) fn covers(&self, host: &str, port: u16) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let host = bare(host).trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok();
        self.0.iter().filter(|entry| entry.port.is_none_or(|only| only == port)).any(|entry| {
            match (&entry.place, address) {
                (Place::Everything, _) => true,
                (Place::Block(block), Some(address)) => block.contains(address),
                (Place::Name(name), None) => {
                    host.strip_suffix(name.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
                }
                _ => false,
            }
        })
    }
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn entry(word: &str) -> Option<Entry> {
    if let Some(block) = block(bare(word)) {
        return Some(Entry { place: Place::Block(block), port: None });
    }
    let (word, port) = match word.rsplit_once(':') {
        Some((before, digits)) => (before, Some(digits.parse().ok()?)),
        None => (word, None),
    };
    let place = match (word, block(bare(word))) {
        ("*", _) => Place::Everything,
        (_, Some(block)) => Place::Block(block),
        _ => Place::Name(name(word)?),
    };
    Some(Entry { place, port })
}

fn block(text: &str) -> Option<Cidr> {
    match text.parse() {
        Ok(block) => Some(block),
        // Others do not mind bits beyond the prefix, and the block that was meant is clear.
        Err(BadCidr::HostBits { right, .. }) => Some(right),
        Err(BadCidr::Form(_)) => None,
    }
}

fn name(word: &str) -> Option<String> {
    let name = word.strip_prefix("*.").unwrap_or(word).trim_matches('.').to_ascii_lowercase();
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') || !byte.is_ascii();
    (!name.is_empty() && name.bytes().all(good)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(list: &str, host: &str, port: u16) -> bool {
        NoProxy::read(list).0.covers(host, port)
    }

    #[test]
    fn places_are_recognised() {
        for (list, host, port) in [
            ("*", "anything", 1),
            ("localhost,127.0.0.1", "127.0.0.1", 80),
            ("a.example example.com", "example.com", 443),
            ("example.com", "api.example.com", 443),
            (".example.com", "example.com", 443),
            (".example.com", "API.Example.COM.", 443),
            ("*.example.com", "api.example.com", 443),
            ("example.com:8443", "api.example.com", 8443),
            ("10.0.0.0/8", "10.9.8.7", 80),
            ("10.1.2.3/8", "10.9.8.7", 80),
            ("10.0.0.1:8000", "10.0.0.1", 8000),
            ("::1", "[::1]", 80),
            ("[::1]:8000", "[::1]", 8000),
            ("fd00::/8", "[fd00::7]", 80),
            ("*:8000", "anything", 8000),
        ] {
            assert!(covers(list, host, port), "{list}: {host}:{port}");
        }
        for (list, host, port) in [
            ("", "example.com", 443),
            ("example.com", "badexample.com", 443),
            ("example.com", "example.com.evil.test", 443),
            ("example.com:8443", "example.com", 443),
            ("10.0.0.0/8", "11.0.0.1", 80),
            ("10.0.0.0/8", "10.example", 80),
            ("0.0.1", "10.0.0.1", 80),
            ("localhost", "127.0.0.1", 80),
            ("[::1]:8000", "[::1]", 80),
        ] {
            assert!(!covers(list, host, port), "{list}: {host}:{port}");
        }
        assert_eq!(
            NoProxy::read("a, 10.0.0.0/99, b:port, http://c ,*x").1,
            ["10.0.0.0/99", "b:port", "http://c", "*x"]
        );
    }
}
