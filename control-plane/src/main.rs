//! The control plane as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use control_plane::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    // Before anything can open a TLS connection; fails only if something already chose one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Cli::parse().execute().await
}
