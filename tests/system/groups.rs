//! Groups: a data plane is told, and holds, what its Group serves and no more; routers move between Groups while all run.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::admin::{Admin, number, provider_body, unlimited};
use harness::client::Client;
use harness::gateway::{ENFORCED_WITHIN, MASTER_KEY, control_plane_launch, data_plane_launch, standalone_launch};
use harness::paths;
use harness::postgres::Database;
use harness::process::{Process, Ready};
use harness::upstream::Upstream;
use harness::{eventually, run};
use serde_json::{Value, json};

const EU_SECRET: &str = "sk-provider-canary-of-eu-31b7";
const US_SECRET: &str = "sk-provider-canary-of-us-9c04";

/// How the machine divides memory.
const PAGE: u64 = 4_096;

/// A data plane of one Group.
struct Node {
    process: Process,
    client: Client,
    folder: PathBuf,
}

struct Scene {
    admin: Admin,
    control: Process,
    ready: Ready,
    folder: PathBuf,
    database: Database,
    upstreams: [Upstream; 2],
    /// Number and name of a router.
    eu: (i64, String),
    us: (i64, String),
    key: String,
}

impl Scene {
    /// Two routers, each for one Group, and a caller who may use both.
    async fn set() -> Self {
        let database = Database::migrated().await;
        let folder = paths::folder("groups");
        let control = control_plane_launch(&database, &folder, None).start();
        let ready = control.ready().await;
        let admin = Admin::new(&ready.public, MASTER_KEY);
        let upstreams = [Upstream::start().await, Upstream::start().await];
        let eu = router(&admin, "eu", upstreams[0].url(), EU_SECRET).await;
        let us = router(&admin, "us", upstreams[1].url(), US_SECRET).await;
        let role = admin.role(&[], &[unlimited(eu.0), unlimited(us.0)].concat()).await;
        let user = admin.user(role, None).await;
        let (_, key) = admin.key(user).await;
        Self { admin, control, ready, folder, database, upstreams, eu, us, key }
    }

    async fn node(&self, group: &str, folder: &Path) -> Node {
        let token = self.admin.create("fleet/join-tokens", &json!({"name": group, "group": group})).await;
        let address = self.ready.grpc.as_ref().expect("a gRPC address").replace("http://", "https://");
        let token = token["token"].as_str().expect("a join token");
        let process = data_plane_launch(&address, token, folder).start();
        let client = Client::new(&process.ready().await.public).bearer(&self.key);
        Node { process, client, folder: folder.to_owned() }
    }

    /// Which of the two a node lists.
    async fn lists(&self, node: &Node) -> (bool, bool) {
        let reply = node.client.get("/v1/models").send().await;
        let list = reply.expect(200).json();
        let has = |name: &str| list["data"].as_array().expect("data").iter().any(|model| model["id"] == name);
        (has(&self.eu.1), has(&self.us.1))
    }

    async fn until_lists(&self, what: &str, node: &Node, expected: (bool, bool)) {
        eventually(what, Duration::from_secs(15), || async { (self.lists(node).await == expected).then_some(()) })
            .await;
    }

    async fn moves(&self, groups: &[&str]) {
        self.admin.change(&format!("routers/{}", self.us.0), &json!({"groups": groups})).await;
    }
}

async fn router(admin: &Admin, group: &str, url: &str, secret: &str) -> (i64, String) {
    let name = harness::unique(group);
    let body = json!({"name": name, "type": "text-generation", "groups": [group]});
    let router = admin.create("routers", &body).await;
    assert_eq!(router["groups"], json!([group]), "{router}");
    let mut provider = provider_body(number(&router), url);
    provider["key"] = secret.into();
    admin.create("providers", &provider).await;
    (number(&router), name)
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Good day?"}]})
}

/// Which of these texts stand anywhere in what a process has written to its memory.
fn remembered<'a>(process: &Process, texts: &[&'a str]) -> Vec<&'a str> {
    let open = |file: &str| std::fs::File::open(format!("/proc/{}/{file}", process.id())).expect("a child's memory");
    let (memory, pages) = (open("mem"), open("pagemap"));
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.id())).expect("the maps of a child");
    let mut found = vec![];
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let ends = range.split_once('-').map(|(from, to)| (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)));
        let (true, Some((Ok(from), Ok(to)))) = (rights.starts_with("rw"), ends) else { continue };
        // What was never touched is not read: allocators reserve far more than they use.
        let mut entries = vec![0; usize::try_from((to - from) / PAGE * 8).expect("a size")];
        if pages.read_exact_at(&mut entries, from / PAGE * 8).is_err() {
            continue;
        }
        let touched: Vec<bool> = entries.chunks_exact(8).map(|entry| entry[7] & 0xc0 != 0).collect();
        let mut at = from;
        for run in touched.chunk_by(|one, two| one == two) {
            let mut bytes = vec![0; if run[0] { run.len() * usize::try_from(PAGE).unwrap() } else { 0 }];
            if run[0] && memory.read_exact_at(&mut bytes, at).is_ok() {
                found.extend(texts.iter().filter(|text| memchr::memmem::find(&bytes, text.as_bytes()).is_some()));
            }
            at += run.len() as u64 * PAGE;
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

async fn rejected(admin: &Admin) -> Vec<Value> {
    let fleet = admin.read("fleet").await;
    let nodes = fleet["data"].as_array().expect("data").clone();
    nodes.iter().flat_map(|node| node["rejected"].as_array().cloned().unwrap_or_default()).collect()
}

#[test]
fn a_node_holds_what_its_group_serves() {
    run(async {
        let scene = Scene::set().await;
        let eu = scene.node("eu", &paths::folder("node-eu")).await;
        let us = scene.node("us", &paths::folder("node-us")).await;
        let other = scene.node("default", &paths::folder("node-other")).await;
        scene.until_lists("eu serves its own", &eu, (true, false)).await;
        scene.until_lists("us serves its own", &us, (false, true)).await;
        scene.until_lists("others serve neither", &other, (false, false)).await;
        assert_eq!(rejected(&scene.admin).await, Vec::<Value>::new(), "limits of routers elsewhere are no concern");

        eu.client.post("/v1/chat/completions", &chat(&scene.eu.1)).send().await.expect(200);
        us.client.post("/v1/chat/completions", &chat(&scene.us.1)).send().await.expect(200);
        for (node, name) in [(&eu, &scene.us.1), (&us, &scene.eu.1), (&other, &scene.us.1)] {
            node.client.post("/v1/chat/completions", &chat(name)).send().await.expect(404);
            node.client.get(&format!("/v1/models/{name}")).send().await.expect(404);
        }
        assert_eq!(scene.upstreams[0].only().headers["authorization"], format!("Bearer {EU_SECRET}"));

        // What a node does not serve is in none of its memory; what it serves shows that the look is good.
        let both = [EU_SECRET, US_SECRET];
        assert_eq!(remembered(&eu.process, &both), [EU_SECRET], "a credential of another Group in a node's memory");
        assert_eq!(remembered(&us.process, &both), [US_SECRET]);
        assert_eq!(remembered(&other.process, &both), [""; 0]);

        let listed = scene.admin.read("routers?group=eu&limit=100").await;
        let ids: Vec<i64> = listed["data"].as_array().expect("data").iter().map(number).collect();
        assert!(ids.contains(&scene.eu.0) && !ids.contains(&scene.us.0), "{ids:?}");
        for bad in [json!(["eu", "eu"]), json!([""]), json!([7]), json!("eu")] {
            let reply = scene.admin.patch(&format!("routers/{}", scene.eu.0), &json!({"groups": bad})).await;
            assert_eq!(reply.status, 422, "{bad}: {}", reply.text());
        }
    });
}

#[test]
fn a_router_moves_between_groups() {
    run(async {
        let scene = Scene::set().await;
        let (eu_folder, us_folder) = (paths::folder("moving-eu"), paths::folder("moving-us"));
        let eu = scene.node("eu", &eu_folder).await;
        let us = scene.node("us", &us_folder).await;
        scene.until_lists("us serves its own", &us, (false, true)).await;

        // While both run.
        scene.moves(&["eu"]).await;
        eventually("eu serves it", 3 * ENFORCED_WITHIN, || async {
            let reply = eu.client.post("/v1/chat/completions", &chat(&scene.us.1)).send().await;
            (reply.status == 200).then_some(())
        })
        .await;
        scene.until_lists("us does not any more", &us, (false, false)).await;
        assert_eq!(scene.upstreams[1].only().headers["authorization"], format!("Bearer {US_SECRET}"));

        // While one is down; the other is told at once.
        us.process.terminate(Duration::from_secs(30)).await;
        scene.moves(&["us"]).await;
        scene.until_lists("eu does not any more", &eu, (true, false)).await;
        let us = scene.node("us", &us.folder).await;
        scene.until_lists("us serves it again", &us, (false, true)).await;

        // While one is down and the control plane is another by the time it comes back: from the log.
        us.process.terminate(Duration::from_secs(30)).await;
        scene.moves(&[]).await;
        scene.control.kill();
        let control = control_plane_launch(&scene.database, &scene.folder, Some(&scene.ready)).start();
        control.ready().await;
        scene.until_lists("eu serves it too", &eu, (true, true)).await;
        let us = scene.node("us", &us.folder).await;
        scene.until_lists("us serves it as all do", &us, (false, true)).await;
        us.client.post("/v1/chat/completions", &chat(&scene.us.1)).send().await.expect(200);
        assert_eq!(rejected(&scene.admin).await, Vec::<Value>::new());
        assert!(!control.said().contains("a new epoch"), "{}", control.said());
    });
}

/// A configuration file names Groups too; standalone is of the Group `default`.
#[test]
fn a_file_names_groups() {
    run(async {
        let (database, folder) = (Database::migrated().await, paths::folder("groups-file"));
        let file = folder.join("gatewright.yml");
        let model = |name: &str, groups: &str| {
            format!(
                "  - name: {name}\n    type: text-generation\n    groups: {groups}\n    providers:\n      - type: mock\n        \
                 url: mock://local\n        model_name: m\n"
            )
        };
        let models = format!("models:\n{}{}", model("here", "[default, eu]"), model("there", "[eu]"));
        let settings = format!("settings:\n  auth_master_key: {MASTER_KEY}\n  auth_master_key_inference: true\n");
        std::fs::write(&file, format!("{models}{settings}")).unwrap();
        let process = standalone_launch(&database, &folder).flag("--config", &file).start();
        let ready = process.ready().await;
        let client = Client::new(&ready.public).bearer(MASTER_KEY);
        client.post("/v1/chat/completions", &chat("here")).send().await.expect(200);
        client.post("/v1/chat/completions", &chat("there")).send().await.expect(404);
        let routers = Admin::new(&ready.public, MASTER_KEY).read("routers?name=there").await;
        assert_eq!(routers["data"][0]["groups"], json!(["eu"]), "{routers}");
    });
}

/// A node that enrols anew in another Group, with what it held on disk, ends with what that Group is told.
#[test]
fn a_node_changes_its_group() {
    run(async {
        let scene = Scene::set().await;
        let folder = paths::folder("changing");
        let node = scene.node("eu", &folder).await;
        scene.until_lists("it serves eu", &node, (true, false)).await;
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        node.process.terminate(Duration::from_secs(30)).await;
        std::fs::remove_dir_all(folder.join("data/identity")).expect("its certificate");
        let node = scene.node("us", &folder).await;
        scene.until_lists("it serves us", &node, (false, true)).await;
        assert!(!scene.control.said().contains("a new epoch"), "{}", scene.control.said());
    });
}
