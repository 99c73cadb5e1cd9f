//! A data plane starts, serves and refuses while nothing else is up; a database that was set back is noticed.

use std::time::{Duration, Instant};

use harness::client::Client;
use harness::gateway::{ENFORCED_WITHIN, Gateway, data_plane_launch};
use harness::process::Process;
use harness::stage::Stage;
use harness::{eventually, run};
use serde_json::json;

/// Where no control plane is.
const NOBODY: &str = "http://127.0.0.1:9";

/// The node of a gateway again, from what lies in its folder; its control plane is away.
async fn start_alone(gateway: &Gateway) -> (Process, String) {
    let process = data_plane_launch(NOBODY, "gw-join-none", gateway.folder()).start();
    let ready = process.ready().await;
    (process, ready.public)
}

async fn end_at_once(gateway: &Gateway) {
    gateway.data_process().signal("KILL");
    gateway.data_process().wait(Duration::from_secs(10)).await;
}

#[test]
fn a_data_plane_starts_while_nothing_else_is_up() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let body = stage.chat_body();
        let (other_id, other_key) = stage.admin().key(stage.user_id).await;
        let other = gateway.client().bearer(&other_key);
        eventually("the other key is known", ENFORCED_WITHIN, || async {
            (other.post("/v1/chat/completions", &body).send().await.status == 200).then_some(())
        })
        .await;
        // What is written within a second of a change is there; a revocation is at once.
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        stage.admin().remove(&format!("keys/{other_id}")).await;
        eventually("the other key is refused", ENFORCED_WITHIN, || async {
            (other.post("/v1/chat/completions", &body).send().await.status == 401).then_some(())
        })
        .await;
        end_at_once(&gateway).await;
        gateway.kill_control_plane();

        let began = Instant::now();
        let (process, url) = start_alone(&gateway).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        let (client, revoked) = (Client::new(&url).bearer(&stage.key), Client::new(&url).bearer(&other_key));
        for _ in 0..5 {
            client.post("/v1/chat/completions", &body).send().await.expect(200);
            revoked.post("/v1/chat/completions", &body).send().await.expect(401);
        }
        process.signal("TERM");
        assert_eq!(process.wait(Duration::from_secs(30)).await.code(), Some(0));
        // Once more, from what that one left.
        let (process, url) = start_alone(&gateway).await;
        Client::new(&url).bearer(&stage.key).post("/v1/chat/completions", &body).send().await.expect(200);
        process.kill();
    });
}

#[test]
fn a_copy_that_is_damaged_is_never_served() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        end_at_once(&gateway).await;
        gateway.kill_control_plane();
        let folder = gateway.folder().join("data/catalog");
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in &files {
            let mut bytes = std::fs::read(file).unwrap();
            bytes[60] ^= 1;
            std::fs::write(file, bytes).unwrap();
        }
        let process = data_plane_launch(NOBODY, "gw-join-none", gateway.folder()).start();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(process.ended().is_none(), "it waits: {}", process.said());
        assert!(!process.said().contains("ready:") && process.said().contains("cannot be used"), "{}", process.said());
        process.kill();
        drop(stage);
    });
}

#[test]
fn a_database_that_was_set_back_is_told_anew() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let body = stage.chat_body();
        let (late_id, late_key) = stage.admin().key(stage.user_id).await;
        let late = gateway.client().bearer(&late_key);
        eventually("the late key is known", ENFORCED_WITHIN, || async {
            (late.post("/v1/chat/completions", &body).send().await.status == 200).then_some(())
        })
        .await;
        gateway.kill_control_plane();
        // As a backup from before the late key would leave it.
        let pool = gateway.database().pool().await;
        let before = epoch(&pool).await;
        sqlx::query("DELETE FROM gatewright.keys WHERE number = $1").bind(late_id).execute(&pool).await.unwrap();
        for statement in [
            "DELETE FROM gatewright.changes WHERE revision = (SELECT revision FROM gatewright.catalog_head)",
            "UPDATE gatewright.catalog_head SET revision = revision - 1",
        ] {
            sqlx::query(statement).execute(&pool).await.unwrap();
        }
        gateway.restart_control_plane().await;
        eventually("the late key is refused", Duration::from_secs(15), || async {
            (late.post("/v1/chat/completions", &body).send().await.status == 401).then_some(())
        })
        .await;
        stage.client().post("/v1/chat/completions", &body).send().await.expect(200);
        assert_ne!(epoch(&pool).await, before);
        // And goes on from there.
        stage.admin().remove(&format!("keys/{}", stage.key_id)).await;
        eventually("changes flow", ENFORCED_WITHIN, || async {
            (stage.client().post("/v1/chat/completions", &body).send().await.status == 401).then_some(())
        })
        .await;
    });
}

/// The lineage of a database.
async fn epoch(pool: &sqlx::PgPool) -> String {
    sqlx::query_scalar("SELECT epoch::text FROM gatewright.catalog_head").fetch_one(pool).await.unwrap()
}

#[test]
fn changes_are_enforced_quickly() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let (body, place) = (stage.chat_body(), format!("keys/{}", stage.key_id));
        let mut took = Vec::new();
        for turn in 0..40 {
            let (allowed, status) = if turn % 2 == 0 { (json!([]), 403) } else { (json!([stage.router_id]), 200) };
            stage.admin().change(&place, &json!({"allowed_routers": allowed})).await;
            let changed = Instant::now();
            while stage.client().post("/v1/chat/completions", &body).send().await.status != status {
                assert!(changed.elapsed() < ENFORCED_WITHIN, "{:?}", changed.elapsed());
            }
            took.push(changed.elapsed());
        }
        took.sort_unstable();
        eprintln!("from the answer of a change to its enforcement: median {:?}, slowest {:?}", took[20], took[39]);
    });
}
