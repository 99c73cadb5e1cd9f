//! A fleet: control planes on one database, simulated nodes and real ones, and how long a change takes to reach all of them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use shared::kernel::secret::Secret;
use tokio::time::sleep;
use url::Url;

use super::{Simulator, Spread};
use crate::admin::{Admin, number, provider_body};
use crate::client::Client;
use crate::gateway::{MASTER_KEY, control_plane_launch, data_plane_launch, join_token};
use crate::postgres::Database;
use crate::process::{Process, Ready};
use crate::{eventually, paths, unique};

/// How often a real node is asked whether it is there yet.
const ASK: Duration = Duration::from_millis(5);
/// When waiting for one change is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How large a fleet is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Replicas of the control plane.
    pub control_planes: usize,
    /// Nodes in this process.
    pub simulated: usize,
    /// Nodes that are processes.
    pub real: usize,
}

/// Control planes on one database, and the data planes that follow them over mutual TLS.
pub struct Fleet {
    /// Nodes in this process.
    pub simulator: Simulator,
    real: Vec<Real>,
    controls: Vec<Replica>,
    watched: Watched,
    database: Database,
}

struct Real {
    process: Process,
    ready: Ready,
    folder: PathBuf,
    /// Of the control planes, with commas.
    addresses: String,
}

struct Replica {
    process: Process,
    ready: Ready,
    folder: PathBuf,
}

/// What changes are made to, and the key by which they are looked at.
struct Watched {
    router_id: i64,
    user_id: i64,
    key: String,
}

impl Fleet {
    /// Starts all of it and waits until every node serves.
    pub async fn start(plan: Plan) -> Self {
        Self::over(Database::migrated().await, plan).await
    }

    /// The same over a database that holds something already.
    pub async fn over(database: Database, plan: Plan) -> Self {
        let mut controls = Vec::new();
        for _ in 0..plan.control_planes {
            let folder = paths::folder("control-plane");
            let process = control_plane_launch(&database, &folder, None).start();
            let ready = process.ready().await;
            controls.push(Replica { process, ready, folder });
        }
        let admin = Admin::new(&controls[0].ready.public, MASTER_KEY);
        let watched = Watched::set(&admin).await;
        let token = join_token(&controls[0].ready.public).await;
        let addresses: Vec<String> = controls.iter().map(Replica::address).collect();
        let urls: Vec<Url> = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        let mut real = Vec::new();
        for _ in 0..plan.real {
            let (folder, addresses) = (paths::folder("data-plane"), addresses.join(","));
            let process = data_plane_launch(&addresses, &token, &folder).start();
            let ready = process.ready().await;
            real.push(Real { process, ready, folder, addresses });
        }
        let simulator = Simulator::start(plan.simulated, &urls, &Secret::new(token)).await;
        let fleet = Self { simulator, real, controls, watched, database };
        for client in fleet.clients() {
            eventually("a real node lets the caller in", PATIENCE, || async {
                (client.bearer(&fleet.watched.key).get("/v1/models").send().await.status == 200).then_some(())
            })
            .await;
        }
        fleet
    }

    /// Operators' way to one of the replicas.
    #[must_use]
    pub fn admin(&self, replica: usize) -> Admin {
        Admin::new(&self.controls[replica % self.controls.len()].ready.public, MASTER_KEY)
    }

    /// The database below.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// Addresses of a replica.
    #[must_use]
    pub fn ready(&self, replica: usize) -> &Ready {
        &self.controls[replica].ready
    }

    /// The process of a replica.
    #[must_use]
    pub fn control(&self, replica: usize) -> &Process {
        &self.controls[replica].process
    }

    /// Ends a replica as a crash would.
    pub fn kill_control(&self, replica: usize) {
        self.controls[replica].process.kill();
    }

    /// Starts a replica that ended again, at its old addresses.
    pub async fn restart_control(&mut self, replica: usize) {
        let Replica { process, ready, folder } = &mut self.controls[replica];
        *process = control_plane_launch(&self.database, folder, Some(ready)).start();
        process.ready().await;
    }

    /// All that its control planes said.
    #[must_use]
    pub fn said(&self) -> String {
        self.controls.iter().map(|control| control.process.said()).collect()
    }

    fn clients(&self) -> impl Iterator<Item = Client> + '_ {
        self.real.iter().map(|real| Client::new(&real.ready.public))
    }

    /// Renames the router through a replica; how long from before the request until each node decides by the new name.
    pub async fn change(&self, replica: usize) -> Vec<Duration> {
        let (before, name) = (self.simulator.lowest(), unique("renamed"));
        let place = format!("routers/{}", self.watched.router_id);
        let (admin, body) = (self.admin(replica), json!({"name": name}));
        let path = format!("/v1/models/{name}");
        self.spread(
            admin.change(&place, &body),
            self.simulator.until("the change", PATIENCE, |node| node.revision() > before),
            |client| answers(client, &self.watched.key, &path, 200),
        )
        .await
    }

    /// Removes a key through a replica; how long from before the request until no node lets it in.
    pub async fn revocation(&self, replica: usize) -> Vec<Duration> {
        let (id, key) = self.admin(replica).key(self.watched.user_id).await;
        self.simulator.until("the key", PATIENCE, |node| node.admits(&key)).await;
        for client in self.clients() {
            answers(client, &key, "/v1/models", 200).await;
        }
        let (admin, place) = (self.admin(replica), format!("keys/{id}"));
        self.spread(
            admin.remove(&place),
            self.simulator.until("the revocation", PATIENCE, |node| !node.admits(&key)),
            |client| answers(client, &key, "/v1/models", 401),
        )
        .await
    }

    /// Does something and waits for simulated and real nodes, all at the same time.
    async fn spread<F: Future<Output = ()> + Send + 'static>(
        &self,
        doing: impl Future,
        simulated: impl Future<Output = Vec<Duration>>,
        real: impl Fn(Client) -> F,
    ) -> Vec<Duration> {
        let start = Instant::now();
        let asking: Vec<_> = self
            .clients()
            .map(|client| {
                let real = real(client);
                tokio::spawn(async move {
                    real.await;
                    start.elapsed()
                })
            })
            .collect();
        let (_, mut reached) = tokio::join!(doing, simulated);
        for asked in asking {
            reached.push(asked.await.expect("a real node answers"));
        }
        reached
    }

    /// Stops a real node, ends all control planes, and starts the node again; how long until it is ready.
    pub async fn restart_from_disk(&mut self, node: usize) -> Duration {
        // The copy is written a moment after a revision is applied, and again when the process ends.
        self.real[node].process.terminate(Duration::from_secs(30)).await;
        for control in &self.controls {
            control.process.kill();
        }
        let start = Instant::now();
        let real = &mut self.real[node];
        real.process = data_plane_launch(&real.addresses, "", &real.folder).start();
        real.ready = real.process.ready().await;
        let took = start.elapsed();
        let client = Client::new(&real.ready.public).bearer(&self.watched.key);
        client.get("/v1/models").send().await.expect(200);
        took
    }

    /// Where a real node shows its metrics.
    #[must_use]
    pub fn operations(&self, node: usize) -> &str {
        &self.real[node].ready.operations
    }

    /// The process of a real node.
    #[must_use]
    pub fn node(&self, node: usize) -> &Process {
        &self.real[node].process
    }

    /// Makes so many changes and revocations, through the replicas in turn.
    pub async fn measure(&self, rounds: usize) -> (Spread, Spread) {
        let (mut changes, mut revocations) = (Spread::default(), Spread::default());
        for round in 0..rounds {
            changes.add(self.change(round).await);
            revocations.add(self.revocation(round).await);
        }
        (changes, revocations)
    }
}

impl Replica {
    fn address(&self) -> String {
        self.ready.grpc.as_ref().expect("a gRPC address").replace("http://", "https://")
    }
}

impl Watched {
    async fn set(admin: &Admin) -> Self {
        let (router_id, _) = admin.router("text-generation").await;
        admin.create("providers", &provider_body(router_id, "http://127.0.0.1:9")).await;
        let role = number(&admin.create("roles", &json!({"name": unique("role"), "all_routers": true})).await);
        let user_id = admin.user(role, None).await;
        let (_, key) = admin.key(user_id).await;
        Self { router_id, user_id, key }
    }
}

/// Asks until the status is this one.
fn answers(client: Client, key: &str, path: &str, status: u16) -> impl Future<Output = ()> + Send + 'static {
    let (client, path) = (client.bearer(key), path.to_owned());
    async move {
        let start = Instant::now();
        loop {
            let reply = client.get(&path).send().await;
            if reply.status == status {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{path}: still {} after {PATIENCE:?}", reply.status);
            sleep(ASK).await;
        }
    }
}
