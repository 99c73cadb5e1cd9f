//! How a process that serves begins and ends: when it says that it is ready, and when no more; what is in flight, what takes
//! too long, what it leaves behind.

use std::time::{Duration, Instant};

use harness::client::Client;
use harness::gateway::{Gateway, MODES, data_plane_launch, join_token};
use harness::postgres::{Database, free_port};
use harness::process::Launch;
use harness::stage::Stage;
use harness::upstream::{Answer, End};
use harness::{eventually, paths, run};
use serde_json::Value;

fn streamed(stage: &Stage<'_>) -> Value {
    let mut body = stage.chat_body();
    body["stream"] = true.into();
    body
}

/// How many records the ledger has, read where nothing has to serve for it.
async fn recorded(gateway: &Gateway, outcome: &str) -> i64 {
    let count = "SELECT count(*) FROM gatewright.usage_records WHERE outcome = $1";
    sqlx::query_scalar(count).bind(outcome).fetch_one(&gateway.database().pool().await).await.unwrap()
}

/// From its first breath: a balancer that is told so sends requests at once.
#[test]
fn nobody_is_ready_before_there_is_an_answer() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let (database, token) = (Database::migrated().await, join_token(gateway.admin_url()).await);
        let folder = paths::folder("beginning");
        let at = |port: u16| format!("127.0.0.1:{port}");
        for standalone in [false, true] {
            let (public, operations) = (free_port(), free_port());
            let launch =
                if standalone { Launch::new("gatewright").args(["up"]) } else { Launch::new("gatewright-data-plane") };
            let launch = launch
                .flag("--listen", at(public))
                .flag("--operations-listen", at(operations))
                .flag("--data-dir", folder.join(if standalone { "standalone" } else { "node" }))
                .within(&folder);
            let process = if standalone {
                launch.env("DATABASE_URL", database.url()).start()
            } else {
                launch.args(["--control-plane", gateway.grpc_url(), "--join-token", &token]).start()
            };
            let operations = Client::new(format!("http://{}", at(operations)));
            eventually("it says that it is ready", Duration::from_secs(60), || async {
                operations.get("/readyz").try_send().await.is_ok_and(|reply| reply.status == 200).then_some(())
            })
            .await;
            let client = Client::new(format!("http://{}", at(public)));
            if standalone {
                client.get("/v1/models").send().await.expect(401);
            } else {
                let client = client.bearer(&stage.key);
                client.post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
            }
            assert!(process.ended().is_none(), "{}", process.said());
        }
    });
}

#[test]
fn the_address_stays_open_while_balancers_learn() {
    run(async {
        for mode in MODES {
            let timing = [("GATEWRIGHT_MIN_DRAIN", "2s"), ("GATEWRIGHT_DRAIN_TIMEOUT", "30s")];
            let gateway = Gateway::start_with(mode, &timing).await;
            let stage = Stage::chat(&gateway).await;
            let slow = Answer::stream(&["one ", "two ", "three ", "four ", "five ", "six "], Some((11, 6)))
                .paced(Duration::from_millis(800));
            stage.upstream.decides(move |seen| match seen.json()["stream"] == true {
                true => slow.clone(),
                false => Answer::proper(seen),
            });
            let mut open = stage.client().post("/v1/chat/completions", &streamed(&stage)).open().await;
            assert!(open.event().await.unwrap().contains("one"));

            let begun = Instant::now();
            gateway.data_process().signal("TERM");
            let operations = Client::new(gateway.operations_urls()[0].as_str());
            eventually("it is not ready any more", Duration::from_millis(500), || async {
                let ready = operations.get("/readyz").send().await;
                (ready.status == 503 && ready.json()["draining"] == true).then_some(())
            })
            .await;
            operations.get("/livez").send().await.expect(200);
            let mut served = 0;
            while begun.elapsed() < Duration::from_millis(1500) {
                let reply = stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await;
                assert_eq!(reply.expect(200).header("connection"), "close", "who comes again should go elsewhere");
                served += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            eventually("the address is closed", Duration::from_secs(4), || async {
                gateway.client().get("/health").try_send().await.is_err().then_some(())
            })
            .await;
            assert!(begun.elapsed() >= Duration::from_secs(2), "closed after {:?}", begun.elapsed());
            assert!(gateway.data_process().ended().is_none(), "{}", gateway.said());
            // The end can be watched to its end.
            operations.get("/livez").send().await.expect(200);
            let metrics = operations.get("/metrics").send().await.expect(200).text();
            assert!(metrics.contains("gatewright_requests_in_flight"), "{metrics}");

            let rest = open.events().await;
            assert_eq!(rest.last().map(String::as_str), Some("data: [DONE]"), "{rest:#?}");
            let status = gateway.data_process().wait(Duration::from_secs(20)).await;
            assert_eq!(status.code(), Some(0), "{}", gateway.said());
            assert!(begun.elapsed() < Duration::from_secs(20), "nothing was waited for: {:?}", begun.elapsed());
            assert_eq!(recorded(&gateway, "completed").await, served + 1, "{mode:?}: {}", gateway.said());
        }
    });
}

#[test]
fn what_takes_too_long_is_told_so() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::start_with(mode, &[("GATEWRIGHT_DRAIN_TIMEOUT", "1s")]).await;
            let stage = Stage::chat(&gateway).await;
            stage.upstream.decides(|seen| match seen.json()["stream"] == true {
                true => Answer::stream(&["one ", "two "], None).only(2).ending(End::Hang),
                false => Answer::proper(seen).after(Duration::from_secs(60)),
            });
            let mut open = stage.client().post("/v1/chat/completions", &streamed(&stage)).open().await;
            assert!(open.event().await.unwrap().contains("one"));
            let whole = tokio::spawn(stage.client().post("/v1/chat/completions", &stage.chat_body()).try_send());
            eventually("both are upstream", Duration::from_secs(5), || async {
                (stage.upstream.calls() == 2).then_some(())
            })
            .await;

            let begun = Instant::now();
            gateway.data_process().signal("TERM");
            let rest = open.events().await;
            let last = rest.last().unwrap().strip_prefix("data: ").expect("an event");
            let told: Value = serde_json::from_str(last).expect("an error in JSON");
            assert_eq!(told["error"]["code"], "server_shutting_down", "{rest:#?}");
            assert!(begun.elapsed() >= Duration::from_secs(1), "cut after {:?}", begun.elapsed());
            let whole = whole.await.unwrap().expect("an answer, though not the one that was asked for");
            whole.expect_error(503, "server_shutting_down");
            let status = gateway.data_process().wait(Duration::from_secs(20)).await;
            assert_eq!(status.code(), Some(0), "{}", gateway.said());
            assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());

            let seen = stage.upstream.seen();
            assert!(seen.iter().all(|seen| seen.abandoned.is_some()), "the upstream works on for nobody: {seen:#?}");
            let all = "SELECT outcome, status FROM gatewright.usage_records ORDER BY streamed";
            let pool = gateway.database().pool().await;
            let records: Vec<(String, i32)> = sqlx::query_as(all).fetch_all(&pool).await.unwrap();
            assert_eq!(records.len(), 2, "one record for each: {records:?}\n{}", gateway.said());
            assert!(records.iter().all(|(outcome, _)| outcome != "completed"), "{records:?}");
        }
    });
}

/// What could not be handed over waits on the disk for the next process.
#[test]
fn usage_is_kept_when_nobody_takes_it() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        gateway.kill_control_plane();
        for _ in 0..5 {
            stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
        }
        let begun = Instant::now();
        let status = gateway.data_process().terminate(Duration::from_secs(30)).await;
        assert_eq!(status.code(), Some(0), "{}", gateway.said());
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert_eq!(recorded(&gateway, "completed").await, 0);

        gateway.restart_control_plane().await;
        let _node = gateway.node(gateway.folder(), &[]).await;
        eventually("the ledger has them", Duration::from_secs(10), || async {
            (recorded(&gateway, "completed").await == 5).then_some(())
        })
        .await;
    });
}

/// A node that was never let in has nothing to wait for.
#[test]
fn a_node_that_waits_for_its_fleet_ends_at_once() {
    run(async {
        let nobody = format!("https://127.0.0.1:{}", free_port());
        let token = format!("gw-join-{}.{}", "0".repeat(64), "0".repeat(64));
        let node = data_plane_launch(&nobody, &token, &paths::folder("waiting")).start();
        eventually("it tries", Duration::from_secs(20), || async {
            node.said().contains("cannot be enrolled yet").then_some(())
        })
        .await;
        let begun = Instant::now();
        let status = node.terminate(Duration::from_secs(20)).await;
        assert_eq!(status.code(), Some(0), "{}", node.said());
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    });
}
