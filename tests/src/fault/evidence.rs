//! What is held against each other when a scenario is over.

use serde::Serialize;

use super::load::Entry;

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// By the clients.
    pub history: Vec<Entry>,
    /// By the upstream: the numbers of the requests it was asked, one for each call.
    pub calls: Vec<u64>,
    /// In the ledger.
    pub records: Vec<Record>,
    /// Sums that the ledger keeps.
    pub sums: Vec<Sum>,
    /// Revisions that nodes decided by, in the order of time.
    pub revisions: Vec<Sighting>,
    /// Ends of nodes and of upstreams: who was in flight there may fail.
    pub incidents: Vec<Incident>,
    /// Keys that were removed.
    pub revocations: Vec<Revocation>,
    /// Gauges after all is over, with the node that they are of.
    pub at_rest: Vec<(String, f64)>,
    /// Answers of the admin API.
    pub admin: Vec<AdminAnswer>,
    /// Secrets found where none may be.
    pub leaks: Vec<String>,
    /// Processes that ended by themselves, and panics.
    pub crashes: Vec<String>,
    /// What the logs should tell of, and do not.
    pub unsaid: Vec<String>,
    /// So many records may be missing.
    pub may_be_lost: u64,
}

/// A usage record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Record {
    /// The gateway's id of the call.
    pub id: String,
    /// The caller's id of the request.
    pub request_id: String,
    /// How it ended.
    pub outcome: String,
    /// The status told to the client; 0 when nobody knows.
    pub status: i32,
    /// Prompt tokens.
    pub prompt: Option<i64>,
    /// Completion tokens.
    pub completion: Option<i64>,
    /// Whether they are an estimate.
    pub estimated: bool,
    /// Billionths.
    pub cost: i64,
    /// How many tries it tells of.
    pub attempts: i32,
    /// Whose.
    pub key: String,
    /// How many calls it stands for.
    pub count: i64,
}

/// A sum of the ledger over all buckets of one grain, for one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Sum {
    /// `minute`, `hour` or `day`.
    pub grain: String,
    /// Whose.
    pub key: String,
    /// How many calls.
    pub requests: i64,
    /// Prompt tokens.
    pub prompt: i64,
    /// Completion tokens.
    pub completion: i64,
    /// Billionths.
    pub cost: i64,
}

/// The revision that a node decided by at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which node.
    pub node: usize,
    /// Which of its starts.
    pub boot: usize,
    /// The revision.
    pub revision: u64,
}

/// Something that calls in flight may not survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incident {
    /// On this node; on any when there is none.
    pub node: Option<usize>,
    /// It was not before this.
    pub from: u64,
    /// It was over by then.
    pub until: u64,
}

/// A key that was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which key of the load.
    pub key: usize,
    /// When it was asked for: from then on it may be refused.
    pub asked: u64,
    /// From then on it must be refused.
    pub enforced: u64,
}

/// An answer of the admin API while faults happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminAnswer {
    /// When it was asked.
    pub sent: u64,
    /// How long it took, in microseconds.
    pub took: u64,
    /// The status; 0 without an answer.
    pub status: u16,
    /// Whether it said when to try again.
    pub retry_after: bool,
    /// What it said.
    pub text: String,
}
