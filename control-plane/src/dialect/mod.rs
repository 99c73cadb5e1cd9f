//! Configuration files: text in some system's dialect → a plan of ours, and an account of every key.
//!
//! Each dialect is an adapter behind [`load`]. It reads a tree with positions, never typed structs, so that every key
//! of the file ends in exactly one outcome: honoured, mapped, without effect (and why), or refused (and why). Nothing is
//! ignored silently. A refused key, an unset variable or an unknown key means exit 2 before anything has started.
//!
//! 1. [`load`] reads the YAML once without variables to recognise the dialect, then with them.
//! 2. [`walk`] compares the tree with the dialect's table of keys ([`schema`]) and takes the values over.
//! 3. The adapter checks what no table can say (names that meet twice, kinds that do not fit) and builds the [`Plan`].
//! 4. [`check`] prints the account; `reconcile` applies the plan.
//!
//! No I/O but reading the file; no SQL; nothing here decides what a running process does.

pub mod check;
pub mod finding;
mod opengatellm;
pub mod plan;
mod schema;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use shared::runtime::yaml::{self, Node, Variables, YamlFault};

pub use finding::{Finding, Findings, Outcome};
pub use plan::{Ownership, Plan, PlannedProvider, PlannedRouter, Settings};
pub use schema::write_reference;

/// Which system's file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenGateLLM's, which is ours too.
    OpenGateLlm,
    /// LiteLLM's.
    LiteLlm,
    /// LLMUR's.
    Llmur,
}

impl Dialect {
    const ALL: [Self; 3] = [Self::OpenGateLlm, Self::LiteLlm, Self::Llmur];

    /// The sections by which a file of it is recognised.
    const fn marks(self) -> &'static [&'static str] {
        match self {
            Self::OpenGateLlm => &["models", "dependencies", "settings"],
            Self::LiteLlm => {
                &["model_list", "litellm_settings", "general_settings", "router_settings", "environment_variables"]
            }
            Self::Llmur => &["application_secret", "database_configuration", "cache_configuration", "master_keys"],
        }
    }

    /// The file's dialect: the one that has most of its sections.
    fn of(root: &Node) -> Option<Self> {
        let found = |dialect: &Self| dialect.marks().iter().filter(|mark| root.get(mark).is_some()).count();
        Self::ALL.into_iter().rev().filter(|dialect| found(dialect) > 0).max_by_key(found)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenGateLlm => "OpenGateLLM",
            Self::LiteLlm => "LiteLLM",
            Self::Llmur => "LLMUR",
        })
    }
}

/// How a file is read.
pub struct LoadOptions<'a> {
    /// Accept weak and default secrets (`--dev`).
    pub dev: bool,
    /// Where variables come from.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

impl LoadOptions<'_> {
    /// With the variables of this process.
    #[must_use]
    pub fn of_process(dev: bool) -> LoadOptions<'static> {
        LoadOptions { dev, environment: &|name| std::env::var(name).ok() }
    }
}

/// A file that can be started with.
#[derive(Debug)]
pub struct Loaded {
    /// Which dialect it was.
    pub dialect: Dialect,
    /// Where it came from.
    pub origin: PathBuf,
    /// What it asks for.
    pub plan: Plan,
    /// What became of each key; none is refused.
    pub findings: Findings,
}

/// Why a file cannot be started with: always exit code 2.
#[derive(Debug)]
pub enum ConfigErrors {
    /// It cannot be read.
    Unreadable {
        /// Its path.
        origin: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// It is no YAML, or a variable is missing.
    Yaml {
        /// Its path.
        origin: PathBuf,
        /// Each fault with its place.
        faults: Vec<YamlFault>,
    },
    /// It holds nothing, or nothing known.
    Unrecognised {
        /// Its path.
        origin: PathBuf,
        /// What it holds instead.
        found: String,
    },
    /// Its dialect is known and cannot be read yet.
    Unsupported {
        /// Its path.
        origin: PathBuf,
        /// The dialect.
        dialect: Dialect,
    },
    /// At least one key is refused.
    Refused {
        /// Its path.
        origin: PathBuf,
        /// What became of each key.
        findings: Findings,
    },
}

impl std::error::Error for ConfigErrors {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { origin, source } => {
                write!(
                    f,
                    "the configuration file {} cannot be read: {source} (--config, GATEWRIGHT_CONFIG)",
                    origin.display()
                )
            }
            Self::Yaml { origin, faults } => {
                write!(f, "the configuration file {} is refused:", origin.display())?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
            Self::Unrecognised { origin, found } => {
                let origin = origin.display();
                write!(
                    f,
                    "the configuration file {origin} {found}; the sections `models`, `dependencies` and `settings` are expected"
                )
            }
            Self::Unsupported { origin, dialect } => write!(
                f,
                "the configuration file {} is {dialect}'s; files of this dialect are not yet supported, those of OpenGateLLM's form \
                 (`models`, `dependencies`, `settings`) are",
                origin.display()
            ),
            Self::Refused { origin, findings } => {
                write!(f, "the configuration file {} is refused:", origin.display())?;
                findings.refused().try_for_each(|finding| write!(f, "\n  {finding}"))
            }
        }
    }
}

/// Reads a configuration file.
///
/// # Errors
/// [`ConfigErrors`], whose text names the file, the keys and what would be right.
pub fn load_file(path: &Path, options: &LoadOptions<'_>) -> Result<Loaded, ConfigErrors> {
    let read = || {
        let mut bytes = Vec::new();
        // One byte more than is accepted: enough to see that there is too much.
        let limit = u64::try_from(yaml::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
    };
    let text = read().map_err(|source| ConfigErrors::Unreadable { origin: path.to_owned(), source })?;
    load(&text, path, options)
}

/// Reads the text of a configuration file; `origin` is what messages call it.
///
/// # Errors
/// [`ConfigErrors`], whose text names the file, the keys and what would be right.
pub fn load(text: &str, origin: &Path, options: &LoadOptions<'_>) -> Result<Loaded, ConfigErrors> {
    let broken = |faults| ConfigErrors::Yaml { origin: origin.to_owned(), faults };
    // First without variables: another system's file is to be called that, not blamed for its placeholders.
    let sketch =
        yaml::load(text, &Variables { lookup: &|_| Some(String::new()), os_environ: false }).map_err(broken)?;
    let dialect = Dialect::of(&sketch).ok_or_else(|| unrecognised(&sketch, origin))?;
    if dialect != Dialect::OpenGateLlm {
        return Err(ConfigErrors::Unsupported { origin: origin.to_owned(), dialect });
    }
    let root = yaml::load(text, &Variables { lookup: options.environment, os_environ: false }).map_err(broken)?;
    let (plan, mut findings) = opengatellm::read(&root, options.dev);
    findings.sort();
    if findings.refused().next().is_some() {
        return Err(ConfigErrors::Refused { origin: origin.to_owned(), findings });
    }
    Ok(Loaded { dialect, origin: origin.to_owned(), plan, findings })
}

fn unrecognised(root: &Node, origin: &Path) -> ConfigErrors {
    let found = match root.entries() {
        _ if root.is_null() => "is empty".to_owned(),
        [] => format!("holds {} and no sections", root.kind()),
        entries => {
            let names: Vec<String> =
                entries.iter().take(5).map(|entry| format!("`{}`", finding::cut(&entry.name))).collect();
            format!("has none of the known sections (it has {})", names.join(", "))
        }
    };
    ConfigErrors::Unrecognised { origin: origin.to_owned(), found }
}
