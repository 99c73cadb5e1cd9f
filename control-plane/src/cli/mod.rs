//! The words of the command line; each flag has a `GATEWRIGHT_…` variable of the same name.

mod candidates;
mod join_tokens;
mod revisions;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::runtime::logs::{LogError, LogSettings, Logs};
use shared::runtime::outbound::OutboundSettings;

use crate::app::{StartError, connect, run};
use crate::config::{ConfigError, DatabaseArgs, ServeArgs, ServeConfig, database_of, settings_of};

/// The exit code of a configuration that cannot be started with.
const EXIT_CONFIGURATION: u8 = 2;

/// The stateful plane of Gatewright.
#[derive(Debug, Parser)]
#[command(name = "gatewright-control-plane", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve operators, users and data planes.
    Serve(Box<ServeArgs>),
    /// Bring the database schema up to date and end.
    Migrate(DatabaseArgs),
    /// Work with join tokens, which let data planes in.
    JoinToken {
        #[command(subcommand)]
        command: join_tokens::Command,
    },
    /// Look back over the catalog, and take revisions back.
    Revisions {
        #[command(subcommand)]
        command: revisions::Command,
    },
    /// Work with candidates: changes that some data planes are told first.
    Candidates {
        #[command(subcommand)]
        command: candidates::Command,
    },
}

impl Cli {
    /// Does what was asked, and tells how it went.
    pub async fn execute(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(args) => serve(&args).await,
            Command::Migrate(args) => migrate(&args).await,
            Command::JoinToken { command } => join_tokens::run(command).await,
            Command::Revisions { command } => revisions::run(command).await,
            Command::Candidates { command } => candidates::run(command).await,
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Nothing is left to tell it to when stderr is gone.
                let _ = writeln!(io::stderr(), "gatewright-control-plane: {}", told(&error));
                ExitCode::from(if is_configuration(&error) { EXIT_CONFIGURATION } else { 1 })
            }
        }
    }
}

/// The error with its causes; a cause that the text before it tells already is left out.
fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.contains(&cause) => text,
        cause if text.is_empty() => cause,
        cause => format!("{text}: {cause}"),
    })
}

/// Whether changing the configuration is what helps.
fn is_configuration(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ConfigError>().is_some()
        || error.downcast_ref::<LogError>().is_some()
        || error.downcast_ref::<StartError>().is_some_and(StartError::is_configuration)
}

async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let serve = ServeConfig::resolve(args)?;
    let _logs = Logs::init(&args.logs.over(settings_of(serve.config.file.as_ref()).logs)?)?;
    if args.dev {
        tracing::warn!("--dev: weak and default secrets are accepted; anybody who knows them has every right");
    }
    if args.insecure {
        tracing::warn!("--insecure: data planes that do not speak TLS are let in by their join token alone");
    }
    for finding in serve.config.file.iter().flat_map(|file| file.findings.without_effect()) {
        tracing::warn!(target: "configuration", "{finding}");
    }
    if serve.config.settings().outbound != OutboundSettings::default() {
        tracing::warn!(
            target: "configuration",
            "settings.egress: has no effect here, because data planes call the upstreams: give them --upstream-ca-bundle, \
             --upstream-client-certificate and --upstream-client-key"
        );
    }
    run(serve, |ready| {
        let mut out = io::stdout();
        writeln!(out, "{ready}").and_then(|()| out.flush())
    })
    .await?;
    Ok(())
}

async fn migrate(args: &DatabaseArgs) -> anyhow::Result<()> {
    let _logs = Logs::init(&LogSettings::default())?;
    let store = connect(&database_of(args)?).await?;
    store.migrate().await.map_err(StartError::from)?;
    store.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
