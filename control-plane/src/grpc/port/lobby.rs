//! Connections of whom nobody knows yet whether they belong to the fleet: few at a time, fewer from one address.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// How many there may be at the same time,
const MOST: usize = 1_024;
/// and how many from one address: a whole fleet may come back at once through one.
const MOST_FROM_ONE: usize = 512;

/// All of them. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Lobby {
    strangers: Arc<Mutex<Strangers>>,
}

#[derive(Debug, Default)]
struct Strangers {
    all: usize,
    from: HashMap<IpAddr, usize>,
}

/// One connection, a stranger until somebody says otherwise. Clones speak of the same one.
#[derive(Clone)]
pub struct Stranger {
    place: Arc<Mutex<Option<Place>>>,
}

/// Given back when it is dropped.
struct Place {
    lobby: Lobby,
    address: IpAddr,
}

impl Lobby {
    /// Lets one in; nothing when there are too many.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Stranger> {
        let mut strangers = self.strangers.lock();
        if strangers.all >= MOST || strangers.from.get(&address).is_some_and(|from| *from >= MOST_FROM_ONE) {
            return None;
        }
        strangers.all += 1;
        *strangers.from.entry(address).or_default() += 1;
        let place = Place { lobby: self.clone(), address };
        Some(Stranger { place: Arc::new(Mutex::new(Some(place))) })
    }
}

impl Stranger {
    /// It showed who it is.
    pub fn is_met(&self) {
        let place = self.place.lock().take();
        drop(place);
    }

    /// Whether it still is one.
    pub(super) fn is_strange(&self) -> bool {
        self.place.lock().is_some()
    }
}

impl fmt::Debug for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stranger").field("strange", &self.is_strange()).finish()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut strangers = self.lobby.strangers.lock();
        strangers.all = strangers.all.saturating_sub(1);
        if let Some(from) = strangers.from.get_mut(&self.address) {
            *from = from.saturating_sub(1);
            if *from == 0 {
                strangers.from.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let (lobby, one, other) = (Lobby::default(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut inside: Vec<Stranger> = (0..MOST_FROM_ONE).map(|_| lobby.admit(one).unwrap()).collect();
        assert!(lobby.admit(one).is_none());
        inside.extend((0..MOST - MOST_FROM_ONE).map(|_| lobby.admit(other).unwrap()));
        assert!(lobby.admit(IpAddr::from([10, 0, 0, 3])).is_none(), "there is an end to all of them");
        // Who is known takes no place, however long the connection lasts.
        let known = inside.remove(0);
        known.clone().is_met();
        assert!(!known.is_strange() && lobby.admit(one).is_some());
        drop(inside);
        let strangers = lobby.strangers.lock();
        assert_eq!((strangers.all, strangers.from.len()), (0, 0));
    }
}
