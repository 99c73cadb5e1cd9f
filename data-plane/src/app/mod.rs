//! Assembles the data plane: the only file that sees every room.
//!
//! [`DataPlane::start`] is the one constructor, for the process of its own ([`run`]) and for standalone alike: they differ
//! in the dialer they hand over and in who listens.

mod process;
mod upstreams;
mod usage;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared::kernel::clock::FleetClock;
use shared::kernel::secret::Secret;
use shared::runtime::listen::ListenError;
use shared::runtime::logs::LogError;
use shared::runtime::metrics::{Family, MetricsError, describe};
use shared::runtime::public::HalfPair;
use shared::runtime::readiness::Readiness;
use shared::runtime::secrets_dir::SecretsError;
use shared::runtime::shutdown::Shutdown;
use shared::runtime::tls::TlsError;
use tokio::time::{MissedTickBehavior, interval};
use utoipa::openapi::OpenApi;

pub use self::process::run;
pub use self::upstreams::Upstreams;
use self::usage::Usage;
use crate::exchange::Services;
use crate::exchange::authenticate::Failures;
pub use crate::exchange::deliver::ReplyBody;
use crate::exchange::read::BodyBudget;
use crate::link::{
    self, DialError, Dialer, EnrolError, Identity, IdentityError, LastGoodOptions, Link, LinkOptions, Pulse,
    UpstreamPulse,
};
use crate::meter::refusals::Refusals;
use crate::meter::sink::UsageSink;
use crate::observe::aliases;
use crate::observe::metrics::{self, Meters};
use crate::spool;
pub use crate::spool::OnFull;
pub use crate::surface::PublicService;
use crate::table::{Handle, Table};
use crate::upstream::local::Local;
use crate::upstream::pool::Pool;
use crate::vitals::Vitals;
use crate::vitals::retry_budget::RetryBudget;

/// What the public port offers, for a document of more than this plane.
#[must_use]
pub fn openapi() -> OpenApi {
    crate::surface::openapi::document()
}

/// Every metric family of this plane, for the document about them.
#[must_use]
pub fn families() -> Vec<Family> {
    [metrics::FAMILIES, link::FAMILIES, spool::FAMILIES, aliases::FAMILIES].concat()
}

/// What calls may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// One body.
    pub body: usize,
    /// One form, such as a recording; beyond a megabyte it is kept in a file.
    pub form: usize,
    /// All bodies together.
    pub bodies: usize,
    /// All usage that waits for the control plane, on disk.
    pub spool_bytes: u64,
    /// What happens when it is more.
    pub on_spool_full: OnFull,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            body: 32 * 1024 * 1024,
            form: 100 * 1024 * 1024,
            bodies: 512 * 1024 * 1024,
            // A million calls and more.
            spool_bytes: 1024 * 1024 * 1024,
            on_spool_full: OnFull::Refuse,
        }
    }
}

/// Takes another log filter.
pub type LogLevel = Arc<dyn Fn(&str) + Send + Sync>;

/// What a data plane needs to know.
pub struct Options {
    /// How to reach a control plane.
    pub dialer: Dialer,
    /// How to reach upstreams.
    pub upstreams: Upstreams,
    /// Where it keeps what should outlive the process.
    pub data_dir: Option<PathBuf>,
    /// Seals the copy of the catalog that it keeps there; without it there is none.
    pub node_key: Option<Secret>,
    /// Facts about this node.
    pub labels: HashMap<String, String>,
    /// An older catalog lets nobody in.
    pub max_stale: Option<Duration>,
    /// What calls may hold.
    pub limits: CallLimits,
    /// Takes another log filter.
    pub log_level: LogLevel,
}

/// Why a data plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The control plane's address or the join token.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The node's certificate.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The data folder.
    #[error("the data folder {path} cannot be made (--data-dir, GATEWRIGHT_DATA_DIR)")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The node's id.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The usage spool.
    #[error("usage cannot be kept in the data folder (--data-dir, GATEWRIGHT_DATA_DIR)")]
    Spool(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// `node.key`.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// An address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A variable that names a proxy.
    #[error(transparent)]
    Proxy(Box<dyn std::error::Error + Send + Sync>),
    /// Half of what TLS needs.
    #[error(transparent)]
    HalfPair(#[from] HalfPair),
    /// The logs.
    #[error(transparent)]
    Logs(#[from] LogError),
    /// The metrics recorder.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The operating system.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl StartError {
    /// Whether changing the configuration is what helps.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        !matches!(self, Self::Listen(_) | Self::Metrics(_) | Self::Io { .. })
    }
}

/// A data plane that follows a control plane.
pub struct DataPlane {
    service: PublicService,
}

impl DataPlane {
    /// Starts everything but a listener. Its condition for readiness is called `catalog`.
    ///
    /// # Errors
    /// [`StartError`], when the data folder cannot be used.
    pub fn start(options: Options, readiness: &Readiness, shutdown: &Shutdown) -> Result<Self, StartError> {
        metrics::describe_families();
        describe(link::FAMILIES);
        describe(spool::FAMILIES);
        let identity = match &options.data_dir {
            Some(folder) => {
                let failed = |source| StartError::DataDir { path: folder.clone(), source };
                std::fs::create_dir_all(folder).map_err(failed)?;
                Identity::of_folder(folder)?
            }
            None => Identity::passing(),
        };
        // Its certificate says who it is, where it has one.
        let identity = Identity { node: options.dialer.node().unwrap_or(identity.node), ..identity };
        let last_good = options
            .data_dir
            .as_ref()
            .zip(options.node_key)
            .map(|(folder, key)| LastGoodOptions { folder: folder.join("catalog"), key });
        let (table, clock) = (Handle::new(Table::empty()), FleetClock::from_wall_clock());
        let usage = Arc::new(Usage::open(options.data_dir.as_deref(), options.limits, identity.boot)?);
        usage.report(options.dialer.clone(), identity.node, shutdown);
        let sink: Arc<dyn UsageSink> = Arc::clone(&usage) as _;
        let services = services(&table, &clock, options.upstreams.0, sink, options.limits, shutdown);
        keep_house(Arc::clone(&services), shutdown);
        let link = LinkOptions {
            identity,
            labels: options.labels,
            max_stale: options.max_stale,
            last_good,
            pulse: pulse(Arc::clone(&services), usage),
            log_level: options.log_level,
        };
        Link::new(options.dialer, link, table, clock, readiness.condition("catalog"), shutdown.clone()).start();
        Ok(Self { service: PublicService::new(services) })
    }

    /// What the public port serves.
    #[must_use]
    pub fn service(&self) -> PublicService {
        self.service.clone()
    }
}

fn services(
    table: &Handle,
    clock: &FleetClock,
    pool: Pool,
    sink: Arc<dyn UsageSink>,
    limits: CallLimits,
    shutdown: &Shutdown,
) -> Arc<Services> {
    Arc::new(Services {
        table: table.clone(),
        clock: clock.clone(),
        vitals: Vitals::default(),
        retries: RetryBudget::default(),
        pool,
        local: Local,
        refusals: Refusals::new(Arc::clone(&sink)),
        sink,
        meters: Meters::default(),
        bodies: BodyBudget::new(limits.bodies),
        body_limit: limits.body,
        form_limit: limits.form,
        failures: Failures::default(),
        expiry: shutdown.expiry(),
        in_flight: shutdown.in_flight(),
    })
}

/// What is done once a second beside the calls.
fn keep_house(services: Arc<Services>, shutdown: &Shutdown) {
    let ending = shutdown.clone();
    shutdown.spawn("housekeeping", async move {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut revision = None;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = ending.stopping() => {
                    services.refusals.flush(true);
                    return;
                }
            }
            services.refusals.flush(false);
            services.pool.sweep();
            metrics::bodies_held(services.bodies.held());
            for (provider, in_flight, failures) in services.vitals.health() {
                metrics::upstream_health(provider, in_flight, failures);
            }
            let table = services.table.load();
            if revision.replace(table.revision()) != Some(table.revision()) {
                let current: HashSet<_> = table.providers().map(|provider| provider.id).collect();
                services.vitals.keep(|provider| current.contains(&provider));
            }
        }
    });
}

/// What this node tells of itself.
fn pulse(services: Arc<Services>, usage: Arc<Usage>) -> link::PulseSource {
    Arc::new(move || {
        let upstreams: Vec<UpstreamPulse> = services
            .vitals
            .take_tallies()
            .into_iter()
            .map(|tally| UpstreamPulse {
                provider: tally.provider,
                in_flight: u64::from(tally.in_flight),
                successes: tally.successes,
                failures: tally.failures,
            })
            .collect();
        let in_flight = upstreams.iter().map(|upstream| upstream.in_flight).sum();
        Pulse { in_flight, usage_backlog: usage.backlog(), upstreams }
    })
}
