//! Enrolment: nodes over mutual TLS, what is refused and how, renewal, restart, and nodes that are shut out.

use std::path::Path;
use std::time::Duration;

use harness::admin::Admin;
use harness::client::Client;
use harness::gateway::{MASTER_KEY, control_plane_launch, data_plane_launch};
use harness::paths;
use harness::postgres::Database;
use harness::process::{Launch, Process, Ready};
use harness::{eventually, run};
use serde_json::{Value, json};

/// A control plane by itself, to whose port nodes come by TLS.
struct Fleet {
    admin: Admin,
    ready: Ready,
    control: Process,
    _database: Database,
}

impl Fleet {
    async fn start(lifetime: &str) -> Self {
        let database = Database::migrated().await;
        let folder = paths::folder("enrolment");
        let control = control_plane_launch(&database, &folder, None).flag("--certificate-lifetime", lifetime).start();
        let ready = control.ready().await;
        Self { admin: Admin::new(&ready.public, MASTER_KEY), ready, control, _database: database }
    }

    fn address(&self) -> String {
        self.ready.grpc.as_ref().expect("a gRPC address").replace("http://", "https://")
    }

    async fn token(&self, single_use: bool) -> Value {
        let body = json!({"name": harness::unique("node"), "group": "edge", "single_use": single_use});
        self.admin.create("fleet/join-tokens", &body).await
    }

    fn node(&self, token: &str, folder: &Path) -> Launch {
        data_plane_launch(&self.address(), token, folder)
    }

    async fn connected(&self) -> Vec<Value> {
        let fleet = self.admin.read("fleet").await;
        let nodes = fleet["data"].as_array().expect("data").clone();
        nodes.into_iter().filter(|node| node["connected"] == true).collect()
    }
}

fn text(token: &Value) -> &str {
    token["token"].as_str().expect("a join token")
}

fn identity(folder: &Path) -> Value {
    let file = folder.join("data/identity/identity.json");
    serde_json::from_slice(&std::fs::read(file).expect("an identity")).expect("an identity's form")
}

#[test]
fn a_node_enrols_once_and_keeps_its_identity() {
    run(async {
        let fleet = Fleet::start("24h").await;
        let (token, folder) = (fleet.token(true).await, paths::folder("enrolled"));
        let node = fleet.node(text(&token), &folder).start();
        node.ready().await;
        let id = identity(&folder)["node"].clone();
        let connected = fleet.connected().await;
        assert_eq!(connected.len(), 1);
        assert_eq!((&connected[0]["id"], &connected[0]["group"]), (&id, &json!("edge")));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(folder.join("data/identity/identity.json")).expect("an identity").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);

        // It comes back as who it was, without any token.
        node.terminate(Duration::from_secs(30)).await;
        let node = fleet.node("", &folder).start();
        node.ready().await;
        eventually("it is connected again", Duration::from_secs(10), || async {
            fleet.connected().await.first().is_some_and(|node| node["id"] == id).then_some(())
        })
        .await;

        // The token was for one node.
        let other = fleet.node(text(&token), &paths::folder("late")).finish().await;
        assert_eq!(other.code, Some(2), "{}", other.said());
        assert!(other.stderr.contains("is for one node and was used"), "{}", other.said());
        for said in [node.said(), other.said(), fleet.control.said()] {
            assert!(!said.contains(&text(&token)[..20]), "a token in a log: {said}");
        }
    });
}

#[test]
fn nodes_that_should_not_join_are_told_why() {
    run(async {
        let fleet = Fleet::start("24h").await;
        let token = fleet.token(false).await;
        let good = text(&token).to_owned();
        let print = good.split_once('.').expect("a fingerprint").1.to_owned();
        let unknown = format!("gw-join-{}.{print}", "0".repeat(64));
        let blind = good.split_once('.').expect("a fingerprint").0.to_owned();
        for (token, reason) in [
            (unknown.as_str(), "the join token is not known"),
            (blind.as_str(), "names no certificate authority"),
            ("", "no join token"),
        ] {
            let ended = fleet.node(token, &paths::folder("refused")).finish().await;
            assert_eq!(ended.code, Some(2), "{}", ended.said());
            assert!(ended.stderr.contains(reason), "{reason}: {}", ended.said());
        }

        // Another authority than the token names: nothing is shown to it.
        let elsewhere = fleet.node(&good.replace(&print, &"0".repeat(64)), &paths::folder("misled")).start();
        eventually("the wrong authority is noticed", Duration::from_secs(20), || async {
            elsewhere.said().contains("UnknownIssuer").then_some(())
        })
        .await;
        drop(elsewhere);

        let id = token["id"].as_str().expect("an id").to_owned();
        fleet.admin.remove(&format!("fleet/join-tokens/{id}")).await;
        let late = fleet.node(&good, &paths::folder("late")).finish().await;
        assert!(late.code == Some(2) && late.stderr.contains("was revoked"), "{}", late.said());
    });
}

#[test]
fn a_node_that_is_shut_out_is_cut_and_stays_out() {
    run(async {
        let fleet = Fleet::start("24h").await;
        let token = fleet.token(false).await;
        let (one, two) = (paths::folder("kept"), paths::folder("cut"));
        let kept = fleet.node(text(&token), &one).start();
        let cut = fleet.node(text(&token), &two).start();
        kept.ready().await;
        cut.ready().await;
        let id = identity(&two)["node"].as_str().expect("an id").to_owned();
        let revoked = fleet.admin.remove(&format!("fleet/nodes/{id}")).await;
        assert!(revoked["revoked"].is_i64() && revoked["group"] == "edge", "{revoked}");
        eventually("its stream ends", Duration::from_secs(5), || async {
            let left = fleet.connected().await;
            (left.len() == 1 && left[0]["id"] == identity(&one)["node"]).then_some(())
        })
        .await;
        eventually("it is told why", Duration::from_secs(10), || async {
            let said = cut.said();
            (said.contains("Unauthenticated") && said.contains("was revoked")).then_some(())
        })
        .await;
        assert_eq!(fleet.admin.delete("fleet/nodes/0190a1b2-0000-7000-8000-000000000000").await.status, 404);
        assert!(kept.ended().is_none() && cut.ended().is_none());
    });
}

#[test]
fn certificates_are_renewed_while_nodes_serve() {
    run(async {
        let fleet = Fleet::start("6s").await;
        let (token, folder) = (fleet.token(true).await, paths::folder("renewing"));
        let node = fleet.node(text(&token), &folder).start();
        node.ready().await;
        let first = identity(&folder);
        eventually("two renewals", Duration::from_secs(20), || async {
            (node.said().matches("certificate renewed").count() >= 2).then_some(())
        })
        .await;
        let later = identity(&folder);
        assert_eq!(first["node"], later["node"]);
        assert!(first["key"] != later["key"] && first["certificate"] != later["certificate"], "a new key each time");
        eventually("it is connected", Duration::from_secs(5), || async {
            (fleet.connected().await.len() == 1).then_some(())
        })
        .await;

        // An expired certificate is renewed too, when the node was away.
        node.terminate(Duration::from_secs(30)).await;
        tokio::time::sleep(Duration::from_secs(8)).await;
        let again = fleet.node("", &folder).start();
        let ready = again.ready().await;
        assert_eq!(identity(&folder)["node"], first["node"]);
        assert_eq!(Client::new(&ready.operations).get("/readyz").send().await.status, 200);
        eventually("the expired certificate is renewed", Duration::from_secs(10), || async {
            (again.said().contains("certificate renewed") && fleet.connected().await.len() == 1).then_some(())
        })
        .await;
    });
}
