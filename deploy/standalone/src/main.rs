//! Both planes in one process: the binary `gatewright`.

mod cli;
mod demonstration;
mod introduction;
mod metrics;
mod postgres;
mod public;
mod up;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use control_plane::dialect::{LoadOptions, check, load_file};

use cli::{Cli, Command, ConfigCommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    // Before anything can open a TLS connection; fails only if something already chose one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Cli::parse().command {
        Command::Config { command: ConfigCommand::Check { file, dev } } => config_check(&file, dev),
        Command::Metrics => match metrics::write(&mut io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Command::Up(args) => match up::up(&args).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Nothing is left to tell it to when stderr is gone.
                let _ = writeln!(io::stderr(), "gatewright: {}", with_causes(&error));
                ExitCode::from(error.exit_code())
            }
        },
    }
}

fn config_check(file: &Path, dev: bool) -> ExitCode {
    let outcome = load_file(file, &LoadOptions::of_process(dev));
    match check::write_report(&mut io::stdout().lock(), &outcome) {
        Ok(code) => ExitCode::from(code),
        // The reader went away, as `| head` does.
        Err(_) => ExitCode::FAILURE,
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
