//! The words of the command line; each flag has a `GATEWRIGHT_…` variable of the same name.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chrono::SecondsFormat;
use clap::{Parser, Subcommand};
use shared::runtime::logs::{LogError, LogSettings, Logs};
use shared::runtime::words::duration;
use uuid::Uuid;

use crate::app::{StartError, connect, run};
use crate::config::{ConfigError, DatabaseArgs, ServeArgs, ServeConfig, database_of, settings_of};
use crate::fleet::{JoinTokens, NewJoinToken};
use crate::store::Actor;
use crate::store::join_tokens::JoinTokenRow;

/// The exit code of a configuration that cannot be started with.
const EXIT_CONFIGURATION: u8 = 2;
/// The most tokens that are printed.
const LISTED: i64 = 1_000;

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
        command: JoinTokenCommand,
    },
}

#[derive(Debug, Subcommand)]
enum JoinTokenCommand {
    /// Make a join token and print it; it is not shown again.
    Create {
        /// To tell it from others.
        #[arg(long)]
        name: String,
        /// The Group that its nodes belong to.
        #[arg(long, default_value = crate::fleet::DEFAULT_GROUP)]
        group: String,
        /// How long it lets nodes in, such as 90s, 12h or 30d.
        #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration)]
        expires: Duration,
        /// Let in one node alone.
        #[arg(long)]
        single_use: bool,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Print the newest join tokens, without what they are shown by.
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Take a join token back: it lets nobody in from now on.
    Revoke {
        /// Its id, from `join-token list`.
        id: Uuid,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

impl Cli {
    /// Does what was asked, and tells how it went.
    pub async fn execute(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(args) => serve(&args).await,
            Command::Migrate(args) => migrate(&args).await,
            Command::JoinToken { command } => join_token(command).await,
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

async fn join_token(command: JoinTokenCommand) -> anyhow::Result<()> {
    let _logs = Logs::init(&LogSettings::default())?;
    let (JoinTokenCommand::Create { database, .. }
    | JoinTokenCommand::List { database }
    | JoinTokenCommand::Revoke { database, .. }) = &command;
    let store = connect(&database_of(database)?).await?;
    store.migrate().await.map_err(StartError::from)?;
    let (tokens, actor) = (JoinTokens::new(store.clone()), Actor::system("command line"));
    let mut out = io::stdout();
    match command {
        JoinTokenCommand::Create { name, group, expires, single_use, .. } => {
            let new = NewJoinToken { name, group, single_use, lifetime: expires };
            let (_, text) = tokens.create(actor, &new).await?;
            writeln!(out, "{}", text.expose()).context("printing the token")?;
            if !text.expose().contains('.') {
                tracing::warn!(
                    "no control plane has run on this database yet, so the token names no authority: it is good without TLS alone"
                );
            }
        }
        JoinTokenCommand::List { .. } => {
            for row in tokens.list(0, LISTED).await?.1 {
                writeln!(out, "{}", listed(&row)).context("printing the tokens")?;
            }
        }
        JoinTokenCommand::Revoke { id, .. } => {
            let row = tokens.revoke(actor, id).await?.with_context(|| format!("there is no join token {id}"))?;
            writeln!(out, "{}", listed(&row)).context("printing the token")?;
        }
    }
    store.close().await;
    Ok(())
}

/// Id, name, Group, use and state, with tabs between them.
fn listed(row: &JoinTokenRow) -> String {
    let state = match row.revoked {
        Some(at) => format!("revoked {}", at.to_rfc3339_opts(SecondsFormat::Secs, true)),
        None => format!("expires {}", row.expires.to_rfc3339_opts(SecondsFormat::Secs, true)),
    };
    let uses = match (row.single_use, row.used.is_some()) {
        (true, true) => "one node, used",
        (true, false) => "one node",
        (false, _) => "any node",
    };
    format!("{}\t{}\t{}\t{uses}\t{state}", row.id, row.name, row.node_group)
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
