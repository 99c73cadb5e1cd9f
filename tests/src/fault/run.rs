//! Plays a scenario: the load runs, the steps happen, everything is mended, and what was seen is checked.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::checker::{Rule, Violation, check};
use super::evidence::{Evidence, Incident, Revocation};
use super::load::{Entry, History, Load, json_lines, one};
use super::proxy::{Cut, Weather};
use super::scenario::{Files, Scenario, Step};
use super::scene::{Part, Scene};
use super::watch::{Watched, gauge};
use super::{clock, gather, server};
use crate::client::Client;
use crate::process::Process;
use crate::skip::skipped;
use crate::{eventually, paths, runtime};

/// The longest that one scenario may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long everything may take to be at rest when all is mended: back-offs, keep-alives and the
/// patience with lost connections are part of it.
const REST: Duration = Duration::from_secs(60);
/// How long a change may take to be enforced on nodes that are connected. A second is promised; ten times as long is a hang
/// on the busiest machine too.
const ENFORCED: Duration = Duration::from_secs(10);
/// Gauges follow what they measure within a second.
const GAUGES_LAG: Duration = Duration::from_millis(1_200);
/// So many scenarios at once leave the other tests their share of a small machine.
const AT_ONCE: usize = 6;
/// Plays the scenario in this file, and fails with what does not hold.
pub fn play(name: &str) {
    let full = std::env::var("GATEWRIGHT_CHECK").as_deref() == Ok("full");
    let scenario = Scenario::read(name);
    let stretch = Scenario::stretch(full, scenario.full);
    let scenario = if full { scenario.in_full() } else { scenario };
    if scenario.stage.clocks && clock::library().is_none() {
        skipped("libfaketime", "the library is not there");
        return;
    }
    static TURNS: OnceLock<Semaphore> = OnceLock::new();
    let turns = TURNS.get_or_init(|| Semaphore::new(if full { 1 } else { AT_ONCE }));
    let _turn = runtime::runtime().block_on(turns.acquire()).expect("a turn");
    runtime::run_within(PATIENCE, Play::begin(name, scenario, stretch));
}

/// A scenario that is being played.
pub(super) struct Play {
    pub(super) scenario: Scenario,
    stretch: f64,
    pub(super) scene: Scene,
    pub(super) history: Arc<History>,
    pub(super) incidents: Mutex<Vec<Incident>>,
    pub(super) revocations: Mutex<Vec<Revocation>>,
    /// When the control plane could not answer, whatever it wanted.
    pub(super) absences: Mutex<Vec<(u64, u64)>>,
}

impl Play {
    async fn begin(name: &str, scenario: Scenario, stretch: f64) {
        let begun = Instant::now();
        let scene = Scene::set(&scenario.stage, scenario.load.keys).await;
        let form = &scenario.load;
        let load = Load {
            rate: form.rate,
            lasts: form.lasts,
            streams: form.streams,
            keys: scene.keys.iter().map(|(_, key)| key.clone()).collect(),
            router: scene.router.clone(),
        };
        let play = Self {
            scenario,
            stretch,
            scene,
            history: Arc::default(),
            incidents: Mutex::default(),
            revocations: Mutex::default(),
            absences: Mutex::default(),
        };
        let watched = Watched::default();
        let setup = begun.elapsed();
        let (mut loaded, mut ended) = (Duration::ZERO, Duration::ZERO);
        let course = async {
            tokio::join!(load.drive(&play.scene.balancer, &play.history), play.steps());
            loaded = begun.elapsed();
            play.scene.mend().await;
            play.rest().await;
            play.last_words().await;
            tokio::time::sleep(GAUGES_LAG).await;
            play.rest().await;
            ended = begun.elapsed();
            watched.end();
        };
        let churn = async {
            if play.scenario.load.churn {
                watched.churn(&play.scene, &play.history).await;
            }
        };
        tokio::join!(course, watched.revisions(&play.scene), churn);
        let evidence = play.evidence(&watched).await;
        let times = format!("set up in {setup:.1?}, load over at {loaded:.1?}, at rest at {ended:.1?}");
        play.report(name, &evidence, &times);
    }

    async fn steps(&self) {
        let mut freezing = JoinSet::new();
        for step in &self.scenario.steps {
            sleep_until((self.history.began() + step.at().mul_f64(self.stretch)).into()).await;
            self.perform(step, &mut freezing).await;
        }
        freezing.join_all().await;
    }

    async fn perform(&self, step: &Step, freezing: &mut JoinSet<()>) {
        let scene = &self.scene;
        if let Step::Freeze { whom: name, .. } | Step::Link { link: name, .. } | Step::Strand { link: name, .. } = step
            && name == "postgres"
        {
            // What the database was asked a moment before cannot be known not to come.
            self.absent(Duration::ZERO);
        }
        match step {
            Step::Kill { whom, .. } => match node_of(whom) {
                Some(place) => {
                    let from = self.history.now();
                    scene.balancer.take(place);
                    scene.node(place).kill();
                    self.incidents.lock().push(Incident { node: Some(place), from, until: self.history.now() });
                }
                None => {
                    self.absent(Duration::ZERO);
                    scene.control.kill();
                }
            },
            Step::Terminate { whom, .. } => {
                let place = node_of(whom).expect("a node");
                scene.balancer.take(place);
                // Whoever was sent there a moment ago is to arrive.
                tokio::time::sleep(Duration::from_millis(200)).await;
                scene.node(place).terminate().await;
            }
            Step::Start { whom, .. } => match (node_of(whom), whom.as_str()) {
                (Some(place), _) => scene.start_node(place).await,
                (None, "postgres") => scene.server().go_on().await,
                (None, _) => scene.start_control().await,
            },
            Step::Stop { .. } => scene.server().stop().await,
            Step::Freeze { whom, lasts, .. } => {
                let lasts = lasts.mul_f64(self.stretch);
                let pids = if whom == "postgres" {
                    scene.server().processes()
                } else {
                    self.absent(lasts + Duration::from_secs(1));
                    vec![scene.control.with(Process::id)]
                };
                freezing.spawn(async move { server::freeze(&pids, lasts).await });
            }
            Step::Promote { .. } => scene.promote().await,
            Step::Link { link, weather, .. } => {
                if link.starts_with("upstream") && *weather != Weather::default() {
                    self.upstream_incident();
                }
                scene.link(link).set(weather.clone());
            }
            Step::Cut { link, .. } => {
                if link.starts_with("upstream") {
                    self.upstream_incident();
                }
                scene.link(link).cut(Cut::Reset);
            }
            Step::Strand { link, .. } => scene.link(link).strand(),
            Step::Corrupt { whom, what, .. } => {
                let folder = if *what == Files::Spool { "spool" } else { "catalog" };
                scene.node(node_of(whom).expect("a node")).corrupt(folder);
            }
            Step::Disk { whom, full, .. } => scene.node(node_of(whom).expect("a node")).disk(*full),
            Step::Jump { whom, to, .. } => {
                let part = node_of(whom).map_or(&scene.control, |place| &scene.node(place).part);
                clock::set(&part.folder, to);
            }
            Step::Revoke { key, within, .. } => self.revoke(*key, within.mul_f64(self.stretch)).await,
        }
    }

    /// The control plane cannot be blamed for what it was asked before the end of this time.
    fn absent(&self, lasts: Duration) {
        let now = self.history.now();
        self.absences.lock().push((now, now + micros(lasts)));
    }

    /// Streams that had begun cannot be saved when their upstream goes.
    fn upstream_incident(&self) {
        let now = self.history.now();
        self.incidents.lock().push(Incident { node: None, from: now, until: now });
    }

    async fn revoke(&self, key: usize, within: Duration) {
        let asked = self.history.now();
        let (admin, place) = (self.scene.admin(), format!("keys/{}", self.scene.keys[key].0));
        // An operator who is told to try again does.
        eventually("the key is removed", REST, || async {
            let reply = admin.call("DELETE", &place).try_send().await.ok()?;
            // 404: an earlier answer was lost on its way.
            assert!(matches!(reply.status, 200 | 404 | 503), "DELETE {place}: {} {}", reply.status, reply.text());
            (reply.status != 503).then_some(())
        })
        .await;
        let enforced = self.history.now() + micros(within);
        self.revocations.lock().push(Revocation { key, asked, enforced });
    }

    /// Waits until nothing is held anywhere and every node is connected; what is held after that is found by the checker.
    async fn rest(&self) {
        let begun = Instant::now();
        while begun.elapsed() < REST {
            let mut rests = true;
            for node in &self.scene.nodes {
                let text = node.metrics().await.map(|(_, text)| text).unwrap_or_default();
                let connected = gauge(&text, "gatewright_control_plane_connected") == Some(1.0);
                rests &=
                    connected && gather::ZERO_AT_REST.iter().all(|family| gauge(&text, family).unwrap_or(0.0) == 0.0);
            }
            if rests {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// When all is mended: every node serves, a key that is removed now is refused in time, and so are earlier ones.
    async fn last_words(&self) {
        let next = self.history.entries().iter().map(|entry| entry.number + 1).max().unwrap_or(0);
        let last = self.scene.keys.len() - 1;
        let count = self.scene.nodes.len();
        for place in 0..count {
            self.probe(next + place as u64, place, last).await;
        }
        self.revoke(last, self.scenario.allow.enforced_within.unwrap_or(ENFORCED)).await;
        let revocations = self.revocations.lock().clone();
        let mut number = next + count as u64;
        for revocation in revocations {
            for place in 0..count {
                while self.history.now() < revocation.enforced && self.lets_in(place, revocation.key).await {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                self.probe(number, place, revocation.key).await;
                number += 1;
            }
        }
    }

    /// Whether a node lets a key in; that question leaves no record.
    async fn lets_in(&self, place: usize, key: usize) -> bool {
        let Some(url) = self.scene.balancer.url(place) else { return false };
        let client = Client::new(url).bearer(&self.scene.keys[key].1);
        client.get("/v1/models").try_send().await.is_ok_and(|reply| reply.status == 200)
    }

    async fn probe(&self, number: u64, place: usize, key: usize) {
        let sent = self.history.now();
        let mut entry = Entry { number, node: Some(place), key, due: sent, sent, ..Entry::default() };
        match self.scene.balancer.url(place) {
            Some(url) => {
                let client = Client::new(url).bearer(&self.scene.keys[key].1);
                one(&mut entry, &client, &self.scene.router, &self.history).await;
            }
            None => entry.error = "the node is not in".to_owned(),
        }
        entry.ended = self.history.now();
        self.history.add(entry);
    }

    fn report(&self, name: &str, evidence: &Evidence, times: &str) {
        let violations = check(evidence);
        let served = evidence.history.iter().filter(|entry| entry.is_served()).count();
        let (asked, records) = (evidence.history.len(), evidence.records.len());
        let mut admin: BTreeMap<u16, usize> = BTreeMap::new();
        evidence.admin.iter().for_each(|answer| *admin.entry(answer.status).or_default() += 1);
        let newest = evidence.revisions.iter().map(|sighting| sighting.revision).max().unwrap_or(0);
        let late = evidence.history.iter().map(|entry| entry.sent.saturating_sub(entry.due)).max().unwrap_or(0);
        let summary = format!(
            "{name}: {served} of {asked} served (sent at most {} ms late), {records} records; changes by status {admin:?}, revision {newest}; {times}",
            late / 1000
        );
        if violations.is_empty() {
            let _ = std::io::stderr().write_all(format!("{summary}\n").as_bytes());
            return;
        }
        let folder = paths::target().join("tmp/faults");
        std::fs::create_dir_all(&folder).expect("a folder for histories");
        let history = folder.join(format!("{name}.jsonl"));
        std::fs::write(&history, json_lines(&evidence.history)).expect("the history");
        let logs = folder.join(format!("{name}.log"));
        std::fs::write(&logs, self.scene.parts().map(Part::said).collect::<String>()).expect("the logs");
        let (history, logs) = (history.display(), logs.display());
        // A load that is late by so much is none of constant rate.
        let hint = if late > 2_000_000 { "\nthis machine is too busy for this load" } else { "" };
        panic!("{summary}{hint}\n{}\nhistory: {history}\nlogs: {logs}", told(&violations));
    }
}

/// The first few violations of each rule.
fn told(violations: &[Violation]) -> String {
    let mut rules: BTreeMap<Rule, Vec<&Violation>> = BTreeMap::new();
    for violation in violations {
        rules.entry(violation.rule).or_default().push(violation);
    }
    let told = rules.values().map(|violations| {
        let first: Vec<String> = violations.iter().take(4).map(|violation| format!("  {violation}\n")).collect();
        format!("{:?} is violated {} times:\n{}", violations[0].rule, violations.len(), first.concat())
    });
    told.collect()
}

fn node_of(name: &str) -> Option<usize> {
    match name {
        "control-plane" | "postgres" => None,
        node => {
            let place = node.strip_prefix("node-").and_then(|place| place.parse().ok());
            Some(place.unwrap_or_else(|| panic!("{node} is neither control-plane, postgres nor node-N")))
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
