//! Counts wrong credentials, so that guessing gets slow; per process and in memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How many failures within how long.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    failures: u32,
    within: Duration,
}

/// Keys have 256 bits: this is against floods, not against luck.
const KEYS: Allowance = Allowance { failures: 600, within: Duration::from_secs(60) };
/// One address trying one account.
const PAIR: Allowance = Allowance { failures: 10, within: Duration::from_secs(300) };
/// One account from everywhere.
const ACCOUNT: Allowance = Allowance { failures: 100, within: Duration::from_secs(900) };
/// One address trying many accounts.
const ADDRESS: Allowance = Allowance { failures: 100, within: Duration::from_secs(300) };
/// Most counters at once; beyond it the stale ones go, and then all.
const CAPACITY: usize = 50_000;

/// The allowance is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// Until it is there again.
    pub retry_after: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Key(Option<IpAddr>),
    Pair(String, Option<IpAddr>),
    Account(String),
    Address(Option<IpAddr>),
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    began: Instant,
    within: Duration,
}

/// Counters of failures.
#[derive(Debug)]
pub struct Guard {
    counts: Mutex<HashMap<Subject, Count>>,
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl Guard {
    /// Without any failure yet.
    #[must_use]
    pub fn new() -> Self {
        Self { counts: Mutex::new(HashMap::new()) }
    }

    /// Notes a wrong key; returns the refusal once there were too many.
    pub fn wrong_key(&self, address: Option<IpAddr>) -> Option<TooMany> {
        let subject = Subject::Key(address);
        let refusal = self.spent(&subject, KEYS, Instant::now());
        self.note(subject, KEYS, Instant::now());
        refusal
    }

    /// Whether a password may be tried at all; asked before the costly comparison.
    #[must_use]
    pub fn may_try(&self, account: &str, address: Option<IpAddr>) -> Option<TooMany> {
        let now = Instant::now();
        subjects(account, address).into_iter().find_map(|(subject, allowance)| self.spent(&subject, allowance, now))
    }

    /// Notes a wrong password.
    pub fn wrong_password(&self, account: &str, address: Option<IpAddr>) {
        let now = Instant::now();
        for (subject, allowance) in subjects(account, address) {
            self.note(subject, allowance, now);
        }
    }

    /// Forgets what one address did to one account, after it got in.
    pub fn right_password(&self, account: &str, address: Option<IpAddr>) {
        self.counts.lock().remove(&Subject::Pair(account.to_owned(), address));
    }

    fn spent(&self, subject: &Subject, allowance: Allowance, now: Instant) -> Option<TooMany> {
        let counts = self.counts.lock();
        let count = counts.get(subject)?;
        let left = count.within.checked_sub(now.duration_since(count.began))?;
        (count.failures >= allowance.failures).then_some(TooMany { retry_after: left.max(Duration::from_secs(1)) })
    }

    fn note(&self, subject: Subject, allowance: Allowance, now: Instant) {
        let mut counts = self.counts.lock();
        if counts.len() >= CAPACITY {
            counts.retain(|_, count| now.duration_since(count.began) < count.within);
            if counts.len() >= CAPACITY {
                counts.clear();
            }
        }
        let fresh = Count { failures: 0, began: now, within: allowance.within };
        let count = counts.entry(subject).or_insert(fresh);
        if now.duration_since(count.began) >= count.within {
            *count = fresh;
        }
        count.failures = count.failures.saturating_add(1);
    }
}

fn subjects(account: &str, address: Option<IpAddr>) -> [(Subject, Allowance); 3] {
    [
        (Subject::Pair(account.to_owned(), address), PAIR),
        (Subject::Account(account.to_owned()), ACCOUNT),
        (Subject::Address(address), ADDRESS),
    ]
}
