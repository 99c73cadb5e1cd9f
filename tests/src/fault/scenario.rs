//! The form of a scenario's file: a stage, a load, and what happens when.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::proxy::Weather;
use crate::paths;

/// A scenario as its file tells it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One sentence: what happens, and what must not.
    pub about: String,
    /// What there is.
    #[serde(default)]
    pub stage: Stage,
    /// What is asked of it.
    #[serde(default)]
    pub load: Load,
    /// What the full check does differently.
    #[serde(default)]
    pub full: Full,
    /// What the faults may cost.
    #[serde(default)]
    pub allow: Allow,
    /// What the logs have to tell of, so that nothing is thought to have happened that did not.
    #[serde(default)]
    pub said: Vec<String>,
    /// What happens.
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
}

/// What there is.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stage {
    /// How many data planes.
    pub nodes: usize,
    /// More flags for each of them.
    pub node_flags: Vec<String>,
    /// How many providers; each has a link of its own, and all are the same upstream.
    pub providers: usize,
    /// How long the first provider may take; the others may take long.
    #[serde(deserialize_with = "span")]
    pub first_provider_timeout: Duration,
    /// Which Postgres.
    pub postgres: Postgres,
    /// Whether clocks can be made to jump.
    pub clocks: bool,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            nodes: 2,
            node_flags: Vec::new(),
            providers: 1,
            first_provider_timeout: Duration::from_secs(30),
            postgres: Postgres::Shared,
            clocks: false,
        }
    }
}

/// Which Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Postgres {
    /// A database of the cluster that all tests share, behind a link.
    Shared,
    /// A server of its own, which can be frozen and stopped.
    Own,
    /// The same with a standby that can be promoted.
    Pair,
}

/// What is asked of the stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Load {
    /// Requests in a second, whatever the answers do.
    pub rate: u32,
    /// For how long.
    #[serde(deserialize_with = "span")]
    pub lasts: Duration,
    /// How many of a hundred are streamed.
    pub streams: u64,
    /// How many keys take turns.
    pub keys: usize,
    /// Whether the catalog changes all the time.
    pub churn: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self { rate: 40, lasts: Duration::from_secs(6), streams: 40, keys: 4, churn: true }
    }
}

/// Requests in a second for each core: gateway, upstream and client share them, unoptimised.
const RATE_OF_A_CORE: u32 = 60;

/// What the full check does differently.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Full {
    /// Requests in a second, where the machine has the cores for so many.
    pub rate: u32,
    /// All times are so many times as long.
    pub stretch: f64,
}

impl Default for Full {
    fn default() -> Self {
        Self { rate: 300, stretch: 2.0 }
    }
}

/// What the faults may cost beside calls in flight on a killed node.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Allow {
    /// So many records, because files were damaged.
    pub lost_records: u64,
    /// As many records as nodes say that they dropped.
    pub dropped_records: bool,
    /// A change may take so long to be enforced when all is mended.
    #[serde(deserialize_with = "span_or_nothing")]
    pub enforced_within: Option<Duration>,
}

/// Something that happens at a time after the load began.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Step {
    /// A process ends by `kill -9`. The load goes around a node from then on.
    Kill {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
        /// `control-plane` or `node-N`.
        whom: String,
    },
    /// A node is taken out of the load and asked to end; it answers what it has begun.
    Terminate {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
        /// `node-N`.
        whom: String,
    },
    /// A process that ended, or Postgres, starts again.
    Start {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
        /// `control-plane`, `postgres` or `node-N`.
        whom: String,
    },
    /// Postgres shuts down in an orderly way.
    Stop {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
        /// `postgres`.
        whom: String,
    },
    /// A process, with all its children, stands still for a time.
    Freeze {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
        /// `control-plane` or `postgres`.
        whom: String,
        /// How long.
        #[serde(rename = "for", deserialize_with = "span")]
        lasts: Duration,
    },
    /// The standby takes over; the old primary stays up and refuses to write.
    Promote {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
    },
    /// A link behaves like this from now on.
    Link {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
        /// `node-N` (to the control plane), `postgres` (from the control plane) or `upstream-N` (the provider's).
        link: String,
        /// How.
        #[serde(default)]
        weather: Weather,
    },
    /// The connections of a link are reset.
    Cut {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
        /// Which.
        link: String,
    },
    /// The connections of a link carry nothing any more and do not end; new ones work.
    Strand {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
        /// Which.
        link: String,
    },
    /// A byte in each newest file of a kind is changed, while the node is down.
    Corrupt {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
        /// `node-N`.
        whom: String,
        /// What.
        what: Files,
    },
    /// No file of the process can grow any more, or can again.
    Disk {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
        /// `node-N`.
        whom: String,
        /// Whether it is full.
        full: bool,
    },
    /// The wall clock of a process is off by so much from now on.
    Jump {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
        /// `control-plane` or `node-N`.
        whom: String,
        /// Such as `+1h`, `-2d` or `0`, from the true time.
        to: String,
    },
    /// A key is removed; after the time that enforcement may take, nobody is let in by it.
    Revoke {
        /// When.
        #[serde(deserialize_with = "span")]
        at: Duration,
        /// Which of the load's keys.
        key: usize,
        /// How long enforcement may take.
        #[serde(deserialize_with = "span")]
        within: Duration,
    },
}

/// Files of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Files {
    /// What it used and has not reported.
    Spool,
    /// Its copy of the catalog.
    Catalog,
}

impl Step {
    /// When it happens, after the load began.
    #[must_use]
    pub const fn at(&self) -> Duration {
        match self {
            Self::Kill { at, .. }
            | Self::Terminate { at, .. }
            | Self::Start { at, .. }
            | Self::Stop { at, .. }
            | Self::Freeze { at, .. }
            | Self::Promote { at }
            | Self::Link { at, .. }
            | Self::Cut { at, .. }
            | Self::Strand { at, .. }
            | Self::Corrupt { at, .. }
            | Self::Disk { at, .. }
            | Self::Jump { at, .. }
            | Self::Revoke { at, .. } => *at,
        }
    }
}

impl Scenario {
    /// The folder of the scenarios.
    #[must_use]
    pub fn folder() -> PathBuf {
        paths::root().join("tests/scenarios")
    }

    /// Reads the file of this name.
    #[must_use]
    pub fn read(name: &str) -> Self {
        Self::at(&Self::folder().join(format!("{name}.toml")))
    }

    fn at(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let beyond = scenario.steps.iter().find(|step| step.at() >= scenario.load.lasts);
        match beyond {
            Some(step) => Err(format!("a step after the end of the load ({:?}): {step:?}", scenario.load.lasts)),
            None if scenario.steps.is_sorted_by_key(Step::at) => Ok(scenario),
            None => Err("the steps are not in the order of their times".to_owned()),
        }
    }

    /// The same as the full check plays it.
    #[must_use]
    pub fn in_full(mut self) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let most = RATE_OF_A_CORE.saturating_mul(u32::try_from(cores).unwrap_or(u32::MAX));
        self.load.rate = self.full.rate.min(most);
        self.load.lasts = self.load.lasts.mul_f64(self.full.stretch);
        self
    }

    /// How much longer times are than written.
    #[must_use]
    pub fn stretch(full: bool, form: Full) -> f64 {
        if full { form.stretch } else { 1.0 }
    }
}

/// A time such as `250ms`, `1.5s` or `2m`.
pub(super) fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    read_span(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no time such as 250ms, 1.5s or 2m")))
}

fn span_or_nothing<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    span(from).map(Some)
}

fn read_span(text: &str) -> Option<Duration> {
    let split = text.find(|character: char| !character.is_ascii_digit() && character != '.')?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| Duration::from_secs_f64(number * seconds))
}
