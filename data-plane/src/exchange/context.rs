//! What is known of a call from its first moment on, passed by hand from phase to phase.

use std::sync::Arc;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use shared::kernel::clock::FleetTime;
use shared::kernel::ids::CallId;

use super::endpoint::Endpoint;
use crate::table::Table;

/// The names that a call goes by.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    /// Ours; also the id of its record.
    pub(crate) call: CallId,
    /// The caller's, or made from ours.
    pub(crate) request: String,
    /// Of the trace it belongs to, 32 hexadecimal digits, or empty.
    pub(crate) trace: String,
}

/// One call.
pub(crate) struct Context {
    /// Its names.
    pub(crate) ids: Ids,
    /// When its head was read, for durations.
    pub(crate) begun: Instant,
    /// Who asked.
    pub(crate) peer: Option<IpAddr>,
    /// The same moment in fleet time.
    pub(crate) started: FleetTime,
    /// The endpoint called.
    pub(crate) endpoint: &'static Endpoint,
    /// Loaded once: a swap while the call runs does not change it.
    pub(crate) table: Arc<Table>,
}

impl Context {
    /// How long it has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}
