//! What is looked at while the load runs: the revisions that nodes decide by, and an admin API that is used all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use super::evidence::{AdminAnswer, Sighting};
use super::load::History;
use super::scene::Scene;

/// How often nodes are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often the catalog changes.
const CHANGE: Duration = Duration::from_millis(200);

/// What the watchers saw.
#[derive(Default)]
pub struct Watched {
    /// Of the nodes.
    pub revisions: Mutex<Vec<Sighting>>,
    /// Of the admin API.
    pub admin: Mutex<Vec<AdminAnswer>>,
    over: AtomicBool,
}

impl Watched {
    /// The watchers are to end.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Looks at every node until the end.
    pub async fn revisions(&self, scene: &Scene) {
        while !self.over.load(Ordering::Relaxed) {
            for (place, node) in scene.nodes.iter().enumerate() {
                let Some((boot, text)) = node.metrics().await else { continue };
                if let Some(revision) = gauge(&text, "gatewright_config_revision") {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "revisions are small here"
                    )]
                    self.revisions.lock().push(Sighting { node: place, boot, revision: revision as u64 });
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Changes a price that concerns nobody, again and again, until the end.
    pub async fn churn(&self, scene: &Scene, history: &Arc<History>) {
        let place = format!("routers/{}", scene.bystander);
        let mut turn = 0_u32;
        while !self.over.load(Ordering::Relaxed) {
            turn += 1;
            let body = json!({"cost_prompt_tokens": f64::from(turn % 50) + 0.5});
            let sent = history.now();
            let reply = scene.admin().call("PATCH", &place).json(&body).try_send().await;
            let took = history.now() - sent;
            let answer = match reply {
                Ok(reply) => AdminAnswer {
                    sent,
                    took,
                    status: reply.status,
                    retry_after: !reply.header("retry-after").is_empty(),
                    text: if reply.status == 200 { String::new() } else { reply.text() },
                },
                Err(error) => AdminAnswer { sent, took, text: error, ..AdminAnswer::default() },
            };
            self.admin.lock().push(answer);
            tokio::time::sleep(CHANGE).await;
        }
    }
}

/// The sum of a family over all its series; nothing when it has none.
#[must_use]
pub fn gauge(text: &str, family: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(family)?;
        let value = if rest.starts_with('{') { rest.rsplit_once('}')?.1 } else { rest };
        value.strip_prefix(' ')?.trim().parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}
