//! Hostile and broken words on the port for data planes: rows of `tests/abuse/grpc.json`, and what no table can say.
//!
//! Each input is played by a node of its own, a `member` with a certificate unless said. Beside the answer the runner checks
//! for every input: a change reaches the honest node in time, a good request works, nothing panicked, memory comes back.

use std::time::{Duration, Instant};

use harness::by_hand::{ByHand, Talk};
use harness::client::Client;
use harness::gateway::{CANARIES, ENFORCED_WITHIN, Gateway, join_token};
use harness::stage::Stage;
use harness::{eventually, raw, run};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::kernel::ids::{BootId, CallId, Epoch, NodeId};
use shared::proto::{
    self, Ack, Begin, Commit, ControlMessage, NodeHeartbeat, NodeMessage, Outcome, Resume, SyncMode, UpstreamHealth,
    UsageBatch, UsagePhase, UsageRecord, control_message, node_message,
};
use tokio::io::AsyncWriteExt as _;
use tonic::{Code, Status};

/// Memory that an input may leave behind.
const GROWTH: u64 = 32 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    title: String,
    /// `member` shows its certificate, `joined` a join token, `nobody` nothing, `stranger` a token that nobody made.
    #[serde(rename = "as", default = "member")]
    who: String,
    inputs: Vec<Input>,
    expect: Expect,
}

fn member() -> String {
    "member".to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Input {
    /// Bytes on the port.
    Wire(Vec<Piece>),
    /// Bytes as the body of a call.
    Frames {
        path: String,
        #[serde(default)]
        headers: Vec<(String, String)>,
        body: Vec<Piece>,
    },
    /// What a node says in its stream of the catalog.
    Sync(Vec<Step>),
    /// What it says in its stream of usage.
    Usage(Vec<Report>),
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Piece {
    Text(String),
    Repeat {
        repeat: String,
        times: usize,
    },
    Hex {
        hex: String,
        #[serde(default = "once")]
        times: usize,
    },
    Random {
        random: usize,
    },
}

const fn once() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    Hello(HelloOf),
    Ack(AckOf),
    Nack {
        revision: Number,
    },
    Heartbeat(HeartbeatOf),
    /// A message of no kind.
    Empty {},
    /// Waits until it was told a revision in this mode.
    Told(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Of(u64),
    /// `told`, `told+1`.
    Word(String),
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HelloOf {
    /// `own`, `other`, `short`.
    node: Option<String>,
    boot: Option<String>,
    /// How many, and of how many characters.
    labels: Option<(usize, usize)>,
    build: usize,
    schema: Option<(u32, u32)>,
    resume: Option<ResumeOf>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ResumeOf {
    /// Beside the newest.
    ahead: i64,
    /// `other`, `short`.
    epoch: Option<String>,
    /// `wrong`, `none`, `junk`.
    digest: Option<String>,
    /// `true`, else a forged one.
    seal: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AckOf {
    revision: Number,
    epoch: Option<String>,
    digest: Option<String>,
    #[serde(default)]
    rejected: usize,
    #[serde(default = "once")]
    times: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeartbeatOf {
    revision: u64,
    #[serde(default)]
    all: u64,
    #[serde(default)]
    upstreams: usize,
    #[serde(default = "once")]
    times: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    node: Option<String>,
    boot: Option<String>,
    seq: u64,
    records: Vec<RecordOf>,
}

/// A good record but for what is named.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RecordOf {
    times: Option<usize>,
    /// Bytes that are no record.
    garbage: Option<String>,
    /// `same`, `v4`, `short`, `past`, `future`.
    id: Option<String>,
    /// `unknown`, `short`, `none`.
    key: Option<String>,
    /// Microseconds from now.
    started: i64,
    tokens: Option<u64>,
    cost: i64,
    latency: u64,
    status: Option<u32>,
    count: Option<u64>,
    attempts: usize,
    name: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// The name of a status code; `OPEN`: the call goes on; `CLOSED`: the connection ends.
    status: String,
    /// Part of what is said with it.
    #[serde(default)]
    says: String,
    /// What is acknowledged.
    #[serde(default)]
    acks: Vec<u64>,
    /// Records of the node that are in the ledger in the end.
    stored: Option<i64>,
    /// Series of the control plane that grew by so much.
    #[serde(default)]
    counts: Vec<(String, f64)>,
    /// What operators see of the node.
    #[serde(default)]
    fleet: Map<String, Value>,
    /// Milliseconds until the answer.
    #[serde(default = "soon")]
    within: u64,
}

const fn soon() -> u64 {
    5_000
}

/// The newest revision as an honest node is told it.
struct Told {
    begin: Begin,
    commit: Commit,
}

struct Play<'a> {
    stage: Stage<'a>,
    gateway: &'a Gateway,
    grpc: String,
    token: String,
    key: Vec<u8>,
    pool: sqlx::PgPool,
}

#[test]
fn rows() {
    run(async {
        let gateway = Gateway::split().await;
        let play = Play::begin(&gateway).await;
        let text = std::fs::read_to_string(harness::paths::root().join("tests/abuse/grpc.json")).unwrap();
        let rows: Vec<Row> = serde_json::from_str(&text).unwrap();
        // What first comers leave behind for good is no leak of the others.
        play.honest().await.unwrap();
        let mut failures = Vec::new();
        for row in &rows {
            for (number, input) in row.inputs.iter().enumerate() {
                if let Err(what) = play.input(row, input).await {
                    failures.push(format!("{} input {number} ({}): {what}", row.id, row.title));
                }
            }
        }
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    });
}

impl<'a> Play<'a> {
    async fn begin(gateway: &'a Gateway) -> Self {
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

    async fn node(&self, who: &str) -> ByHand {
        match who {
            "member" => ByHand::enrolled(&self.grpc, &self.token).await,
            "joined" => ByHand::joined(&self.grpc, Some(&self.token)).await,
            "nobody" => ByHand::joined(&self.grpc, None).await,
            "stranger" => ByHand::joined(&self.grpc, Some(&format!("gw-join-{}", "7".repeat(64)))).await,
            other => panic!("nobody is a {other}"),
        }
    }

    /// Plays one input; what is wrong is told, so that one run shows all.
    async fn input(&self, row: &Row, input: &Input) -> Result<(), String> {
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

    async fn series(&self) -> String {
        Client::new(&self.gateway.operations_urls()[1]).get("/metrics").send().await.expect(200).text()
    }

    async fn wire(&self, bytes: &[u8], expect: &Expect) -> Result<(), String> {
        let quiet = Duration::from_millis(expect.within);
        let heard = raw::say(&self.grpc, bytes, quiet).await;
        if !heard.closed {
            return Err(format!("the connection stays open: {:?}", cut(&heard.text)));
        }
        if heard.text.contains(&expect.says) { Ok(()) } else { Err(format!("it says {:?}", cut(&heard.text))) }
    }

    async fn sync(&self, node: &ByHand, steps: &[Step], expect: &Expect) -> Result<Option<Stream>, String> {
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

    async fn usage(&self, node: &ByHand, reports: &[Report], expect: &Expect) -> Result<(), String> {
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

    fn records(&self, of: &RecordOf, same: &[u8]) -> Vec<bytes::Bytes> {
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
    async fn newest(&self) -> Told {
        let node = ByHand::enrolled(&self.grpc, &self.token).await;
        let mut talk = node.sync().await.expect("a stream");
        talk.tell(node_message::Message::Hello(node.hello(None))).await;
        whole(&mut talk).await.expect("the catalog")
    }

    async fn fleet(&self, node: &ByHand, expected: &Map<String, Value>) -> Result<(), String> {
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
    async fn shown(&self, id: &Value) -> Value {
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
    async fn honest(&self) -> Result<(), String> {
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

    async fn quiet(&self, before: u64) -> Result<(), String> {
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

type Stream = Talk<NodeMessage, ControlMessage>;

/// The next revision, up to its commit.
async fn whole(talk: &mut Stream) -> Result<Told, Status> {
    let mut begun = None;
    loop {
        match talk.told().await? {
            control_message::Message::Begin(begin) => begun = Some(begin),
            control_message::Message::Commit(commit) => {
                return Ok(Told { begin: begun.expect("a begin before the commit"), commit });
            }
            _ => {}
        }
    }
}

fn messages(node: &ByHand, step: &Step, told: Option<&Told>, newest: &Told) -> Vec<NodeMessage> {
    let last = told.unwrap_or(newest);
    let number = |number: &Number| match number {
        Number::Of(number) => *number,
        Number::Word(word) if word == "told" => last.commit.revision,
        Number::Word(_) => last.commit.revision + 1,
    };
    let other_epoch = || Epoch::generate().to_bytes();
    let (message, times) = match step {
        Step::Hello(of) => (node_message::Message::Hello(hello(node, of, newest)), 1),
        Step::Ack(of) => {
            let rejected = proto::Rejection { id: vec![7; 16], text: "x".repeat(200), ..Default::default() };
            let ack = Ack {
                revision: number(&of.revision),
                digest: match of.digest.as_deref() {
                    None => last.commit.digest.clone(),
                    Some("none") => None,
                    Some(_) => Some(junk_digest(16)),
                },
                rejected: vec![rejected; of.rejected],
                applied_unix_ms: i64::MAX,
                epoch: of.epoch.as_ref().map_or_else(|| last.begin.epoch.clone(), |_| other_epoch()),
            };
            (node_message::Message::Ack(ack), of.times)
        }
        Step::Nack { revision } => {
            let nack = proto::Nack { revision: number(revision), reason: "x".repeat(100_000) };
            (node_message::Message::Nack(nack), 1)
        }
        Step::Heartbeat(of) => {
            let heartbeat = NodeHeartbeat {
                revision: of.revision,
                in_flight: of.all,
                config_age_ms: of.all,
                usage_backlog: of.all,
                upstreams: vec![UpstreamHealth { in_flight: of.all, ..Default::default() }; of.upstreams],
                epoch: last.begin.epoch.clone(),
                drained: false,
            };
            (node_message::Message::Heartbeat(heartbeat), of.times)
        }
        Step::Empty {} => return vec![NodeMessage { message: None }],
        Step::Told(_) => return Vec::new(),
    };
    vec![NodeMessage { message: Some(message) }; times]
}

fn hello(node: &ByHand, of: &HelloOf, newest: &Told) -> proto::Hello {
    let mut hello = node.hello(of.resume.as_ref().map(|resume| resume_of(resume, newest)));
    hello.node_id = bytes_of(of.node.as_deref(), hello.node_id, NodeId::generate().to_bytes());
    hello.boot_id = bytes_of(of.boot.as_deref(), hello.boot_id, BootId::generate().to_bytes());
    if let Some((count, length)) = of.labels {
        hello.labels =
            (0..count).map(|number| (format!("{number}{}", "ä".repeat(length)), "ö".repeat(length))).collect();
    }
    if of.build > 0 {
        hello.build = "b".repeat(of.build);
    }
    if let Some((min, max)) = of.schema {
        (hello.schema_min, hello.schema_max) = (min, max);
    }
    hello
}

fn resume_of(of: &ResumeOf, newest: &Told) -> Resume {
    Resume {
        epoch: match of.epoch.as_deref() {
            None => newest.begin.epoch.clone(),
            Some("other") => Epoch::generate().to_bytes(),
            Some(_) => vec![1, 2],
        },
        revision: newest.commit.revision.saturating_add_signed(of.ahead),
        digest: match of.digest.as_deref() {
            None => newest.commit.digest.clone(),
            Some("none") => None,
            Some("junk") => Some(junk_digest(3)),
            Some(_) => Some(junk_digest(16)),
        },
        seal: if of.seal.as_deref() == Some("true") { newest.commit.seal.clone() } else { vec![0x5e; 32] },
    }
}

fn junk_digest(length: usize) -> proto::Digest {
    proto::Digest { kinds: vec![proto::KindDigest { kind: 1, sum: vec![0xee; length] }] }
}

/// An id as it is named.
fn bytes_of(word: Option<&str>, own: Vec<u8>, other: Vec<u8>) -> Vec<u8> {
    match word {
        None | Some("own") => own,
        Some("other") => other,
        Some("empty") => Vec::new(),
        Some(_) => own[..7].to_vec(),
    }
}

/// A UUID v7 of that time.
fn id(unix_us: i64) -> Vec<u8> {
    let mut bytes = CallId::generate().to_bytes();
    bytes[..6].copy_from_slice(&(unix_us / 1_000).to_be_bytes()[2..]);
    bytes
}

fn now_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_micros()).unwrap()
}

fn fits(status: &Status, expect: &Expect) -> Result<(), String> {
    let code = format!("{:?}", status.code());
    let expected: String = expect.status.split('_').flat_map(capitalised).collect();
    if code != expected || !status.message().contains(&expect.says) {
        return Err(format!("{code} ({}) instead of {}", cut(status.message()), expect.status));
    }
    Ok(())
}

fn capitalised(word: &str) -> impl Iterator<Item = char> + '_ {
    word.chars().enumerate().map(|(at, letter)| if at == 0 { letter } else { letter.to_ascii_lowercase() })
}

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().unwrap())
}

fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect()
}

fn render(pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for piece in pieces {
        match piece {
            Piece::Text(text) => bytes.extend(text.bytes()),
            Piece::Repeat { repeat, times } => bytes.extend(repeat.repeat(*times).into_bytes()),
            Piece::Hex { hex, times } => bytes.extend(unhex(hex).repeat(*times)),
            // The same at each run.
            Piece::Random { random } => bytes.extend((0..*random).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })),
        }
    }
    bytes
}

/// One that says half a word, one that says nothing, one that says hello and never makes a call.
#[test]
fn connections_that_lead_to_nothing_end() {
    run(async {
        let gateway = Gateway::split().await;
        let play = Play::begin(&gateway).await;
        const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
        let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let mut waiting = Vec::new();
        for (bytes, within) in [
            (b"PRI * HT".to_vec(), 12),
            (Vec::new(), 12),
            (vec![0x16, 3, 1], 12),
            ([preface, SETTINGS].concat(), 23),
            (preface.to_vec(), 23),
        ] {
            for _ in 0..8 {
                let mut stream = raw::connect(&play.grpc).await;
                stream.write_all(&bytes).await.unwrap();
                waiting.push((stream, within));
            }
        }
        play.honest().await.unwrap();
        let start = Instant::now();
        let ends = waiting.into_iter().map(|(mut stream, within)| {
            tokio::spawn(async move {
                let heard = raw::listen(&mut stream, Duration::from_secs(25)).await;
                let took = start.elapsed();
                assert!(heard.closed && took < Duration::from_secs(within), "it ended after {took:?}");
            })
        });
        for end in ends {
            end.await.unwrap();
        }
        let series = play.series().await;
        for (reason, count) in [("silent", 24.0), ("stranger", 16.0)] {
            let name = format!("gatewright_node_connections_refused_total{{reason=\"{reason}\"}}");
            assert_eq!(value(&series, &name), count, "{reason}");
        }
        // Known ones stay.
        play.honest().await.unwrap();
    });
}

/// HTTP/2 by hand: a settings frame, then as many calls as fit, none of which is ever read.
fn calls(token: &str, count: u32) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in [
        (":path", "/gatewright.v1.ConfigSync/Sync"),
        (":authority", "control-plane"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", &format!("Bearer {token}")),
    ] {
        // Literal, never indexed, no Huffman code; lengths above 126 take more bytes.
        block.push(0x10);
        block.push(name.len() as u8);
        block.extend(name.bytes());
        match value.len() {
            length @ 0..127 => block.push(length as u8),
            length => block.extend([0x7f, ((length - 127) % 128) as u8 | if length >= 255 { 0x80 } else { 0 }]),
        }
        if value.len() >= 255 {
            block.push(((value.len() - 127) / 128) as u8);
        }
        block.extend(value.bytes());
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for call in 0..count {
        bytes.extend(&(block.len() as u32).to_be_bytes()[1..]);
        bytes.extend([0x01, 0x04]);
        bytes.extend((1 + 2 * call).to_be_bytes());
        bytes.extend(&block);
    }
    bytes
}

/// Frames of one type in what was heard.
fn frames(bytes: &[u8], kind: u8) -> usize {
    let (mut at, mut found) = (0, 0);
    while let Some(head) = bytes.get(at..at + 9) {
        found += usize::from(head[3] == kind);
        at += 9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    }
    found
}

#[test]
fn thousands_of_streams_on_one_connection_are_refused() {
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    run(async {
        let gateway = Gateway::split().await;
        let play = Play::begin(&gateway).await;
        let before = gateway.resident();
        let mut stream = raw::connect(&play.grpc).await;
        let bytes = calls(&play.token, 5_000);
        let (mut reader, mut writer) = stream.split();
        let mut heard = Vec::new();
        let reading = tokio::time::timeout(Duration::from_secs(3), tokio::io::copy(&mut reader, &mut heard));
        // It may be cut off in the middle.
        let (_, _) = tokio::join!(writer.write_all(&bytes), reading);
        let (refused, ended) = (frames(&heard, RST_STREAM), frames(&heard, GOAWAY));
        assert!(refused > 4_000 || ended > 0, "{refused} streams refused, {ended} ends of the connection");
        play.honest().await.unwrap();
        drop(stream);
        play.quiet(before).await.unwrap();
    });
}

/// Usage is taken in as fast as the ledger takes it: who never listens is not listened to for ever.
#[test]
fn a_node_that_never_hears_its_acknowledgements_holds_up_nobody() {
    run(async {
        let gateway = Gateway::split().await;
        let play = Play::begin(&gateway).await;
        let before = gateway.resident();
        let record = RecordOf { times: Some(200), ..RecordOf::default() };
        let mut held = Vec::new();
        for _ in 0..4 {
            let node = play.node("member").await;
            for _ in 0..4 {
                let talk = node.report().await.unwrap();
                for seq in 0..10 {
                    let records = play.records(&record, &[]);
                    let batch = UsageBatch { node_id: node.id.to_bytes(), boot_id: node.boot.to_bytes(), seq, records };
                    talk.say(batch).await;
                }
                held.push((node.clone(), talk));
            }
        }
        play.honest().await.unwrap();
        // Four are enough for one node.
        for (_, talk) in &mut held {
            talk.hear().await.unwrap().expect("an acknowledgement");
        }
        let node = &held[0].0;
        let mut fifth = node.report().await.unwrap();
        let batch =
            UsageBatch { node_id: node.id.to_bytes(), boot_id: node.boot.to_bytes(), seq: 99, records: Vec::new() };
        fifth.say(batch).await;
        assert_eq!(fifth.end().await.code(), Code::ResourceExhausted);
        play.stage.usage(1).await;
        drop(held);
        play.quiet(before).await.unwrap();
    });
}

/// What is shown of a node is not what it says but what it proved.
#[test]
fn a_second_node_cannot_take_the_place_of_another() {
    run(async {
        let gateway = Gateway::split().await;
        let play = Play::begin(&gateway).await;
        let (one, other) = (play.node("member").await, play.node("member").await);
        let mut talk = one.sync().await.unwrap();
        talk.tell(node_message::Message::Hello(one.hello(None))).await;
        let told = whole(&mut talk).await.unwrap();
        assert_eq!(told.begin.mode(), SyncMode::Full);
        let mut forged = other.sync().await.unwrap();
        forged.tell(node_message::Message::Hello(one.hello(None))).await;
        assert_eq!(forged.end().await.code(), Code::PermissionDenied);
        // The one that it is goes on.
        let ack = Ack {
            revision: told.commit.revision,
            digest: told.commit.digest.clone(),
            epoch: told.begin.epoch.clone(),
            ..Ack::default()
        };
        talk.tell(node_message::Message::Ack(ack)).await;
        eventually("its answer counts", Duration::from_secs(5), || async {
            let own = play.shown(&json!(one.id.uuid())).await;
            (own["acknowledged_revision"] == json!(told.commit.revision)).then_some(())
        })
        .await;
    });
}
