//! What a node says, made of a row: each message may lie in any of its fields.

use harness::by_hand::{ByHand, Talk};
use shared::kernel::ids::{BootId, CallId, Epoch, NodeId};
use shared::proto::{
    self, Ack, Begin, Commit, ControlMessage, NodeHeartbeat, NodeMessage, Resume, UpstreamHealth, control_message,
    node_message,
};
use tonic::Status;

use super::row::{HelloOf, Number, Piece, ResumeOf, Step};

/// The newest revision as an honest node is told it.
pub(super) struct Told {
    pub(super) begin: Begin,
    pub(super) commit: Commit,
}

pub(super) type Stream = Talk<NodeMessage, ControlMessage>;

/// The next revision, up to its commit.
pub(super) async fn whole(talk: &mut Stream) -> Result<Told, Status> {
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

pub(super) fn messages(node: &ByHand, step: &Step, told: Option<&Told>, newest: &Told) -> Vec<NodeMessage> {
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

pub(super) fn hello(node: &ByHand, of: &HelloOf, newest: &Told) -> proto::Hello {
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

pub(super) fn resume_of(of: &ResumeOf, newest: &Told) -> Resume {
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

pub(super) fn junk_digest(length: usize) -> proto::Digest {
    proto::Digest { kinds: vec![proto::KindDigest { kind: 1, sum: vec![0xee; length] }] }
}

/// An id as it is named.
pub(super) fn bytes_of(word: Option<&str>, own: Vec<u8>, other: Vec<u8>) -> Vec<u8> {
    match word {
        None | Some("own") => own,
        Some("other") => other,
        Some("empty") => Vec::new(),
        Some(_) => own[..7].to_vec(),
    }
}

/// A UUID v7 of that time.
pub(super) fn id(unix_us: i64) -> Vec<u8> {
    let mut bytes = CallId::generate().to_bytes();
    bytes[..6].copy_from_slice(&(unix_us / 1_000).to_be_bytes()[2..]);
    bytes
}

pub(super) fn now_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_micros()).unwrap()
}

pub(super) fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect()
}

pub(super) fn render(pieces: &[Piece]) -> Vec<u8> {
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
