//! What this node holds and how old it is: swapped once per revision, revoked from at once, copied to disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::catalog::{Kind, Ref};
use shared::kernel::clock::{FleetClock, FleetTime};
use shared::kernel::ids::Revision;
use shared::proto::{self, Ack, Revoke};
use shared::runtime::readiness::Condition;
use shared::wire::{Rejection, digest_to_wire, kind_from_wire};
use uuid::Uuid;

use super::apply::{Built, Held};
use super::last_good::{LastGood, LastGoodOptions, Loaded};
use super::precise;
use crate::table::{Handle, Table};

/// Messages are older than they say by their way here; the clock is set back only for more than that.
const WAY: Duration = Duration::from_secs(2);
/// The copy on disk is told that it is the newest no more often than this,
const SELDOM_ENOUGH: Duration = Duration::from_secs(1);
/// and no less often than this.
const OFTEN_ENOUGH: Duration = Duration::from_secs(600);

/// Rejections that an answer names; a node with more is broken as a whole, and a message has an end.
const TOLD: usize = 1_000;
/// Characters of what is said of one.
const LONGEST_TEXT: usize = 500;

/// The node's catalog.
pub(super) struct Standing {
    pub(super) table: Handle,
    pub(super) clock: FleetClock,
    catalog: Condition,
    max_stale: Option<Duration>,
    pub(super) held: Option<Held>,
    /// When the table was last known to be the newest.
    fresh: Instant,
    connected: bool,
    /// The newest revision that a control plane spoke of.
    pub(super) head: u64,
    pub(super) copy: Option<LastGood>,
    /// When the copy on disk was last told that it is the newest.
    copy_fresh: Instant,
}

impl Standing {
    pub(super) fn new(table: Handle, clock: FleetClock, catalog: Condition, max_stale: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            table,
            clock,
            catalog,
            max_stale,
            held: None,
            fresh: now,
            connected: false,
            head: 0,
            copy: None,
            copy_fresh: now,
        }
    }

    /// Puts the catalog of the last run in place. A copy that cannot be used leaves the node waiting for a control plane.
    pub(super) async fn open_copy(&mut self, options: LastGoodOptions) {
        let folder = options.folder.clone();
        match tokio::task::spawn_blocking(move || LastGood::open(options)).await {
            Ok(Ok((copy, loaded))) => {
                self.copy = Some(copy);
                if let Some(loaded) = loaded {
                    self.put_back(loaded);
                }
            }
            Ok(Err(error)) => {
                tracing::error!(%error, folder = %folder.display(), "there is no copy of the catalog on disk")
            }
            Err(_) => tracing::error!(folder = %folder.display(), "reading the catalog's copy failed"),
        }
    }

    fn put_back(&mut self, loaded: Loaded) {
        let age = self.clock.now().since(loaded.fresh);
        tracing::info!(revision = loaded.held.revision.0, ?age, "serving from the catalog's copy on disk");
        self.fresh = Instant::now().checked_sub(age).unwrap_or(self.fresh);
        self.table.swap(loaded.table);
        self.held = Some(loaded.held);
        self.look();
        self.gauges();
        self.catalog.set(true);
    }

    /// Swaps once. Revocations that came while the table was built hold on.
    pub(super) fn put_in_place(&mut self, built: Built) -> Ack {
        let Built { table, held, full, began, recording } = built;
        let current = self.table.load();
        let later: Vec<(Ref, Revision)> = match current.epoch() == table.epoch() {
            true => current.revoked().filter(|(_, at)| *at > table.revision()).collect(),
            false => Vec::new(),
        };
        let table = later.into_iter().fold(table, |table, (reference, at)| table.with_revoked([reference], at));
        count_rejections(&current, &table);
        let table = Arc::new(table);
        let rejected = table.rejections().count();
        let ack = Ack {
            revision: table.revision().0,
            digest: Some(digest_to_wire(table.digest())),
            rejected: table.rejections().take(TOLD).map(told).collect(),
            applied_unix_ms: self.clock.now().unix_millis(),
            epoch: held.epoch.to_bytes(),
        };
        let old = self.table.swap(Arc::clone(&table));
        if let Some((copy, recording)) = self.copy.as_ref().zip(recording) {
            copy.keep(recording, rejected == 0);
        }
        // The last owner of a million keys should not be a call.
        drop(current);
        tokio::task::spawn_blocking(move || drop(old));
        self.catalog.set(true);
        self.head = self.head.max(table.revision().0);
        self.held = Some(held);
        self.fresh = Instant::now();
        metrics::histogram!(super::APPLY).record(began.elapsed());
        metrics::gauge!(super::REVISION).set(precise(table.revision().0));
        metrics::gauge!(super::STANDING).set(precise(rejected as u64));
        tracing::info!(revision = ack.revision, full, rejected, took = ?began.elapsed(), "catalog applied");
        ack
    }

    /// Revokes at once, here and on disk.
    pub(super) fn revoke(&self, revoke: &Revoke) {
        let Some(kind) = kind_from_wire(revoke.kind) else { return };
        let table = self.table.load();
        let at = Revision(revoke.at_revision);
        if at <= table.revision() {
            return;
        }
        let references = revoke.ids.iter().filter_map(|id| Uuid::from_slice(id).ok()).map(|id| Ref { kind, id });
        self.table.swap(Arc::new(table.with_revoked(references, at)));
        if let Some(copy) = &self.copy {
            copy.revoke(revoke);
        }
        tracing::info!(%kind, count = revoke.ids.len(), at_revision = at.0, "revoked ahead of the catalog");
    }

    /// A message was heard: the node is connected, and knows the time.
    pub(super) fn connected(&mut self, control_unix_us: i64) {
        if !std::mem::replace(&mut self.connected, true) {
            tracing::info!("connected to a control plane");
            self.gauges();
        }
        let control = FleetTime::from_unix_micros(control_unix_us);
        let now = self.clock.now();
        if control_unix_us > 0 && (control > now || now.since(control) > WAY) {
            self.clock.adjust(control);
        }
    }

    /// How long ago the table was known to be the newest.
    pub(super) fn age(&self) -> Duration {
        self.fresh.elapsed()
    }

    /// Nobody is there any more.
    pub(super) fn disconnected(&mut self) {
        self.look();
        self.connected = false;
        self.gauges();
    }

    /// What follows from the passing of time.
    pub(super) fn look(&mut self) {
        let table = self.table.load();
        if self.connected && self.head <= table.revision().0 && table.epoch().is_some() {
            self.fresh = Instant::now();
            self.note_freshness();
        }
        metrics::gauge!(super::AGE).set(if table.epoch().is_some() { self.age().as_secs_f64() } else { 0.0 });
        let stale = self.max_stale.is_some_and(|bound| self.age() > bound);
        if stale != table.is_stale() {
            tracing::warn!(age = ?self.age(), stale, "the age of the catalog passed its bound");
            self.table.swap(Arc::new(table.with_stale(stale)));
        }
    }

    /// Where age decides, the copy on disk learns that the catalog is the newest, from time to time.
    fn note_freshness(&mut self) {
        let Some((copy, bound)) = self.copy.as_ref().zip(self.max_stale) else { return };
        if self.copy_fresh.elapsed() > (bound / 10).clamp(SELDOM_ENOUGH, OFTEN_ENOUGH) {
            self.copy_fresh = Instant::now();
            copy.fresh(self.clock.now());
        }
    }

    pub(super) fn gauges(&self) {
        metrics::gauge!(super::CONNECTED).set(if self.connected { 1.0 } else { 0.0 });
        metrics::gauge!(super::REVISION).set(precise(self.table.load().revision().0));
        metrics::gauge!(super::AGE).set(0.0);
    }
}

fn told(rejection: &Rejection) -> proto::Rejection {
    let text = rejection.text.chars().take(LONGEST_TEXT).collect();
    Rejection { text, ..rejection.clone() }.into()
}

/// Counts and logs what was not rejected before.
fn count_rejections(old: &Table, new: &Table) {
    let known: BTreeMap<(i32, Uuid), u64> = old.rejections().map(|one| ((one.kind, one.id), one.version)).collect();
    for one in new.rejections().filter(|one| known.get(&(one.kind, one.id)) != Some(&one.version)) {
        let kind = kind_from_wire(one.kind).map_or("unknown", Kind::as_str);
        metrics::counter!(super::REJECTED, "kind" => kind, "code" => one.code.as_str()).increment(1);
        tracing::warn!(kind, id = %one.id, version = one.version, code = %one.code, text = one.text, "a resource cannot be applied");
    }
}
