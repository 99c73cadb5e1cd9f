//! Records onto the wire, straight from what they hold: each call writes two, so no message is built in between.
//!
//! The form is that of Protocol Buffers (<https://protobuf.dev/programming-guides/encoding/>), fields in the order of their
//! numbers; a test holds it against what the generated code writes.

use std::time::Duration;

use super::{Attempt, LeaseDraw, UsageRecord, outcome_to_wire, phase_to_wire};
use crate::catalog::FaultKind;
use crate::kernel::ids::{CallId, OrganizationId, ProjectId, RouterId, UserId, VirtualKeyId};

/// Enough for a common record.
const COMMON: usize = 512;

impl UsageRecord {
    /// The record as a `UsageRecord` message of the protocol.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Message(Vec::with_capacity(COMMON));
        out.bytes(1, self.id.uuid().as_bytes());
        out.signed(2, self.started.unix_micros());
        out.number(3, micros(self.latency));
        out.known(4, self.time_to_first_token.map(micros));
        out.text(5, &self.request_id);
        out.text(6, &self.trace_id);
        out.text(7, &self.endpoint);
        out.text(8, &self.method);
        out.number(9, u64::from(self.streamed));
        out.number(10, u64::from(self.status));
        out.word(11, outcome_to_wire(self.outcome) as i32);
        out.text(12, self.fault.map_or("", FaultKind::as_str));
        out.word(13, phase_to_wire(self.phase) as i32);
        out.id(14, self.parent.map(CallId::uuid));
        out.id(20, self.key.map(VirtualKeyId::uuid));
        out.text(21, &self.key_name);
        out.id(22, self.user.map(UserId::uuid));
        out.text(23, &self.user_email);
        out.id(24, self.organization.map(OrganizationId::uuid));
        out.id(25, self.project.map(ProjectId::uuid));
        out.text(30, &self.requested);
        out.id(31, self.router.map(RouterId::uuid));
        out.text(32, &self.router_name);
        for attempt in &self.attempts {
            out.message(33, |out| out.attempt(attempt));
        }
        out.known(40, self.tokens.prompt);
        out.known(41, self.tokens.completion);
        out.known(42, self.tokens.cached);
        out.known(43, self.tokens.reasoning);
        out.number(44, u64::from(self.estimated));
        out.signed(45, self.cost.billionths());
        out.number(46, self.price_revision);
        for LeaseDraw { lease, amount } in &self.leases {
            out.message(47, |out| {
                out.bytes(1, lease.as_bytes());
                out.signed(2, *amount);
            });
        }
        out.double(48, self.energy_kwh);
        out.double(49, self.carbon_kg_co2eq);
        out.number(50, self.config_revision);
        out.number(51, self.count);
        out.0
    }
}

/// A message being written. A value that is the default of its type is left out, as the protocol has it.
struct Message(Vec<u8>);

/// How the value of a field is told.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Delimited = 2,
}

impl Message {
    fn attempt(&mut self, attempt: &Attempt) {
        self.bytes(1, attempt.provider.uuid().as_bytes());
        self.text(2, &attempt.upstream_model);
        self.signed(3, attempt.started.unix_micros());
        self.number(4, micros(attempt.latency));
        self.number(5, attempt.status.map_or(0, u64::from));
        self.text(6, attempt.fault.map_or("", FaultKind::as_str));
        self.text(7, attempt.provider_kind.as_str());
    }

    fn key(&mut self, field: u32, wire: Wire) {
        self.varint(u64::from(field << 3 | wire as u32));
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.key(field, Wire::Delimited);
            self.varint(value.len() as u64);
            self.0.extend_from_slice(value);
        }
    }

    fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    fn id(&mut self, field: u32, value: Option<uuid::Uuid>) {
        if let Some(value) = value {
            self.bytes(field, value.as_bytes());
        }
    }

    fn number(&mut self, field: u32, value: u64) {
        self.known(field, Some(value).filter(|value| *value != 0));
    }

    /// Negative numbers are told as their two's complement.
    fn signed(&mut self, field: u32, value: i64) {
        self.number(field, value.cast_unsigned());
    }

    fn word(&mut self, field: u32, value: i32) {
        self.signed(field, i64::from(value));
    }

    /// A number that tells zero from nothing.
    fn known(&mut self, field: u32, value: Option<u64>) {
        if let Some(value) = value {
            self.key(field, Wire::Varint);
            self.varint(value);
        }
    }

    fn double(&mut self, field: u32, value: Option<f64>) {
        if let Some(value) = value {
            self.key(field, Wire::Fixed64);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn message(&mut self, field: u32, fill: impl FnOnce(&mut Self)) {
        self.key(field, Wire::Delimited);
        let place = self.0.len();
        fill(self);
        let length = self.0.len() - place;
        self.varint(length as u64);
        // The length is known last and stands first.
        let width = self.0.len() - place - length;
        if let Some(whole) = self.0.get_mut(place..) {
            whole.rotate_right(width);
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use prost::Message as _;

    use crate::proto;
    use crate::usage::UsageRecord;

    /// Every field is there and none has its default value.
    fn full() -> proto::UsageRecord {
        let id = |byte: u8| vec![byte; 16];
        let attempt = |model: String| proto::Attempt {
            provider_id: id(7),
            upstream_model: model,
            started_unix_us: 1_790_000_000_000_001,
            latency_us: 300,
            status: 502,
            fault: "upstream_error".into(),
            provider_kind: "vllm".into(),
        };
        proto::UsageRecord {
            id: id(1),
            started_unix_us: -1_790_000_000_000_000,
            latency_us: u64::from(u32::MAX) * 2,
            time_to_first_token_us: Some(0),
            request_id: "req-1".into(),
            trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
            endpoint: "/v1/chat/completions".into(),
            method: "POST".into(),
            streamed: true,
            status: 200,
            outcome: proto::Outcome::Interrupted as i32,
            fault: "timeout".into(),
            phase: proto::UsagePhase::Step as i32,
            parent: id(2),
            key_id: id(3),
            key_name: "ci".into(),
            user_id: id(4),
            user_email: "ada@example.org".into(),
            organization_id: id(5),
            project_id: id(6),
            requested: "é".into(),
            router_id: id(8),
            router_name: "large".into(),
            attempts: vec![attempt("m".into()), attempt("long".repeat(5_000))],
            prompt_tokens: Some(0),
            completion_tokens: Some(128),
            cached_tokens: Some(u64::MAX),
            reasoning_tokens: Some(1),
            estimated: true,
            cost_billionths: -5,
            price_revision: 4,
            leases: vec![proto::LeaseDraw { lease_id: id(9), amount: -1 }],
            energy_kwh: Some(1e-6),
            carbon_kg_co2eq: Some(0.0),
            config_revision: 9,
            count: 3,
        }
    }

    #[test]
    fn what_is_written_is_what_the_protocol_has() {
        let bare = proto::UsageRecord {
            id: vec![1; 16],
            outcome: proto::Outcome::Refused as i32,
            phase: proto::UsagePhase::Final as i32,
            count: 1,
            ..proto::UsageRecord::default()
        };
        for message in [full(), bare] {
            let record = UsageRecord::try_from(message.clone()).unwrap();
            assert_eq!(record.encode(), message.encode_to_vec());
        }
    }
}
