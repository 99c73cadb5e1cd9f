//! `gatewright-control-plane revisions`: looks back over the catalog and takes revisions back, on the database itself.

use std::io::{self, Write};

use anyhow::Context;
use chrono::SecondsFormat;
use clap::Subcommand;
use shared::catalog::Kind;
use shared::runtime::logs::{LogSettings, Logs};
use uuid::Uuid;

use crate::app::{StartError, connect};
use crate::config::{DatabaseArgs, database_of};
use crate::domain::{FieldChange, Kept, differences};
use crate::revisions::{self, Revision, Rollback, RolledBack, Selection};
use crate::store::revisions::{ChangeRow, RevisionFilter};
use crate::store::{Actor, Store};

/// How many resources of a difference are read at once.
const PAGE: i64 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the newest revisions: number, time, who made it, and what it changed.
    List {
        /// How many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
        /// Only those that changed a resource of this kind, such as router.
        #[arg(long)]
        kind: Option<Kind>,
        /// Only those that changed this resource.
        #[arg(long)]
        id: Option<Uuid>,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Print what a revision changed, field by field.
    Show {
        /// Its number.
        revision: u64,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Print how the catalog at one revision differs from the one at another.
    Diff {
        /// The earlier revision.
        from: u64,
        /// The later one [default: the newest].
        to: Option<u64>,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Take revisions back: what they touched becomes what it was before, as one new revision.
    Rollback {
        /// These revisions.
        #[arg(required_unless_present = "from", conflicts_with = "from", value_name = "REVISION")]
        revisions: Vec<u64>,
        /// All from this one on.
        #[arg(long, value_name = "REVISION")]
        from: Option<u64>,
        /// Up to this one [default: the newest].
        #[arg(long, value_name = "REVISION", requires = "from")]
        to: Option<u64>,
        /// Also what later revisions changed again, and what was made later below something that goes.
        #[arg(long)]
        force: bool,
        /// Only print what would happen.
        #[arg(long)]
        dry_run: bool,
        /// Why, for the audit table.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

/// Does what was asked.
pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    let _logs = Logs::init(&LogSettings::default())?;
    let (Command::List { database, .. }
    | Command::Show { database, .. }
    | Command::Diff { database, .. }
    | Command::Rollback { database, .. }) = &command;
    let store = connect(&database_of(database)?).await?;
    store.migrate().await.map_err(StartError::from)?;
    let mut out = io::stdout();
    match command {
        Command::List { limit, kind, id, .. } => {
            for revision in revisions::list(&store, &RevisionFilter { kind, id }, (0, limit)).await?.rows {
                writeln!(out, "{}", line(&revision)).context("printing the revisions")?;
            }
        }
        Command::Show { revision, .. } => {
            let revision = revisions::get(&store, revision).await?;
            writeln!(out, "{}", line(&revision)).context("printing the revision")?;
            for change in &revision.changes {
                writeln!(out, "{}", named(change)).context("printing the revision")?;
                let before = change.before.content();
                fields(&mut out, differences(before, change.after.as_ref()), change.before == Kept::Unknown)?;
            }
        }
        Command::Diff { from, to, .. } => diff(&mut out, &store, from, to).await?,
        Command::Rollback { revisions, from, to, force, dry_run, reason, .. } => {
            let selection = from.map_or(Selection::Each(revisions), |from| Selection::Range { from, to });
            let wanted = Rollback { selection, force, dry_run, reason };
            // Without the key ring: what no longer opens shows itself on the nodes, as it would after any restore.
            let done = revisions::rollback(&store, None, Actor::system("command line"), &wanted).await?;
            told(&mut out, done, dry_run)?;
        }
    }
    store.close().await;
    Ok(())
}

async fn diff(out: &mut impl Write, store: &Store, from: u64, to: Option<u64>) -> anyhow::Result<()> {
    let mut offset = 0;
    loop {
        let page = revisions::diff(store, from, to, (offset, PAGE)).await?.spans;
        let count = i64::try_from(page.rows.len()).unwrap_or(PAGE);
        for span in page.rows {
            let (operation, name) = (span.operation().as_str(), span.name());
            writeln!(out, "{operation}\t{}\t{name}\t{}", span.kind, span.id).context("printing the difference")?;
            fields(out, span.fields(), span.before == Kept::Unknown)?;
        }
        offset += count;
        if count < PAGE {
            return Ok(());
        }
    }
}

/// Number, time, author and changes, with tabs between them.
fn line(revision: &Revision) -> String {
    let row = &revision.row;
    let names: Vec<String> = revision
        .changes
        .iter()
        .take(3)
        .map(|change| format!("{} {} {}", change.operation().as_str(), change.kind, change.name()))
        .collect();
    let more = usize::try_from(row.changes).unwrap_or(0).saturating_sub(names.len());
    let more = if more > 0 { format!(", {more} more") } else { String::new() };
    format!(
        "{}\t{}\t{}\t{}{more}",
        row.revision,
        row.made.to_rfc3339_opts(SecondsFormat::Secs, true),
        row.actor_name.as_deref().unwrap_or("?"),
        names.join(", ")
    )
}

fn named(change: &ChangeRow) -> String {
    format!("{}\t{}\t{}\t{}", change.operation().as_str(), change.kind, change.name(), change.id)
}

fn fields(out: &mut impl Write, fields: Vec<FieldChange>, unknown: bool) -> anyhow::Result<()> {
    for FieldChange { field, before, after } in fields {
        let before = if unknown { "?".to_owned() } else { before.to_string() };
        writeln!(out, "\t{field}: {before} -> {after}").context("printing a difference")?;
    }
    Ok(())
}

fn told(out: &mut impl Write, done: RolledBack, dry_run: bool) -> anyhow::Result<()> {
    for one in done.reverted {
        writeln!(out, "{}\t{}\t{}\t{}", one.operation.as_str(), one.kind, one.name, one.id).context("printing")?;
        fields(out, one.fields, false)?;
    }
    for one in done.left_out {
        writeln!(out, "left\t{}\t{}\t{}\t{}", one.kind, one.name, one.id, one.reason).context("printing")?;
    }
    for one in done.overridden {
        writeln!(out, "lost\t{}\t{}\t{}\tlater changes", one.kind, one.name, one.id).context("printing")?;
    }
    match (done.revision, dry_run) {
        (Some(revision), _) => writeln!(out, "revision {}", revision.0),
        (None, true) => writeln!(out, "nothing was changed: this was a dry run"),
        (None, false) => writeln!(out, "there was nothing to change"),
    }
    .context("printing")
}
