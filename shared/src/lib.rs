//! What both planes of Gatewright must agree on.
//!
//! | room | holds | may import |
//! |---|---|---|
//! | [`kernel`] | ids, money, secrets, time: words without behaviour of their own | nothing here |
//! | [`catalog`] | the operators' nouns as pure data, with their pure rules | `kernel` |
//! | [`proto`] | generated protocol code | nothing here |
//! | [`wire`] | catalog ↔ protobuf: strict out, lenient in, rejecting one resource at a time | `kernel`, `catalog`, `proto` |
//! | [`usage`] | the record of one metered call | `kernel`, `catalog`, `proto` |
//! | [`document`] | what the API documents of both planes have in common | `catalog` |
//! | [`runtime`] | the only room with I/O: listeners, logs, metrics, files | `kernel` |
//!
//! Never in here: SQL, business decisions, anything that only one plane needs.

pub mod catalog;
pub mod document;
pub mod kernel;
pub mod proto;
pub mod runtime;
pub mod usage;
pub mod wire;
