//! Several control planes over one database: changes and orders cross them, nodes move between them, all see all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use harness::admin::Admin;
use harness::client::Client;
use harness::gateway::{ENFORCED_WITHIN, Gateway, MASTER_KEY, control_plane_launch, data_plane_launch, join_token};
use harness::process::{Process, Ready};
use harness::stage::Stage;
use harness::{eventually, paths, run};
use serde_json::{Value, json};

/// A second control plane on the database of a gateway.
struct Second {
    process: Process,
    ready: Ready,
    admin: Admin,
}

impl Second {
    async fn beside(gateway: &Gateway) -> Self {
        let process = control_plane_launch(gateway.database(), &paths::folder("second-control"), None).start();
        let ready = process.ready().await;
        let admin = Admin::new(&ready.public, MASTER_KEY);
        Self { process, ready, admin }
    }

    fn grpc(&self) -> &str {
        self.ready.grpc.as_deref().expect("a gRPC address")
    }

    /// A node that knows this control plane alone.
    async fn node(&self) -> (Process, Ready) {
        let token = join_token(&self.ready.public).await;
        let process = data_plane_launch(self.grpc(), &token, &paths::folder("second-node")).start();
        let ready = process.ready().await;
        (process, ready)
    }
}

/// The live nodes as one control plane shows them, once there are so many.
async fn live(admin: &Admin, count: usize) -> Vec<Value> {
    let what = format!("{count} live nodes are shown");
    eventually(&what, Duration::from_secs(15), || async {
        let fleet = admin.read("fleet?state=live&limit=100").await;
        let nodes = fleet["data"].as_array().expect("data").clone();
        (nodes.len() == count && fleet["live"] == count).then_some(nodes)
    })
    .await
}

async fn status(client: &Client, body: &Value) -> u16 {
    client.post("/v1/chat/completions", body).send().await.status
}

#[test]
fn changes_orders_and_the_view_cross_control_planes() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let second = Second::beside(&gateway).await;
        let (node, ready) = second.node().await;
        let (here, there) = (stage.client(), Client::new(&*ready.public).bearer(&stage.key));
        let body = stage.chat_body();
        assert_eq!((status(&here, &body).await, status(&there, &body).await), (200, 200));

        // Complete from either.
        let (one, two) = (live(&gateway.admin(), 2).await, live(&second.admin, 2).await);
        let ids = |nodes: &[Value]| nodes.iter().map(|node| node["id"].clone()).collect::<Vec<_>>();
        assert_eq!(ids(&one), ids(&two));
        assert_ne!(one[0]["control_plane"], one[1]["control_plane"], "{one:?}");
        for admin in [gateway.admin(), second.admin.clone()] {
            let fleet = admin.read("fleet").await;
            assert_eq!(fleet["control_planes"].as_array().unwrap().len(), 2, "{fleet}");
            eventually("every node is current in either view", Duration::from_secs(5), || async {
                live(&admin, 2).await.iter().all(|node| node["current"] == true).then_some(())
            })
            .await;
        }

        // A change and a revocation made at one are enforced on the node of the other.
        let (key_id, key) = gateway.admin().key(stage.user_id).await;
        let revoked = Client::new(&*ready.public).bearer(&key);
        eventually("a new key works at the other", ENFORCED_WITHIN, || async {
            (status(&revoked, &body).await == 200).then_some(())
        })
        .await;
        gateway.admin().remove(&format!("keys/{key_id}")).await;
        eventually("a revoked key is refused at the other", ENFORCED_WITHIN, || async {
            (status(&revoked, &body).await == 401).then_some(())
        })
        .await;
        assert!(node.said().contains("revoked ahead of the catalog"), "{}", node.said());

        // Orders for the node of the other.
        let at = second.admin.read("fleet").await["control_plane"].clone();
        let nodes = live(&gateway.admin(), 2).await;
        let id = nodes.iter().find(|node| node["control_plane"] == at).expect("its node")["id"].as_str().unwrap();
        let commands = format!("fleet/nodes/{id}/commands");
        let order = |body: Value| {
            let (admin, commands) = (gateway.admin(), commands.clone());
            async move {
                let reply = admin.post(&commands, &body).await;
                assert_eq!(reply.status, 200, "{body}: {}", reply.text());
            }
        };
        let readiness = Client::new(&*ready.operations);
        order(json!({"command": "drain"})).await;
        eventually("the node is not ready", Duration::from_secs(5), || async {
            let reply = readiness.get("/readyz").send().await;
            (reply.status == 503 && reply.text().contains("in_service")).then_some(())
        })
        .await;
        assert_eq!((status(&there, &body).await, node.ended().is_none()), (200, true), "it goes on serving");
        eventually("it is shown as drained", Duration::from_secs(5), || async {
            live(&gateway.admin(), 2).await.iter().any(|node| node["id"] == id && node["drained"] == true).then_some(())
        })
        .await;
        order(json!({"command": "undrain"})).await;
        eventually("the node is ready again", Duration::from_secs(5), || async {
            (readiness.get("/readyz").send().await.status == 200).then_some(())
        })
        .await;
        let fulls = node.said().matches("full=true").count();
        order(json!({"command": "resync"})).await;
        eventually("the node takes everything again", Duration::from_secs(5), || async {
            (node.said().matches("full=true").count() == fulls + 1).then_some(())
        })
        .await;
        order(json!({"command": "log_level", "filter": "error", "for_seconds": 2})).await;
        eventually("the node logs by another filter", Duration::from_secs(5), || async {
            node.said().contains("another log filter").then_some(())
        })
        .await;
        let lines = node.said().matches("POST").count();
        assert_eq!(status(&there, &body).await, 200);
        assert_eq!(node.said().matches("POST").count(), lines, "no access line at that level");
        eventually("and by its own again", Duration::from_secs(10), || async {
            let before = node.said().len();
            status(&there, &body).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            (node.said().len() > before).then_some(())
        })
        .await;
        let audit = gateway.admin().read("audit?operation=command&limit=100").await;
        assert_eq!(audit["total"], 4, "{audit}");

        for (body, status) in [
            (json!({"command": "explode"}), 422),
            (json!({}), 422),
            (json!({"command": "log_level", "filter": "LOUD"}), 422),
            (json!({"command": "log_level", "filter": "info", "for_seconds": 0}), 422),
            (json!({"command": "drain", "filter": "info"}), 400),
        ] {
            let reply = gateway.admin().post(&commands, &body).await;
            assert_eq!(reply.status, status, "{body}: {}", reply.text());
        }
        let unknown = "fleet/nodes/0190a1b2-0000-7000-8000-000000000000/commands";
        gateway.admin().post(unknown, &json!({"command": "drain"})).await.expect(404);
        node.terminate(Duration::from_secs(30)).await;
        live(&gateway.admin(), 1).await;
        let away = gateway.admin().post(&commands, &json!({"command": "drain"})).await;
        away.expect_error(409, "node_away");
    });
}

#[test]
fn a_control_plane_that_dies_hands_its_nodes_over() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let second = Second::beside(&gateway).await;
        let (node, ready) = gateway.node(&paths::folder("moving"), &["--control-plane", second.grpc()]).await;
        let body = stage.chat_body();
        let client = Client::new(&*ready.public).bearer(&stage.key);
        assert_eq!(status(&client, &body).await, 200);
        let here = gateway.admin().read("fleet").await["control_plane"].clone();
        let nodes = live(&gateway.admin(), 2).await;
        // The gateway's own node knows the first control plane alone.
        let at_first = nodes.iter().all(|node| node["control_plane"] == here);

        // A change, so that there is something to have and to resume from.
        gateway.admin().change(&format!("routers/{}", stage.router_id), &json!({"cost_prompt_tokens": 9})).await;
        let (served, failed, ending) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let load = {
            let (client, body) = (client.clone(), body.clone());
            let (served, failed, ending) = (Arc::clone(&served), Arc::clone(&failed), Arc::clone(&ending));
            tokio::spawn(async move {
                while !ending.load(Ordering::Relaxed) {
                    let counter = if status(&client, &body).await == 200 { &served } else { &failed };
                    counter.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        let survivor = if at_first {
            gateway.kill_control_plane();
            second.admin.clone()
        } else {
            second.process.kill();
            gateway.admin()
        };
        let connected = || node.said().matches("connected to a control plane").count();
        eventually("the node speaks to the other control plane", Duration::from_secs(15), || async {
            (connected() >= 2).then_some(())
        })
        .await;
        let (key_id, key) = survivor.key(stage.user_id).await;
        let late = Client::new(&*ready.public).bearer(&key);
        eventually("changes flow from there", Duration::from_secs(5), || async {
            (status(&late, &body).await == 200).then_some(())
        })
        .await;
        survivor.remove(&format!("keys/{key_id}")).await;
        eventually("revocations too", ENFORCED_WITHIN, || async { (status(&late, &body).await == 401).then_some(()) })
            .await;
        ending.store(true, Ordering::Relaxed);
        load.await.expect("the load");
        assert_eq!(failed.load(Ordering::Relaxed), 0, "no call failed");
        assert!(served.load(Ordering::Relaxed) > 20, "there was load");
        // Everything once, at its start; from then on what changed.
        assert_eq!(node.said().matches("full=true").count(), 1, "{}", node.said());
        assert!(node.said().matches("full=false").count() >= 3, "{}", node.said());
        eventually("the dead control plane is no longer shown", Duration::from_secs(20), || async {
            let fleet = survivor.read("fleet").await;
            (fleet["control_planes"].as_array().unwrap().len() == 1).then_some(())
        })
        .await;
        // The gateway's own node has nowhere to go when its control plane died.
        live(&survivor, if at_first { 1 } else { 2 }).await;
    });
}

#[test]
fn nodes_that_are_let_in_are_listed_also_when_they_are_away() {
    run(async {
        let gateway = Gateway::split().await;
        let second = Second::beside(&gateway).await;
        let folder = paths::folder("listed");
        let token = join_token(&second.ready.public).await;
        let node = data_plane_launch(&second.grpc().replace("http://", "https://"), &token, &folder).start();
        node.ready().await;
        let nodes = live(&gateway.admin(), 2).await;
        let enrolled = nodes.iter().find(|node| !node["certificate"].is_null()).expect("a node with a certificate");
        let id = enrolled["id"].clone();
        node.terminate(Duration::from_secs(30)).await;
        let shown = |admin: Admin, state: &'static str| {
            let id = id.clone();
            async move {
                eventually(&format!("it is shown as {state}"), Duration::from_secs(15), || async {
                    let fleet = admin.read(&format!("fleet?state={state}")).await;
                    let found = fleet["data"].as_array().unwrap().iter().find(|node| node["id"] == id).cloned();
                    found.filter(|node| node["last_seen"].as_i64() > Some(1_600_000_000))
                })
                .await
            }
        };
        for admin in [gateway.admin(), second.admin.clone()] {
            assert_eq!(shown(admin, "away").await["connected"], false);
        }
        gateway.admin().remove(&format!("fleet/nodes/{}", id.as_str().unwrap())).await;
        for admin in [gateway.admin(), second.admin.clone()] {
            let revoked = shown(admin, "revoked").await;
            assert!(revoked["certificate"]["revoked"].as_i64().is_some(), "{revoked}");
        }
    });
}

/// A rollback that takes most routers away is refused by every node until an operator confirms it, at any control plane.
#[test]
fn one_confirmation_counts_for_all_control_planes() {
    run(async {
        let gateway = Gateway::split().await;
        let second = Second::beside(&gateway).await;
        let (_node, _ready) = second.node().await;
        let admin = gateway.admin();
        admin.router("text-generation").await;
        let begun = admin.read("fleet?limit=1").await["revision"].as_u64().expect("a revision");
        for _ in 0..24 {
            admin.router("text-generation").await;
        }
        eventually("both nodes have them", Duration::from_secs(10), || async {
            live(&admin, 2).await.iter().all(|node| node["current"] == true).then_some(())
        })
        .await;
        let done = admin.post("revisions/rollback", &json!({"from": begun + 1})).await.expect(200).json();
        assert_eq!(done["reverted"].as_array().map(Vec::len), Some(24), "{done}");
        eventually("both nodes refuse", Duration::from_secs(10), || async {
            live(&second.admin, 2).await.iter().all(|node| node["stopped"].is_string()).then_some(())
        })
        .await;
        let confirmed = admin.post("fleet/confirmations", &json!({"revision": done["revision"]})).await;
        confirmed.expect(201);
        eventually("both nodes follow", Duration::from_secs(10), || async {
            live(&admin, 2).await.iter().all(|node| node["current"] == true && node["stopped"].is_null()).then_some(())
        })
        .await;
    });
}
