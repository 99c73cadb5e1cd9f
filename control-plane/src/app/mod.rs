//! Assembles the control plane: the only room that sees every other.
//!
//! [`ControlPlane::start`] builds it without listening anywhere, so that a process which holds both planes can serve its
//! parts as it likes; [`run`] is the process of its own.

mod database;
mod error;
mod jobs;
mod serve;

pub use database::connect;
pub use error::StartError;
pub use serve::run;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use shared::catalog::{Kind, Ref};
use shared::kernel::secret::SecretBytes;
use shared::proto::usage_server::UsageServer;
use shared::runtime::metrics::{Family, describe};
use shared::runtime::readiness::Readiness;
use shared::runtime::shutdown::Shutdown;
use shared::wire::MESSAGE_LIMIT;
use tokio::io::DuplexStream;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

use crate::access::{Access, AccessSettings};
use crate::admin::{self, AdminSettings, AppState, OpenApiInfo, TagInfo};
use crate::config::Config;
use crate::dialect::Settings;
use crate::fleet::certificates::Authority;
use crate::fleet::{Enrolments, Revocations, Together, nodes, nodes::Nodes};
use crate::grpc::sync::SyncService;
use crate::grpc::usage::UsageService;
use crate::grpc::{self, peer::PeerLayer};
use crate::reconcile::reconcile;
use crate::snapshot::{self, Builder, Publisher, Resumes, Seals, Watcher};
use crate::store::Store;
use crate::store::usage::Retention;
use crate::usage::{self, Ingest, KnownKeys};
use crate::vault::KeyRing;

/// Sums by the minute are for dashboards of the last days.
const KEEP_MINUTES: TimeDelta = TimeDelta::days(7);
/// Sums by the hour are for reports of the last months.
const KEEP_HOURS: TimeDelta = TimeDelta::days(400);
/// How long a login of the playground lasts unless told otherwise.
const SESSION: Duration = Duration::from_secs(3_600);

/// Every metric family of this plane, for the document about them.
#[must_use]
pub fn families() -> Vec<Family> {
    [usage::FAMILIES, snapshot::FAMILIES, nodes::FAMILIES, grpc::FAMILIES].concat()
}

/// An assembled control plane. Background work runs until the [`Shutdown`] that it was started with.
#[derive(Clone)]
pub struct ControlPlane {
    store: Store,
    ring: Arc<KeyRing>,
    management: axum::Router,
    openapi: Arc<utoipa::openapi::OpenApi>,
    sync: SyncService,
    usage: UsageService,
}

impl ControlPlane {
    /// Opens the database, brings schema and catalog up to date, and assembles every face.
    ///
    /// The condition `published` of `readiness` is met once the catalog was read.
    ///
    /// # Errors
    /// [`StartError`]; [`StartError::is_configuration`] tells whether exit code 2 is right.
    pub async fn start(config: &Config, readiness: &Readiness, shutdown: &Shutdown) -> Result<Self, StartError> {
        describe(usage::FAMILIES);
        describe(snapshot::FAMILIES);
        describe(nodes::FAMILIES);
        describe(grpc::FAMILIES);
        let settings = config.settings();
        let ring = Arc::new(KeyRing::parse(&config.roots.ring)?);
        let pepper = SecretBytes::new(config.roots.pepper.expose().as_bytes().to_vec());
        let store = connect(&config.database).await?;
        store.migrate().await?;
        let outcome = reconcile(&store, &ring, config.file.as_ref(), &settings.fleet).await?;
        tracing::info!(?outcome, "the catalog agrees with the configuration");

        let nodes = Nodes::default();
        let roots = snapshot::Roots::new(pepper.clone(), Some(&config.roots.master));
        let sync = publish(&store, &ring, roots, &nodes, readiness, shutdown);
        let keep = config.usage_retention.and_then(|keep| TimeDelta::from_std(keep).ok());
        let retention = Retention { records: keep, minutes: KEEP_MINUTES, hours: KEEP_HOURS };
        let fleet = Together::new(store.clone(), nodes);
        fleet.start(shutdown);
        usage::keep_house(store.clone(), retention, shutdown).await;
        jobs::prune(store.clone(), config.revisions, shutdown);

        let access = Access::new(
            store.clone(),
            AccessSettings {
                master_key: config.roots.master.clone(),
                master_name: settings.master_username.clone().unwrap_or_else(|| "master".to_owned()),
                pepper,
                session_duration: settings.session_duration.unwrap_or(SESSION),
            },
        );
        let admin_settings = AdminSettings {
            key_max_expiration: settings.key_max_expiration,
            openapi: openapi_info(&settings, config.prefix.as_str()),
            disabled: settings.fleet.disabled_routers,
            hidden: settings.fleet.hidden_routers,
        };
        let (management, openapi) = admin::router(AppState {
            store: store.clone(),
            vault: Arc::clone(&ring),
            access,
            fleet,
            settings: Arc::new(admin_settings),
        });
        let usage = UsageService::new(Ingest::new(store.clone(), keep, known_keys(sync.publisher())));
        Ok(Self { store, ring, management, openapi: Arc::new(openapi), sync, usage })
    }

    /// The management surface: admin API, self-service, login, OpenAPI document.
    pub fn management(&self) -> axum::Router {
        self.management.clone()
    }

    /// The OpenAPI document of the management surface.
    #[must_use]
    pub fn openapi(&self) -> &utoipa::openapi::OpenApi {
        &self.openapi
    }

    /// The services for data planes. They refuse everybody unless they are served behind a [`PeerLayer`].
    pub fn routes(&self) -> Routes {
        let usage = UsageServer::new(self.usage.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .accept_compressed(CompressionEncoding::Zstd);
        Routes::new(self.sync.clone().into_server()).add_service(usage)
    }

    /// Serves a connection of the data plane in this process, which needs no token, until its other end is dropped.
    ///
    /// It is served apart from the phases of the end, so that this plane's last usage records still get through.
    pub fn serve_local(&self, connection: DuplexStream) {
        tokio::spawn(serve::local(self.routes(), connection));
    }

    /// What gives data planes behind a network their certificates.
    async fn enrolments(&self, lifetime: Duration) -> Result<Enrolments, StartError> {
        Ok(Enrolments::new(self.store.clone(), Authority::load(&self.store, &self.ring, lifetime).await?))
    }

    /// What lets them in.
    fn peers(&self, enrolments: &Enrolments, shutdown: &Shutdown) -> PeerLayer {
        let revocations = Revocations::default();
        revocations.follow(self.store.clone(), shutdown);
        PeerLayer::fleet(enrolments.clone(), revocations)
    }

    /// Closes the database.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

/// Follows the catalog and gives it to whoever connects.
fn publish(
    store: &Store,
    ring: &Arc<KeyRing>,
    roots: snapshot::Roots,
    nodes: &Nodes,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> SyncService {
    let publisher = Publisher::new();
    let builder = Builder::new(store.clone(), Arc::clone(ring), roots);
    let watcher = Watcher::new(store.clone(), builder, publisher.clone());
    shutdown.spawn("catalog watcher", watcher.run(shutdown.clone()));

    let (condition, mut published, ending) =
        (readiness.condition("published"), publisher.subscribe(), shutdown.clone());
    shutdown.spawn("first snapshot", async move {
        tokio::select! {
            first = published.wait_for(Option::is_some) => condition.set(first.is_ok()),
            () = ending.stopping() => {}
        }
    });
    let seals = Seals::new(Arc::clone(ring));
    let resumes = Resumes::new(seals.clone(), publisher.clone(), Arc::new(store.clone()));
    SyncService::new(publisher, seals, resumes, nodes.clone(), shutdown.clone())
}

/// The keys of the catalog that is published.
fn known_keys(publisher: &Publisher) -> KnownKeys {
    let publisher = publisher.clone();
    KnownKeys::new(move |key| {
        let key = Ref { kind: Kind::Key, id: key.uuid() };
        publisher.current().is_none_or(|snapshot| snapshot.holds(key))
    })
}

/// What the file says of the API, over the defaults.
fn openapi_info(settings: &Settings, prefix: &str) -> OpenApiInfo {
    let (api, default) = (settings.api.clone(), OpenApiInfo::default());
    OpenApiInfo {
        title: api.title.unwrap_or(default.title),
        version: api.version.unwrap_or(default.version),
        summary: api.summary,
        description: api.description,
        terms_of_service: api.terms_of_service,
        contact_name: api.contact_name,
        contact_url: api.contact_url,
        contact_email: api.contact_email,
        license_name: api.license_name,
        license_identifier: api.license_identifier,
        license_url: api.license_url,
        tags: api
            .tags
            .into_iter()
            .map(|tag| TagInfo { name: tag.name, description: tag.description, docs: tag.docs })
            .collect(),
        path: api.openapi_path.unwrap_or(default.path),
        docs_path: api.docs_path.unwrap_or(default.docs_path),
        redoc_path: api.redoc_path.unwrap_or(default.redoc_path),
        prefix: prefix.to_owned(),
    }
}
