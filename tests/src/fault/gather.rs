//! Gathers what a play has left: in the ledger, in the upstream's log, in metrics, logs and files.

use std::path::Path;

use super::evidence::{Evidence, Record, Sum};
use super::load::number_asked;
use super::run::Play;
use super::scene::Part;
use super::watch::{Watched, gauge};
use crate::gateway::CANARIES;
use crate::postgres::PASSWORD;
use crate::stage::PROVIDER_KEY;

/// Gauges of a node that are zero when nobody asks anything of it.
pub(super) const ZERO_AT_REST: [&str; 5] = [
    "gatewright_requests_in_flight",
    "gatewright_upstream_in_flight",
    "gatewright_request_bodies_held_bytes",
    "gatewright_usage_backlog",
    "gatewright_usage_spool_records",
];

impl Play {
    /// Looks at everything that can tell what happened.
    pub(super) async fn evidence(&self, watched: &Watched) -> Evidence {
        let allow = &self.scenario.allow;
        let (mut at_rest, mut dropped) = (Vec::new(), 0.0);
        for (place, node) in self.scene.nodes.iter().enumerate() {
            let text = node.metrics().await.map(|(_, text)| text).unwrap_or_default();
            if text.is_empty() {
                at_rest.push((format!("node-{place} without metrics"), 1.0));
            }
            dropped += gauge(&text, "gatewright_usage_spool_dropped_total").unwrap_or(0.0);
            let held = ZERO_AT_REST.iter().map(|family| (format!("{family} of node-{place}"), gauge(&text, family)));
            at_rest.extend(held.map(|(name, value)| (name, value.unwrap_or(0.0))));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of records")]
        let dropped = if allow.dropped_records { dropped as u64 } else { 0 };
        let pool = self.scene.pool().await;
        let absences = self.absences.lock().clone();
        let present =
            |sent: u64, took: u64| !absences.iter().any(|(from, until)| sent <= *until && sent + took >= *from);
        let mut admin = watched.admin.lock().clone();
        admin.retain(|answer| present(answer.sent, answer.took));
        let (records, sums, leaks) = (
            sqlx::query_as::<_, Record>(RECORDS).fetch_all(&pool).await.expect("the records"),
            sqlx::query_as::<_, Sum>(SUMS).fetch_all(&pool).await.expect("the sums"),
            self.leaks().await,
        );
        Evidence {
            history: self.history.entries(),
            calls: self.scene.upstream.seen().iter().filter_map(number_asked).collect(),
            records,
            sums,
            revisions: watched.revisions.lock().clone(),
            incidents: self.incidents.lock().clone(),
            revocations: self.revocations.lock().clone(),
            at_rest,
            admin,
            leaks,
            crashes: self.scene.crashes(),
            unsaid: self.unsaid(),
            may_be_lost: allow.lost_records + dropped,
        }
    }

    /// What the logs should tell of, and do not.
    fn unsaid(&self) -> Vec<String> {
        let said: String = self.scene.parts().map(Part::said).collect();
        self.scenario.said.iter().filter(|text| !said.contains(*text)).cloned().collect()
    }

    /// Secrets in logs, metrics and files.
    async fn leaks(&self) -> Vec<String> {
        let mut secrets: Vec<&str> = CANARIES.into_iter().chain([PROVIDER_KEY, PASSWORD]).collect();
        secrets.extend(self.scene.keys.iter().map(|(_, key)| key.as_str()));
        secrets.extend(self.scene.nodes.iter().filter_map(|node| node.token.split('.').next()));
        let mut sinks: Vec<(String, Vec<u8>)> = Vec::new();
        for part in self.scene.parts() {
            sinks.push((format!("the log of {}", part.folder.display()), part.said().into_bytes()));
            files(&part.folder.join("data"), &mut sinks);
        }
        for node in &self.scene.nodes {
            let text = node.metrics().await.map(|(_, text)| text).unwrap_or_default();
            sinks.push(("the metrics of a node".to_owned(), text.into_bytes()));
        }
        let found = sinks.iter().flat_map(|(name, bytes)| {
            let there = |secret: &&&str| memchr::memmem::find(bytes, secret.as_bytes()).is_some();
            secrets.iter().filter(there).map(move |secret| format!("{}… in {name}", &secret[..12]))
        });
        found.collect()
    }
}

/// All files below a folder, but for the node's own key and certificate.
fn files(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("identity") {
            files(&path, into);
        } else if let Ok(bytes) = std::fs::read(&path) {
            into.push((path.display().to_string(), bytes));
        }
    }
}

const RECORDS: &str = "SELECT id::text AS id, request_id, outcome, status, prompt_tokens AS prompt, \
    completion_tokens AS completion, estimated, cost, jsonb_array_length(attempts) AS attempts, \
    coalesce(key_id::text, '') AS key, count FROM gatewright.usage_records";

const SUMS: &str = "SELECT grain, key_id::text AS key, sum(requests)::bigint AS requests, \
    sum(prompt_tokens)::bigint AS prompt, sum(completion_tokens)::bigint AS completion, sum(cost)::bigint AS cost \
    FROM gatewright.usage_rollups GROUP BY 1, 2";
