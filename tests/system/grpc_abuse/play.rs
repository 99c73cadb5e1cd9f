//! Plays one input against a control plane, and looks whether anybody else noticed.

use std::time::{Duration, Instant};

use harness::by_hand::ByHand;
use harness::client::Client;
use harness::gateway::{CANARIES, ENFORCED_WITHIN, Gateway, join_token};
use harness::raw;
use harness::stage::Stage;
use serde_json::{Map, Value, json};
use shared::kernel::ids::{BootId, NodeId};
use shared::proto::{self, Outcome, UsageBatch, UsagePhase, UsageRecord, node_message};
use tonic::Status;

use super::row::{Expect, Input, RecordOf, Report, Row, Step};
use super::words::{Stream, Told, bytes_of, id, messages, now_us, render, unhex, whole};

/// Memory that an input may leave behind.
const GROWTH: u64 = 32 * 1024 * 1024;

pub(super) struct Play<'a> {
    pub(super) stage: Stage<'a>,
    pub(super) gateway: &'a Gateway,
    pub(super) grpc: String,
    pub(super) token: String,
    pub(super) key: Vec<u8>,
    pub(super) pool: sqlx::PgPool,
}

impl<'a> Play<'a> {
    pub(super) async fn begin(gateway: &'a Gateway) -> Self {
        let stage = Stage::chat(gateway).await;
        let pool = gateway.database().pool().await;
        let key: sqlx::types::Uuid = sqlx::query_scalar("SELECT id FROM gatewright.keys WHERE number = $1")
            .bind(stage.key_id)
            .fetch_one(&pool)
            .await
            .unwrap();
        let token = join_token(gateway.admin_url()).await;
        Self { stage, gateway, grpc: gateway.grpc_url().to_owned(), token, key: key.as_bytes().to_vec(), pool }
    }

    pub(super) async fn node(&self, who: &str) -> ByHand {
        match who {
            "member" => ByHand::enrolled(&self.grpc, &self.token).await,
            "joined" => ByHand::joined(&self.grpc, Some(&self.token)).await,
            "nobody" => ByHand::joined(&self.grpc, None).await,
            "stranger" => ByHand::joined(&self.grpc, Some(&format!("gw-join-{}", "7".repeat(64)))).await,
            other => panic!("nobody is a {other}"),
        }
    }

    /// Plays one input; what is wrong is told, so that one run shows all.
    pub(super) async fn input(&self, row: &Row, input: &Input) -> Result<(), String> {
        let (before, counted) = (self.gateway.resident(), self.series().await);
        let node = self.node(&row.who).await;
        let start = Instant::now();
        // Held until all is looked at.
        let held = match input {
            Input::Wire(pieces) => self.wire(&render(pieces), &row.expect).await.map(|()| None),
            Input::Frames { path, headers, body } => {
                let (code, message) = node.frames(path, headers, render(body)).await;
                fits(&Status::new(code, message), &row.expect).map(|()| None)
            }
            Input::Sync(steps) => self.sync(&node, steps, &row.expect).await,
            Input::Usage(reports) => self.usage(&node, reports, &row.expect).await.map(|()| None),
        }?;
        let (took, within) = (start.elapsed(), Duration::from_millis(row.expect.within));
        if took > within {
            return Err(format!("{took:?} instead of {within:?}"));
        }
        self.fleet(&node, &row.expect.fleet).await?;
        drop(held);
        if let Some(stored) = row.expect.stored {
            let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM gatewright.usage_records WHERE node_id = $1")
                .bind(node.id.uuid())
                .fetch_one(&self.pool)
                .await
                .unwrap();
            if rows != stored {
                return Err(format!("{rows} records in the ledger instead of {stored}"));
            }
        }
        let now = self.series().await;
        for (series, grew) in &row.expect.counts {
            let by = value(&now, series) - value(&counted, series);
            if (by - grew).abs() > 0.01 {
                return Err(format!("{series} grew by {by} instead of {grew}"));
            }
        }
        self.honest().await?;
        self.quiet(before).await
    }

    pub(super) async fn series(&self) -> String {
        Client::new(&self.gateway.operations_urls()[1]).get("/metrics").send().await.expect(200).text()
    }

    pub(super) async fn wire(&self, bytes: &[u8], expect: &Expect) -> Result<(), String> {
        let quiet = Duration::from_millis(expect.within);
        let heard = raw::say(&self.grpc, bytes, quiet).await;
        if !heard.closed {
            return Err(format!("the connection stays open: {:?}", cut(&heard.text)));
        }
        if heard.text.contains(&expect.says) { Ok(()) } else { Err(format!("it says {:?}", cut(&heard.text))) }
    }

    pub(super) async fn sync(&self, node: &ByHand, steps: &[Step], expect: &Expect) -> Result<Option<Stream>, String> {
        let mut talk = match node.sync().await {
            Ok(talk) => talk,
            Err(status) => return fits(&status, expect).map(|()| None),
        };
        let newest = self.newest().await;
        let mut told: Option<Told> = None;
        for step in steps {
            let message = match step {
                Step::Told(mode) => {
                    let revision = match whole(&mut talk).await {
                        Ok(revision) => revision,
                        Err(status) => return fits(&status, expect).map(|()| None),
                    };
                    let got = revision.begin.mode().as_str_name().trim_start_matches("SYNC_MODE_").to_lowercase();
                    if got != *mode || revision.begin.epoch != newest.begin.epoch {
                        return Err(format!("it was sent {got} of epoch {:?} instead of {mode}", revision.begin.epoch));
                    }
                    told = Some(revision);
                    continue;
                }
                step => step,
            };
            for message in messages(node, message, told.as_ref(), &newest) {
                // It may hang up in the middle.
                if !talk.say(message).await {
                    break;
                }
            }
        }
        if expect.status == "OPEN" {
            let ended = tokio::time::timeout(Duration::from_millis(300), talk.end()).await;
            return match ended {
                Err(_) => Ok(Some(talk)),
                Ok(status) => Err(format!("it ended: {:?} {}", status.code(), status.message())),
            };
        }
        fits(&talk.end().await, expect).map(|()| None)
    }

    pub(super) async fn usage(&self, node: &ByHand, reports: &[Report], expect: &Expect) -> Result<(), String> {
        let mut talk = match node.report().await {
            Ok(talk) => talk,
            Err(status) => return fits(&status, expect),
        };
        let same = id(now_us());
        for report in reports {
            let mut records = Vec::new();
            for record in &report.records {
                records.extend(self.records(record, &same));
            }
            let batch = UsageBatch {
                node_id: bytes_of(report.node.as_deref(), node.id.to_bytes(), NodeId::generate().to_bytes()),
                boot_id: bytes_of(report.boot.as_deref(), node.boot.to_bytes(), BootId::generate().to_bytes()),
                seq: report.seq,
                records,
            };
            talk.say(batch).await;
        }
        let mut acks = Vec::new();
        let ended = loop {
            if expect.status == "OPEN" && acks.len() == expect.acks.len() {
                break None;
            }
            match talk.hear().await {
                Ok(Some(ack)) => acks.push(ack.seq),
                Ok(None) => break Some(Status::ok("")),
                Err(status) => break Some(status),
            }
        };
        if acks != expect.acks {
            return Err(format!("acknowledged {acks:?} instead of {:?}; {ended:?}", expect.acks));
        }
        match ended {
            Some(status) => fits(&status, expect),
            None => Ok(()),
        }
    }

    pub(super) fn records(&self, of: &RecordOf, same: &[u8]) -> Vec<bytes::Bytes> {
        let times = of.times.unwrap_or(1);
        if let Some(garbage) = &of.garbage {
            return vec![unhex(garbage).into(); times];
        }
        (0..times)
            .map(|_| {
                let now = now_us();
                let record = UsageRecord {
                    id: match of.id.as_deref() {
                        None => id(now),
                        Some("same") => same.to_vec(),
                        Some("past") => id(1_000_000),
                        Some("future") => id(now + 400 * 86_400 * 1_000_000),
                        Some("v4") => vec![0x44; 16],
                        Some(_) => vec![1, 2, 3],
                    },
                    started_unix_us: now.saturating_add(of.started),
                    latency_us: of.latency,
                    endpoint: "/v1/chat/completions".to_owned(),
                    method: "POST".to_owned(),
                    status: of.status.unwrap_or(200),
                    outcome: Outcome::Completed.into(),
                    phase: UsagePhase::Final.into(),
                    key_id: match of.key.as_deref() {
                        None => self.key.clone(),
                        Some("unknown") => NodeId::generate().to_bytes(),
                        Some("none") => Vec::new(),
                        Some(_) => vec![9; 3],
                    },
                    key_name: "k".repeat(of.name),
                    prompt_tokens: of.tokens.or(Some(1)),
                    cost_billionths: of.cost,
                    attempts: vec![proto::Attempt::default(); of.attempts],
                    count: of.count.unwrap_or(1),
                    ..UsageRecord::default()
                };
                prost::Message::encode_to_vec(&record).into()
            })
            .collect()
    }

    /// What an honest node is told now.
    pub(super) async fn newest(&self) -> Told {
        let node = ByHand::enrolled(&self.grpc, &self.token).await;
        let mut talk = node.sync().await.expect("a stream");
        talk.tell(node_message::Message::Hello(node.hello(None))).await;
        whole(&mut talk).await.expect("the catalog")
    }

    pub(super) async fn fleet(&self, node: &ByHand, expected: &Map<String, Value>) -> Result<(), String> {
        if expected.is_empty() {
            return Ok(());
        }
        let wanted = json!(node.id.uuid());
        let mut shown = Value::Null;
        for _ in 0..50 {
            shown = self.shown(&wanted).await;
            if expected.iter().all(|(name, value)| shown[name] == *value) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let wrong: Vec<_> = expected.iter().filter(|(name, value)| shown[*name] != **value).collect();
        Err(format!("operators see {shown}, where {wrong:?} is expected"))
    }

    /// A node as operators see it.
    pub(super) async fn shown(&self, id: &Value) -> Value {
        for page in 0.. {
            let fleet = self.gateway.admin().read(&format!("fleet?limit=100&offset={}", 100 * page)).await;
            let nodes = fleet["data"].as_array().unwrap();
            if let Some(node) = nodes.iter().find(|node| node["id"] == *id) {
                return node.clone();
            }
            if nodes.is_empty() {
                break;
            }
        }
        Value::Null
    }

    /// The honest node notices nothing: it gets a change in time, and serves.
    pub(super) async fn honest(&self) -> Result<(), String> {
        let (_, key) = self.gateway.admin().key(self.stage.user_id).await;
        let made = Instant::now();
        let client = self.gateway.client().bearer(&key);
        while client.get("/v1/models").send().await.status != 200 {
            if made.elapsed() > 2 * ENFORCED_WITHIN {
                return Err(format!("a change is not on another node after {:?}", made.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let reply = client.post("/v1/chat/completions", &self.stage.chat_body()).send().await;
        if reply.status == 200 { Ok(()) } else { Err(format!("a good request fails: {}", reply.text())) }
    }

    pub(super) async fn quiet(&self, before: u64) -> Result<(), String> {
        self.gateway.assert_alive();
        let said = self.gateway.said();
        for word in CANARIES.into_iter().chain(["panicked at"]) {
            if said.contains(word) {
                return Err(format!("{word} is in the logs"));
            }
        }
        let mut grown = 0;
        for _ in 0..100 {
            grown = self.gateway.resident().saturating_sub(before);
            if grown < GROWTH {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("{} MiB of memory are not given back", grown / 1024 / 1024))
    }
}

pub(super) fn fits(status: &Status, expect: &Expect) -> Result<(), String> {
    let code = format!("{:?}", status.code());
    let expected: String = expect.status.split('_').flat_map(capitalised).collect();
    if code != expected || !status.message().contains(&expect.says) {
        return Err(format!("{code} ({}) instead of {}", cut(status.message()), expect.status));
    }
    Ok(())
}

pub(super) fn capitalised(word: &str) -> impl Iterator<Item = char> + '_ {
    word.chars().enumerate().map(|(at, letter)| if at == 0 { letter } else { letter.to_ascii_lowercase() })
}

pub(super) fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().unwrap())
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}
