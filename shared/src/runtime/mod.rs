//! The only room of `shared` with I/O.
//!
//! Everything a process needs around its real work, the same for both planes: the files it starts with, the sockets it
//! listens on, what it tells about itself, and how it ends. No room here knows what a router or a key is.
//!
//! | file | holds |
//! |---|---|
//! | [`yaml`] | text → a tree with positions, variables resolved; the only speaker to the YAML crate |
//! | [`listen`] | the accept loop, with the time and size limits that a public port needs |
//! | [`edge`] | path prefix, trusted proxies and origins of a public port |
//! | [`tls`] | certificates, taken anew when their files change |
//! | [`public`] | the flags and settings of a public port |
//! | [`outbound`] | whom upstreams must convince, and what they are shown |
//! | [`shutdown`] | the end of a process, phase by phase |
//! | [`readiness`] | named conditions that decide `/readyz` |
//! | [`operations`] | `/livez`, `/readyz`, `/metrics` |
//! | [`logs`], [`metrics`] | what is told outside, over bounded queues |
//! | [`telemetry`] | traces over OTLP and error reports, likewise |
//! | [`secrets_dir`] | root secrets as files of mode 0600 |
//! | [`words`] | values of flags that more than one command line has |

pub mod edge;
pub mod listen;
mod log_lines;
pub mod logs;
pub mod metrics;
pub mod operations;
pub mod outbound;
pub mod public;
pub mod readiness;
pub mod secrets_dir;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod words;
pub mod yaml;
