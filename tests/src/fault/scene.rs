//! What a scenario plays on: a gateway whose every link is a fault proxy, and whose every part can be ended and begun.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::json;
use sqlx::PgPool;

use super::clock;
use super::load::{Balancer, script};
use super::proxy::TcpFaultProxy;
use super::scenario::{Postgres, Stage};
use super::server::Server;
use crate::admin::{Admin, number, provider_body, unlimited};
use crate::client::Client;
use crate::gateway::{MASTER_KEY, control_plane_over, data_plane_launch, join_token};
use crate::postgres::Database;
use crate::process::{Process, Ready};
use crate::stage::{COMPLETION_PRICE, PROMPT_PRICE};
use crate::upstream::Upstream;
use crate::{eventually, paths, unique};

/// How long a part may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway under test.
pub struct Scene {
    /// Behind every provider.
    pub upstream: Upstream,
    /// Before the nodes.
    pub balancer: Arc<Balancer>,
    /// Numbers and values of the callers' keys.
    pub keys: Vec<(i64, String)>,
    /// What the callers ask for.
    pub router: String,
    /// A router that nobody calls, for changes that concern nobody.
    pub bystander: i64,
    /// By name.
    pub links: BTreeMap<String, TcpFaultProxy>,
    /// The data planes.
    pub nodes: Vec<Node>,
    /// The control plane.
    pub control: Part,
    control_ready: Ready,
    database_url: String,
    base: Base,
    clocks: Option<PathBuf>,
}

/// A process that may end and begin again; those that ended are kept for what they said.
pub struct Part {
    /// Where it runs.
    pub folder: PathBuf,
    processes: Mutex<Vec<Process>>,
    /// Whether it was ended by the scenario.
    down: AtomicBool,
    crashes: Mutex<Vec<String>>,
}

/// A data plane.
pub struct Node {
    /// Its process.
    pub part: Part,
    /// How often it was started.
    pub boots: AtomicUsize,
    grpc: String,
    /// What let it in.
    pub token: String,
    flags: Vec<String>,
    ready: Mutex<Option<Ready>>,
}

enum Base {
    Shared(Database),
    Own { primary: Box<Server>, standby: Option<Box<Server>>, promoted: AtomicBool },
}

impl Part {
    fn new(folder: PathBuf) -> Self {
        Self { folder, processes: Mutex::default(), down: AtomicBool::new(true), crashes: Mutex::default() }
    }

    fn begin(&self, process: Process) {
        self.note_crash();
        self.down.store(false, Ordering::Relaxed);
        self.processes.lock().push(process);
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.note_crash();
        self.down.store(true, Ordering::Relaxed);
        self.with(Process::kill);
    }

    /// If it ended by itself, that is kept.
    fn note_crash(&self) {
        if !self.down.load(Ordering::Relaxed)
            && let Some(status) = self.with(Process::ended)
        {
            self.crashes.lock().push(format!("{} ended by itself: {status}", self.folder.display()));
        }
    }

    /// Looks at the process that runs, or ran last.
    pub fn with<R>(&self, look: impl FnOnce(&Process) -> R) -> R {
        look(self.processes.lock().last().expect("it was started"))
    }

    /// Whether it runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.with(|process| process.ended().is_none())
    }

    /// All that it printed and logged at all its starts.
    #[must_use]
    pub fn said(&self) -> String {
        self.processes.lock().iter().map(Process::said).collect()
    }
}

impl Scene {
    /// Sets everything up, with so many keys.
    pub async fn set(form: &Stage, keys: usize) -> Self {
        let base = Base::start(form.postgres).await;
        let mut links = BTreeMap::new();
        links.insert("postgres".to_owned(), TcpFaultProxy::start(&base.address()).await);
        let database_url = base.url().replace(&base.address(), links["postgres"].address());
        let clocks = form.clocks.then(|| clock::library().expect("libfaketime"));
        let control = Part::new(paths::folder("faults-control-plane"));
        let control_ready = start_control(&control, &database_url, clocks.as_deref(), None).await;

        let grpc = control_ready.grpc.as_deref().and_then(|url| url.strip_prefix("http://")).expect("a gRPC address");
        let mut nodes = Vec::new();
        for place in 0..form.nodes {
            let link = TcpFaultProxy::start(grpc).await;
            let token = join_token(&control_ready.public).await;
            nodes.push(Node::new(format!("http://{}", link.address()), token, form.node_flags.clone()));
            links.insert(format!("node-{place}"), link);
        }
        let upstream = Upstream::start().await;
        upstream.decides(script);
        let place = upstream.url().strip_prefix("http://").expect("its address").to_owned();
        let mut providers = Vec::new();
        for number in 0..form.providers {
            let link = TcpFaultProxy::start(&place).await;
            providers.push(format!("http://{}", link.address()));
            links.insert(format!("upstream-{number}"), link);
        }
        let admin = Admin::new(&control_ready.public, MASTER_KEY);
        let (router, keys, bystander) = catalog(&admin, &providers, form.first_provider_timeout, keys).await;
        let balancer = Arc::default();
        let scene = Self {
            upstream,
            balancer,
            keys,
            router,
            bystander,
            links,
            nodes,
            control,
            control_ready,
            database_url,
            base,
            clocks,
        };
        join_all((0..form.nodes).map(|node| scene.start_node(node))).await;
        join_all((0..form.nodes).map(|node| scene.knows_everybody(node))).await;
        scene
    }

    /// The admin API.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(&self.control_ready.public, MASTER_KEY)
    }

    /// A link by its name.
    #[must_use]
    pub fn link(&self, name: &str) -> &TcpFaultProxy {
        self.links.get(name).unwrap_or_else(|| panic!("no link {name}: there are {:?}", self.links.keys()))
    }

    /// The data plane of this number.
    #[must_use]
    pub fn node(&self, place: usize) -> &Node {
        self.nodes.get(place).unwrap_or_else(|| panic!("no node-{place}: there are {}", self.nodes.len()))
    }

    /// The server of its own.
    #[must_use]
    pub fn server(&self) -> &Server {
        let Base::Own { primary, standby, promoted } = &self.base else { panic!("the stage shares its Postgres") };
        standby.as_ref().filter(|_| promoted.load(Ordering::Relaxed)).unwrap_or(primary)
    }

    /// The standby takes over, and new connections go to it.
    pub async fn promote(&self) {
        let Base::Own { primary, standby: Some(standby), promoted } = &self.base else {
            panic!("the stage has no standby")
        };
        primary.demote().await;
        standby.promote(primary).await;
        promoted.store(true, Ordering::Relaxed);
        self.link("postgres").retarget(&standby.address());
    }

    /// Starts the control plane again at its old addresses.
    pub async fn start_control(&self) {
        start_control(&self.control, &self.database_url, self.clocks.as_deref(), Some(&self.control_ready)).await;
    }

    /// Starts a node, and puts it in when it is ready.
    pub async fn start_node(&self, place: usize) {
        let url = self.node(place).start(self.clocks.as_deref()).await;
        self.balancer.put(place, &url);
    }

    /// Waits until a node lets every caller in.
    async fn knows_everybody(&self, place: usize) {
        let url = self.balancer.url(place).expect("a node that is in");
        let path = format!("/v1/models/{}", self.router);
        for (_, key) in &self.keys {
            let client = Client::new(&*url).bearer(key);
            eventually("the node knows the callers", PATIENCE, || async {
                (client.get(&path).send().await.status == 200).then_some(())
            })
            .await;
        }
    }

    /// Postgres itself, whatever its link is like.
    pub async fn pool(&self) -> PgPool {
        match &self.base {
            Base::Shared(database) => database.pool().await,
            Base::Own { .. } => self.server().pool().await,
        }
    }

    /// Processes that ended by themselves, and panics.
    #[must_use]
    pub fn crashes(&self) -> Vec<String> {
        let mut crashes = Vec::new();
        for part in self.parts() {
            part.note_crash();
            crashes.append(&mut part.crashes.lock());
            let said = part.said();
            crashes.extend(said.lines().filter(|line| line.contains("panicked at")).map(str::to_owned));
        }
        crashes
    }

    /// Makes everything work that was made not to.
    pub async fn mend(&self) {
        self.links.values().for_each(TcpFaultProxy::heal);
        if matches!(self.base, Base::Own { .. }) && !self.server().runs() {
            self.server().go_on().await;
        }
        if !self.control.runs() {
            self.start_control().await;
        }
        for (place, node) in self.nodes.iter().enumerate() {
            if !node.part.runs() {
                self.start_node(place).await;
            }
            node.disk(false);
        }
        if self.clocks.is_some() {
            self.parts().for_each(|part| clock::set(&part.folder, "0"));
        }
    }

    /// Every process of the gateway.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.nodes.iter().map(|node| &node.part).chain([&self.control])
    }
}

impl Node {
    fn new(grpc: String, token: String, flags: Vec<String>) -> Self {
        let part = Part::new(paths::folder("faults-node"));
        Self { part, boots: AtomicUsize::new(0), grpc, token, flags, ready: Mutex::default() }
    }

    async fn start(&self, clocks: Option<&Path>) -> String {
        let folder = &self.part.folder;
        let mut launch = data_plane_launch(&self.grpc, &self.token, folder).args(&self.flags);
        if let Some(library) = clocks {
            launch = clock::under(launch, library, folder);
        }
        let process = launch.start();
        let ready = process.ready().await;
        let url = ready.public.clone();
        self.boots.fetch_add(1, Ordering::Relaxed);
        self.part.begin(process);
        *self.ready.lock() = Some(ready);
        url
    }

    /// Ends it at once.
    pub fn kill(&self) {
        *self.ready.lock() = None;
        self.part.kill();
    }

    /// Asks it to end, and waits until it has answered all it had begun.
    pub async fn terminate(&self) {
        self.part.down.store(true, Ordering::Relaxed);
        self.part.with(|process| process.signal("TERM"));
        eventually("the node ends", PATIENCE, || async { (!self.part.runs()).then_some(()) }).await;
        *self.ready.lock() = None;
        let ended = self.part.with(|process| process.ended());
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}: {}", self.part.said());
    }

    /// Its metrics, and which of its starts they are of; nothing while it is down.
    pub async fn metrics(&self) -> Option<(usize, String)> {
        let boot = self.boots.load(Ordering::Relaxed);
        let url = self.ready.lock().as_ref()?.operations.clone();
        let reply = Client::new(url).get("/metrics").try_send().await.ok()?;
        (reply.status == 200 && boot == self.boots.load(Ordering::Relaxed)).then(|| (boot, reply.text()))
    }

    /// No file of it can grow beyond a few bytes, or can again.
    pub fn disk(&self, full: bool) {
        let limit = if full { "--fsize=512:unlimited" } else { "--fsize=unlimited:unlimited" };
        let pid = self.part.with(|process| process.id().to_string());
        let done = std::process::Command::new("prlimit").args(["--pid", &pid, limit]).status();
        assert!(done.is_ok_and(|status| status.success()), "no limit for {pid}");
    }

    /// Changes a byte in the newest file of a folder of its data.
    pub fn corrupt(&self, folder: &str) {
        let folder = self.part.folder.join("data").join(folder);
        let files =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten();
        let files =
            files.map(|file| file.path()).filter(|path| std::fs::metadata(path).is_ok_and(|file| file.len() > 64));
        let newest = files.max_by_key(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok());
        let newest = newest.unwrap_or_else(|| panic!("nothing to damage in {}", folder.display()));
        let mut bytes = std::fs::read(&newest).expect("the file");
        // In the middle of what was used, but at the beginning of the copy: without its base the rest is nothing.
        let place = if folder.ends_with("spool") { bytes.len() / 2 } else { 60 };
        bytes[place] ^= 0x55;
        std::fs::write(&newest, bytes).expect("the file");
    }
}

impl Base {
    async fn start(form: Postgres) -> Self {
        if form == Postgres::Shared {
            return Self::Shared(Database::migrated().await);
        }
        let primary = Server::start().await;
        let standby = if form == Postgres::Pair { Some(Box::new(primary.standby().await)) } else { None };
        Self::Own { primary: Box::new(primary), standby, promoted: AtomicBool::new(false) }
    }

    fn url(&self) -> String {
        match self {
            Self::Shared(database) => database.url().to_owned(),
            Self::Own { primary, .. } => primary.url(),
        }
    }

    fn address(&self) -> String {
        let url = self.url();
        let place = url.rsplit_once('@').map_or("", |(_, place)| place);
        place.split('/').next().unwrap_or_default().to_owned()
    }
}

async fn start_control(part: &Part, database: &str, clocks: Option<&Path>, again: Option<&Ready>) -> Ready {
    let mut launch = control_plane_over(database, &part.folder, again);
    if let Some(library) = clocks {
        launch = clock::under(launch, library, &part.folder);
    }
    let process = launch.start();
    let ready = process.ready().await;
    part.begin(process);
    ready
}

/// A router with its providers, a bystander, and keys of one caller: the router's name, the keys, the bystander.
async fn catalog(admin: &Admin, urls: &[String], timeout: Duration, keys: usize) -> (String, Vec<(i64, String)>, i64) {
    let router = unique("router");
    let body = json!({
        "name": router, "type": "text-generation",
        "cost_prompt_tokens": PROMPT_PRICE, "cost_completion_tokens": COMPLETION_PRICE,
    });
    let router_id = number(&admin.create("routers", &body).await);
    for (place, url) in urls.iter().enumerate() {
        let mut provider = provider_body(router_id, url);
        if place == 0 {
            provider["timeout"] = timeout.as_secs().into();
        }
        admin.create("providers", &provider).await;
    }
    let (bystander, _) = admin.router("text-generation").await;
    let role = admin.role(&[], &unlimited(router_id)).await;
    let user = admin.user(role, None).await;
    let mut made = Vec::new();
    for _ in 0..keys {
        made.push(admin.key(user).await);
    }
    (router, made, bystander)
}
