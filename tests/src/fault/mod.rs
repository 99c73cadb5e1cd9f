//! The fault bench: a gateway under constant load, faults that are written down in files, and a checker of what must hold.
//!
//! A [`scenario::Scenario`] is a file in `tests/scenarios`. [`run::play`] sets its [`scene::Scene`] up: a scripted
//! upstream, a control plane, data planes, Postgres, and a [`proxy::TcpFaultProxy`] on every link between two of them.
//! The [`load`] then calls at a constant rate without ever trying again, while the steps of the scenario happen. In the
//! end everything is mended, and the [`checker`] holds what clients saw against the ledger, the upstream's log, the
//! metrics and the files.

pub mod checker;
pub mod clock;
pub mod evidence;
mod gather;
pub mod load;
pub mod proxy;
pub mod run;
pub mod scenario;
pub mod scene;
pub mod server;
pub mod watch;

#[cfg(test)]
mod tests;
