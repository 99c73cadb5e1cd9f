//! `gatewright-control-plane join-token`: lets data planes in from the command line.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use chrono::SecondsFormat;
use clap::Subcommand;
use shared::runtime::logs::{LogSettings, Logs};
use shared::runtime::words::duration;
use uuid::Uuid;

use crate::app::{StartError, connect};
use crate::config::{DatabaseArgs, database_of};
use crate::fleet::{JoinTokens, NewJoinToken};
use crate::store::Actor;
use crate::store::join_tokens::JoinTokenRow;

/// The most tokens that are printed.
const LISTED: i64 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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

/// Does what was asked, on the database itself.
pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    let _logs = Logs::init(&LogSettings::default())?;
    let (Command::Create { database, .. } | Command::List { database } | Command::Revoke { database, .. }) = &command;
    let store = connect(&database_of(database)?).await?;
    store.migrate().await.map_err(StartError::from)?;
    let (tokens, actor) = (JoinTokens::new(store.clone()), Actor::system("command line"));
    let mut out = io::stdout();
    match command {
        Command::Create { name, group, expires, single_use, .. } => {
            let new = NewJoinToken { name, group, single_use, lifetime: expires };
            let (_, text) = tokens.create(actor, &new).await?;
            writeln!(out, "{}", text.expose()).context("printing the token")?;
            if !text.expose().contains('.') {
                tracing::warn!(
                    "no control plane has run on this database yet, so the token names no authority: it is good without TLS alone"
                );
            }
        }
        Command::List { .. } => {
            for row in tokens.list(0, LISTED).await?.1 {
                writeln!(out, "{}", listed(&row)).context("printing the tokens")?;
            }
        }
        Command::Revoke { id, .. } => {
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
