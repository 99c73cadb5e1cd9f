//! The words of `tests/abuse/grpc.json`.

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) title: String,
    /// `member` shows its certificate, `joined` a join token, `nobody` nothing, `stranger` a token that nobody made.
    #[serde(rename = "as", default = "member")]
    pub(super) who: String,
    pub(super) inputs: Vec<Input>,
    pub(super) expect: Expect,
}

fn member() -> String {
    "member".to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Input {
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
pub(super) enum Piece {
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
pub(super) enum Step {
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
pub(super) enum Number {
    Of(u64),
    /// `told`, `told+1`.
    Word(String),
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HelloOf {
    /// `own`, `other`, `short`.
    pub(super) node: Option<String>,
    pub(super) boot: Option<String>,
    /// How many, and of how many characters.
    pub(super) labels: Option<(usize, usize)>,
    pub(super) build: usize,
    pub(super) schema: Option<(u32, u32)>,
    pub(super) resume: Option<ResumeOf>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ResumeOf {
    /// Beside the newest.
    pub(super) ahead: i64,
    /// `other`, `short`.
    pub(super) epoch: Option<String>,
    /// `wrong`, `none`, `junk`.
    pub(super) digest: Option<String>,
    /// `true`, else a forged one.
    pub(super) seal: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AckOf {
    pub(super) revision: Number,
    pub(super) epoch: Option<String>,
    pub(super) digest: Option<String>,
    #[serde(default)]
    pub(super) rejected: usize,
    #[serde(default = "once")]
    pub(super) times: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeartbeatOf {
    pub(super) revision: u64,
    #[serde(default)]
    pub(super) all: u64,
    #[serde(default)]
    pub(super) upstreams: usize,
    #[serde(default = "once")]
    pub(super) times: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    pub(super) node: Option<String>,
    pub(super) boot: Option<String>,
    pub(super) seq: u64,
    pub(super) records: Vec<RecordOf>,
}

/// A good record but for what is named.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RecordOf {
    pub(super) times: Option<usize>,
    /// Bytes that are no record.
    pub(super) garbage: Option<String>,
    /// `same`, `v4`, `short`, `past`, `future`.
    pub(super) id: Option<String>,
    /// `unknown`, `short`, `none`.
    pub(super) key: Option<String>,
    /// Microseconds from now.
    pub(super) started: i64,
    pub(super) tokens: Option<u64>,
    pub(super) cost: i64,
    pub(super) latency: u64,
    pub(super) status: Option<u32>,
    pub(super) count: Option<u64>,
    pub(super) attempts: usize,
    pub(super) name: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// The name of a status code; `OPEN`: the call goes on; `CLOSED`: the connection ends.
    pub(super) status: String,
    /// Part of what is said with it.
    #[serde(default)]
    pub(super) says: String,
    /// What is acknowledged.
    #[serde(default)]
    pub(super) acks: Vec<u64>,
    /// Records of the node that are in the ledger in the end.
    pub(super) stored: Option<i64>,
    /// Series of the control plane that grew by so much.
    #[serde(default)]
    pub(super) counts: Vec<(String, f64)>,
    /// What operators see of the node.
    #[serde(default)]
    pub(super) fleet: Map<String, Value>,
    /// Milliseconds until the answer.
    #[serde(default = "soon")]
    pub(super) within: u64,
}

const fn soon() -> u64 {
    5_000
}
