//! How long a call may take. It is the providers' time: a client that is still sending its form spends none of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::endpoint::Payload;
use crate::upstream::form::Form;

/// When a call, or one try of it, must be over.
pub(super) struct Deadline {
    since: Instant,
    allowed: Duration,
    /// Absent where the whole request had come before.
    form: Option<Arc<Form>>,
}

impl Deadline {
    /// So much time from now on.
    pub(super) fn new(allowed: Duration, payload: &Payload) -> Self {
        let form = match payload {
            Payload::Json(_) => None,
            Payload::Form(form) => Some(Arc::clone(form)),
        };
        Self { since: Instant::now(), allowed, form }
    }

    /// The same for one try, which has a limit of its own.
    pub(super) fn of_try(&self, allowed: Duration) -> Self {
        let since = Instant::now();
        let left = self.end().saturating_duration_since(since);
        Self { since, allowed: allowed.min(left), form: self.form.clone() }
    }

    /// The moment, as far as it is known.
    pub(super) fn end(&self) -> Instant {
        self.since + self.allowed + self.form.as_ref().map_or(Duration::ZERO, |form| form.late(self.since))
    }

    /// Waits for something, but not longer.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let Some(form) = &self.form else { return timeout_at(self.end(), work).await.ok() };
        let over = async {
            form.whole().await;
            sleep_until(self.end()).await;
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = over => None,
        }
    }
}
