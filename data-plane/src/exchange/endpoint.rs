//! What an endpoint is to the exchange: how to read its requests, and how to dress its answers.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use shared::catalog::{Compatibility, RouterKind};
use shared::kernel::money::Amount;
use shared::kernel::tokens::TokenUsage;

use super::fault::Fault;
pub(crate) use crate::meter::carbon::Impact;
use crate::scan::multipart::Part;
use crate::translate::{Operation, UsageWish, Wording};
use crate::upstream::form::Form;

/// One endpoint of the inference surface.
pub(crate) struct Endpoint {
    /// Its path, also its name in records and metrics.
    pub(crate) path: &'static str,
    /// What it does.
    pub(crate) operation: Operation,
    /// Kinds of router that can do it; the first is named in messages.
    pub(crate) serves: &'static [RouterKind],
    /// What its requests come as, and how they are read.
    pub(crate) takes: Takes,
    /// How answers are dressed for clients of OpenGateLLM.
    pub(crate) opengatellm: &'static dyn Renderer,
}

impl Endpoint {
    /// How answers are dressed for a profile; absent where the upstream's bytes are passed on.
    pub(crate) fn renderer(&self, profile: Compatibility) -> Option<&'static dyn Renderer> {
        match profile {
            Compatibility::Native => None,
            Compatibility::OpenGateLlm => Some(self.opengatellm),
        }
    }
}

/// What requests come as.
#[derive(Clone, Copy)]
pub(crate) enum Takes {
    /// JSON, held in memory.
    Json(fn(&Bytes) -> Result<Call, Box<Fault>>),
    /// A form, whose files may be too large for memory.
    Form(FormReader),
}

/// Tells what is asked by the fields that have come; nothing when they do not tell it yet.
pub(crate) type Opening = fn(&[Part]) -> Result<Option<Call>, Box<Fault>>;

/// How a form is read.
#[derive(Clone, Copy)]
pub(crate) struct FormReader {
    /// What is asked, as far as the fields before a file tell it.
    pub(crate) opening: Opening,
    /// What is asked, once all fields are known.
    pub(crate) whole: fn(&[Part]) -> Result<Call, Box<Fault>>,
}

/// A request's body, kept until the call is over.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// JSON.
    Json(Bytes),
    /// A form, of which the rest may still be coming.
    Form(Arc<Form>),
}

impl Payload {
    /// Its JSON; nothing for a form.
    pub(crate) fn json(&self) -> Bytes {
        match self {
            Self::Json(bytes) => bytes.clone(),
            Self::Form(_) => Bytes::new(),
        }
    }
}

/// What a request asks, as far as the gateway must know.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The name asked for.
    pub(crate) requested: String,
    /// Where the value of `model` lies in the body.
    pub(crate) place: Range<usize>,
    /// For a streamed answer: where the wish for usage stands.
    pub(crate) streamed: Option<UsageWish>,
    /// Which words it uses.
    pub(crate) wording: Wording,
    /// Whether a whole answer is text instead of JSON.
    pub(crate) as_text: bool,
}

impl Call {
    /// A call whose answer is whole JSON, asked for in common words.
    pub(crate) const fn plain(requested: String, place: Range<usize>) -> Self {
        Self { requested, place, streamed: None, wording: Wording::Common, as_text: false }
    }
}

/// What a renderer may tell of a call.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// An id of ours, the same in every chunk.
    pub(crate) id: String,
    /// The router's name.
    pub(crate) router: String,
    /// When the answer began, in Unix seconds.
    pub(crate) created: i64,
    /// Tokens used; complete at the end alone.
    pub(crate) tokens: TokenUsage,
    /// What they cost.
    pub(crate) cost: Amount,
    /// What the answer cost the climate, where that can be estimated.
    pub(crate) impact: Option<Impact>,
}

/// Dresses answers for a profile that does not pass the upstream's bytes on.
pub(crate) trait Renderer: Sync {
    /// A whole answer.
    fn whole(&self, facts: &Facts, body: &Bytes) -> Bytes;

    /// One event of a stream, appended to what leaves.
    fn event(&self, facts: &Facts, data: &[u8], out: &mut BytesMut);

    /// What ends a stream.
    fn closing(&self, facts: &Facts, out: &mut BytesMut);
}
