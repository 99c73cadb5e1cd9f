//! `gatewright-control-plane candidates`: stages changes, and ends them, from the command line.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde_json::json;
use shared::runtime::logs::{LogSettings, Logs};
use shared::runtime::secrets_dir::{RootSecret, read};

use crate::admin::ApiError;
use crate::admin::candidates::{NewCandidate, promote, stage, widen, withdraw};
use crate::app::{StartError, connect};
use crate::config::{DatabaseArgs, database_of};
use crate::domain::{Lookup, Selector};
use crate::store::candidates::{self, CandidateRow};
use crate::store::{Actor, Store};
use crate::vault::KeyRing;

/// The most candidates that are printed.
const LISTED: i64 = 1_000;

/// What to do with candidates.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the newest candidates.
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Stage a change for the data planes with certain labels, and print it.
    Create {
        #[command(flatten)]
        labels: Labels,
        /// A JSON list of changes, such as [{"kind": "provider", "id": 3, "change": {"model_name": "next"}}].
        #[arg(long, value_name = "FILE")]
        changes: PathBuf,
        /// Where ring.key is, which seals new credentials.
        #[arg(long, env = "GATEWRIGHT_SECRETS_DIR", value_name = "DIR", default_value = "secrets")]
        secrets_dir: PathBuf,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Choose other data planes for a candidate: more of them, or fewer.
    Widen {
        /// Its id, from `candidates list`.
        id: Lookup,
        #[command(flatten)]
        labels: Labels,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Make a candidate what every data plane is told.
    Promote {
        /// Its id, from `candidates list`.
        id: Lookup,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Take a candidate back: its data planes are told the catalog again.
    Withdraw {
        /// Its id, from `candidates list`.
        id: Lookup,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

/// Which data planes are chosen.
#[derive(Debug, Args)]
pub(super) struct Labels {
    /// What a data plane's labels must hold, such as canary=true; may be given many times, or with commas.
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',', value_parser = label, required = true)]
    label: Vec<(String, String)>,
}

impl Labels {
    fn map(&self) -> BTreeMap<String, String> {
        self.label.iter().cloned().collect()
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.trim().is_empty());
    let parts = parts.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    parts.ok_or_else(|| format!("`{text}` is not NAME=VALUE"))
}

impl Command {
    const fn database(&self) -> &DatabaseArgs {
        match self {
            Self::List { database }
            | Self::Create { database, .. }
            | Self::Widen { database, .. }
            | Self::Promote { database, .. }
            | Self::Withdraw { database, .. } => database,
        }
    }
}

/// Does what was asked, on the database itself.
pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    let _logs = Logs::init(&LogSettings::default())?;
    let store = connect(&database_of(command.database())?).await?;
    store.migrate().await.map_err(StartError::from)?;
    let done = act(&store, command).await;
    store.close().await;
    let mut out = io::stdout();
    for line in done? {
        writeln!(out, "{line}").context("printing the candidates")?;
    }
    Ok(())
}

async fn act(store: &Store, command: Command) -> anyhow::Result<Vec<String>> {
    if matches!(command, Command::List { .. }) {
        return list(store).await;
    }
    let mut tx = store.begin(Actor::system("command line")).await?;
    let done = match command {
        Command::List { .. } => return Ok(Vec::new()),
        Command::Create { labels, changes, secrets_dir, .. } => {
            let ring = ring(&secrets_dir)?;
            let text = std::fs::read_to_string(&changes).with_context(|| format!("reading {}", changes.display()))?;
            let body = format!("{{\"selector\":{},\"changes\":{text}}}", json!({ "labels": labels.map() }));
            match NewCandidate::parse(body.as_bytes()) {
                Ok(new) => stage(&mut tx, &ring, new).await,
                Err(refusal) => Err(refusal),
            }
        }
        Command::Widen { id, labels, .. } => widen(&mut tx, None, id, &Selector::new(labels.map())?).await,
        Command::Promote { id, .. } => promote(&mut tx, None, id).await,
        Command::Withdraw { id, .. } => withdraw(&mut tx, None, id).await,
    };
    let row = done.map_err(told)?;
    tx.commit().await?;
    Ok(vec![line(&row, false)])
}

async fn list(store: &Store) -> anyhow::Result<Vec<String>> {
    let mut connection = store.acquire().await?;
    let rows = candidates::list(&mut connection, (0, LISTED)).await?.rows;
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let entries = candidates::entries(&mut connection, &ids).await?;
    let is_stale = |row: &CandidateRow| entries.iter().any(|entry| entry.candidate_id == row.id && entry.is_stale());
    Ok(rows.iter().map(|row| line(row, is_stale(row))).collect())
}

fn ring(folder: &Path) -> anyhow::Result<KeyRing> {
    Ok(KeyRing::parse(&read(folder, RootSecret::Ring)?)?)
}

/// Id, labels, revision, state and resources, with tabs between them.
fn line(row: &CandidateRow, stale: bool) -> String {
    let labels: Vec<String> = row.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let part = |change: &serde_json::Value| {
        let text = |field: &str| change.get(field).and_then(|value| value.as_str()).unwrap_or_default();
        format!("{} {}", text("kind"), text("name"))
    };
    let parts: Vec<String> = row.changes.as_array().into_iter().flatten().map(part).collect();
    let state = if stale { "stale" } else { "fresh" };
    format!("{}\t{}\trevision {}\t{state}\t{}", row.number, labels.join(","), row.revision, parts.join(", "))
}

/// A refusal with everything that is wrong.
fn told(error: ApiError) -> anyhow::Error {
    match error {
        ApiError::Invalid(problems) => {
            let each = problems.iter().map(|problem| format!("`{}`: {}", problem.field(), problem.message));
            anyhow!(each.collect::<Vec<_>>().join("; "))
        }
        other => other.into(),
    }
}
