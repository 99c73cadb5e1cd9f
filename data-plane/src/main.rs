//! The data plane as a process of its own.

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::Parser;
use data_plane::app::run;
use data_plane::config::Args;

/// Chosen by measurement: many small objects that live as long as a call.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    // Before anything can open a TLS connection; fails only if something already chose one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Err(error) = run(Args::parse()).await else { return ExitCode::SUCCESS };
    let exit = if error.is_configuration() { 2 } else { 1 };
    let _ = writeln!(stderr(), "gatewright-data-plane: {:#}", anyhow::Error::from(error));
    ExitCode::from(exit)
}
