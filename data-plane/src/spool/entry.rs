//! What a frame holds: a call begins, a call ends, a call did not begin after all, a batch is acknowledged.

use prost::Message;
use shared::kernel::ids::{BootId, CallId};
use shared::proto;
use shared::usage::UsageRecord;
use uuid::Uuid;

use super::frame::{self, MAX_BODY};

const OPEN: u8 = 1;
const CLOSE: u8 = 2;
const VOID: u8 = 3;
const ACKNOWLEDGED: u8 = 4;

/// Above this, texts of a record are cut to what the ledger keeps of them.
const LARGE: usize = 16 * 1024;
/// Characters of a text that the ledger keeps.
const MAX_TEXT: usize = 1024;
/// Attempts and draws that a record which is still too large keeps.
const FEW: usize = 64;

/// One entry, its record still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// A call was admitted, or more of it is known: the record it has if nothing more is heard of it.
    Open(&'a [u8]),
    /// A record, with its number within the boot.
    Close { ordinal: u64, record: &'a [u8] },
    /// A call whose open entry could not be made durable in time was refused.
    Void(CallId),
    /// Everything of a boot up to this number is with the control plane.
    Acknowledged { boot: BootId, seq: u64 },
}

impl<'a> Entry<'a> {
    /// Reads the body of a frame; an entry of an unknown kind is none.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let (kind, rest) = body.split_first()?;
        match *kind {
            OPEN => Some(Self::Open(rest)),
            CLOSE => {
                let (ordinal, record) = rest.split_first_chunk()?;
                Some(Self::Close { ordinal: u64::from_le_bytes(*ordinal), record })
            }
            VOID => Some(Self::Void(CallId::from_bytes(rest).ok()?)),
            ACKNOWLEDGED => {
                let (boot, seq) = rest.split_first_chunk::<16>()?;
                let seq = u64::from_le_bytes(seq.try_into().ok()?);
                Some(Self::Acknowledged { boot: BootId::from_uuid(Uuid::from_bytes(*boot)), seq })
            }
            _ => None,
        }
    }

    /// Appends it as a frame.
    pub(super) fn append(self, buffer: &mut Vec<u8>) {
        frame::append(buffer, |buffer| match self {
            Self::Open(record) => {
                buffer.push(OPEN);
                buffer.extend_from_slice(record);
            }
            Self::Close { ordinal, record } => {
                buffer.push(CLOSE);
                buffer.extend_from_slice(&ordinal.to_le_bytes());
                buffer.extend_from_slice(record);
            }
            Self::Void(call) => {
                buffer.push(VOID);
                buffer.extend_from_slice(call.uuid().as_bytes());
            }
            Self::Acknowledged { boot, seq } => {
                buffer.push(ACKNOWLEDGED);
                buffer.extend_from_slice(boot.uuid().as_bytes());
                buffer.extend_from_slice(&seq.to_le_bytes());
            }
        });
    }
}

/// Encodes a record so that it fits into a frame, whatever names a client has thought of.
pub(super) fn encode(record: &UsageRecord) -> Vec<u8> {
    let bytes = record.encode();
    if bytes.len() > LARGE { cut(record.clone()).encode() } else { bytes }
}

/// Cuts what makes a record large.
fn cut(mut record: UsageRecord) -> UsageRecord {
    for text in record.texts_mut() {
        if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
            text.truncate(end);
        }
    }
    if record.encode().len() > MAX_BODY / 2 {
        record.attempts.truncate(FEW);
        record.leases.truncate(FEW);
    }
    record
}

/// Decodes a record; one without a call id is none.
pub(super) fn decode(bytes: &[u8]) -> Option<(CallId, proto::UsageRecord)> {
    let record = proto::UsageRecord::decode(bytes).ok()?;
    Some((CallId::from_bytes(&record.id).ok()?, record))
}
