//! How full a spool is, kept in atomics so that asking costs nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Beyond what its beginning says, the end of a call tells of tokens, cost and attempts.
const END: u64 = 1024;

/// Bytes in use, bytes promised, and whether writing works.
#[derive(Debug)]
pub(super) struct Room {
    max: u64,
    used: AtomicU64,
    reserved: AtomicU64,
    broken: AtomicBool,
}

/// What the end of a call needs whose beginning takes `opening` bytes.
pub(super) const fn reserve_for(opening: u64) -> u64 {
    opening + END
}

impl Room {
    pub(super) const fn new(max: u64, used: u64) -> Self {
        Self { max, used: AtomicU64::new(used), reserved: AtomicU64::new(0), broken: AtomicBool::new(false) }
    }

    /// Whether `bytes` more fit, beside what is promised, and would be written.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        let taken = self.used.load(Ordering::Relaxed).saturating_add(self.reserved.load(Ordering::Relaxed));
        !self.broken.load(Ordering::Relaxed) && taken.saturating_add(bytes) <= self.max
    }

    /// Whether a call of common size fits.
    pub(super) fn fits_a_call(&self) -> bool {
        self.fits(END + reserve_for(END))
    }

    pub(super) fn use_up(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn promise(&self, bytes: u64) {
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn keep_promise(&self, bytes: u64) {
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Notes whether writing works; tells whether that is news.
    pub(super) fn set_broken(&self, broken: bool) -> bool {
        self.broken.swap(broken, Ordering::Relaxed) != broken
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}
