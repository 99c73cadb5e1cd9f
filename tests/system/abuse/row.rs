//! The form of a row, and of the bytes in it.

use harness::stage::Stage;
use serde::Deserialize;

/// What one row of the table says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub id: String,
    /// What the row stands for.
    pub title: String,
    /// What all its inputs share.
    #[serde(default)]
    pub send: Send,
    pub inputs: Vec<Send>,
    pub expect: Expect,
}

/// One input. Either `raw`, the bytes on the wire, or a request.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Send {
    pub raw: Option<Text>,
    /// The client leaves as soon as it has said its raw bytes.
    #[serde(default)]
    pub leaves: bool,
    pub method: Option<String>,
    pub path: Option<Text>,
    /// `caller` (the default), `operator`, `nobody`, or a key as it stands.
    #[serde(rename = "as")]
    pub who: Option<Text>,
    #[serde(default)]
    pub headers: Vec<(String, Text)>,
    pub body: Option<Text>,
    /// The upstream refuses with this status.
    pub refused_with: Option<u16>,
    /// Another expectation for this input alone.
    pub expect: Option<Expect>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Text {
    One(String),
    Many(Vec<Piece>),
}

#[derive(Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Piece {
    Text(String),
    Repeat { repeat: String, times: usize },
    Members { members: usize },
    Colliding { colliding: usize },
    Sized { sized: Vec<Piece> },
    Hex { hex: String },
}

/// What an input must get.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// Any of these; 0 is a connection without an answer of HTTP/1.
    pub status: Vec<u16>,
    pub r#type: Option<String>,
    pub code: Option<String>,
    pub param: Option<String>,
    /// Exactly so many calls upstream; none unless said.
    #[serde(default)]
    pub upstream: usize,
    /// Exactly so many calls in the ledger of usage; none unless said.
    #[serde(default)]
    pub usage: i64,
    /// The connection is closed after the answer.
    #[serde(default)]
    pub closed: bool,
    /// The stream, or the connection, of HTTP/2 ends with an error.
    #[serde(default)]
    pub reset: bool,
    /// Headers that must be there, with this text in them.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The answer comes within so many milliseconds from an optimized build.
    pub within_ms: Option<u32>,
    /// Words that must not be in the answer or in any log.
    #[serde(default)]
    pub never: Vec<String>,
    /// What the upstream got as body, byte for byte, is what was sent but for the model's name.
    #[serde(default)]
    pub verbatim: bool,
}

impl Send {
    /// Whether the operator says it.
    pub(super) fn is_operators(&self, shared: &Self) -> bool {
        matches!(self.who.as_ref().or(shared.who.as_ref()), Some(Text::One(who)) if who == "operator")
    }
}

/// Where and as whom an input is played.
pub(super) struct Scene<'a> {
    pub stage: &'a Stage<'a>,
    /// A key for this input alone, so that the ledger tells what came of it.
    pub key: &'a str,
    /// An address that nothing may ever connect to.
    pub trap: &'a str,
}

impl Text {
    pub(super) fn render(&self, scene: &Scene<'_>) -> Vec<u8> {
        match self {
            Self::One(text) => scene.fill(text).into_bytes(),
            Self::Many(pieces) => scene.join(pieces),
        }
    }
}

impl Scene<'_> {
    fn fill(&self, text: &str) -> String {
        let stage = self.stage;
        text.replace("{router}", &stage.router)
            .replace("{key}", self.key)
            .replace("{master}", stage.gateway.master_key())
            .replace("{host}", stage.gateway.inference_url().trim_start_matches("http://"))
            .replace("{trap}", self.trap)
            .replace("{user_id}", &stage.user_id.to_string())
            .replace("{provider_id}", &stage.provider_id.to_string())
    }

    fn join(&self, pieces: &[Piece]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => bytes.extend(self.fill(text).into_bytes()),
                Piece::Repeat { repeat, times } => bytes.extend(repeat.repeat(*times).into_bytes()),
                Piece::Members { members } => bytes.extend(object((0..*members).map(|number| format!("k{number}")))),
                Piece::Colliding { colliding } => bytes.extend(object((0..*colliding).map(equal_hash))),
                Piece::Sized { sized } => {
                    let body = self.join(sized);
                    bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
                    bytes.extend(body);
                }
                Piece::Hex { hex } => {
                    bytes.extend((0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()))
                }
            }
        }
        bytes
    }
}

/// The inside of an object with these names.
fn object(names: impl Iterator<Item = String>) -> Vec<u8> {
    names.map(|name| format!("\"{name}\":0")).collect::<Vec<_>>().join(",").into_bytes()
}

/// Different names with one hash, for hashes that multiply by 31 and add.
fn equal_hash(number: usize) -> String {
    (0..20).map(|bit| if number >> bit & 1 == 0 { "Aa" } else { "BB" }).collect()
}
