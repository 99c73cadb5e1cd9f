//! Every admitted call leaves exactly one record, also when its node is killed or the ledger is away.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use harness::admin::Admin;
use harness::client::Client;
use harness::gateway::{Gateway, standalone_launch};
use harness::process::Ready;
use harness::stage::{Stage, Usage};
use harness::upstream::{Answer, End};
use harness::{eventually, paths, run};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// A caller of one node, once the node lets it in.
async fn caller(stage: &Stage<'_>, ready: &Ready) -> Client {
    let client = Client::new(&*ready.public).bearer(&stage.key);
    let path = format!("/v1/models/{}", stage.router);
    eventually("the node knows the caller", PATIENCE, || async {
        (client.get(&path).send().await.status == 200).then_some(())
    })
    .await;
    client
}

fn streamed(stage: &Stage<'_>) -> Value {
    let mut body = stage.chat_body();
    body["stream"] = true.into();
    body
}

/// The records of the caller, once the ledger has as many.
async fn records(stage: &Stage<'_>, count: usize) -> Vec<Usage> {
    let place = format!("usage?user_id={}&limit=100", stage.user_id);
    eventually(&format!("{count} records"), PATIENCE, || async {
        let list = stage.admin().read(&place).await;
        let total = list["total"].as_u64().expect("a total");
        let records = list["data"].as_array().expect("data").iter().cloned().map(Usage).collect();
        (usize::try_from(total).unwrap() >= count).then_some(records)
    })
    .await
}

#[test]
fn an_answer_outlives_the_node_that_gave_it() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let folder = paths::folder("killed");
        let (node, ready) = gateway.node(&folder, &[]).await;
        let client = caller(&stage, &ready).await;

        // Nobody takes records for now: what the node has when it dies, it has on its disk.
        gateway.kill_control_plane();
        stage.upstream.says(Answer::chat("Good day!", 21, 8));
        let whole = client.post("/v1/chat/completions", &stage.chat_body()).send().await;
        stage.upstream.says(Answer::stream(&["Good", " day", "!"], Some((13, 5))));
        let stream = client.post("/v1/chat/completions", &streamed(&stage)).send().await;
        node.kill();
        assert!(whole.expect(200).text().contains("Good day!"));
        assert!(stream.expect(200).text().ends_with("data: [DONE]\n\n"), "{}", stream.text());

        gateway.restart_control_plane().await;
        let (again, _) = gateway.node(&folder, &[]).await;
        let records = records(&stage, 2).await;
        let told: HashMap<_, _> = records.iter().map(|record| (record.0["id"].as_str().unwrap(), record)).collect();
        for (reply, tokens) in [(&whole, (Some(21), Some(8))), (&stream, (Some(13), Some(5)))] {
            let record = told[reply.header("x-gatewright-call-id")];
            assert_eq!((record.tokens(), record.status()), (tokens, 200), "{record:?}");
            assert_eq!((&record.0["outcome"], &record.0["estimated"]), (&json!("completed"), &json!(false)));
        }
        assert!(again.said().contains("usage of an earlier start"), "{}", again.said());
    });
}

#[test]
fn a_call_cut_off_by_a_kill_is_one_interrupted_record() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let folder = paths::folder("cut-off");
        let (node, ready) = gateway.node(&folder, &[]).await;
        let client = caller(&stage, &ready).await;
        stage.upstream.says(Answer::stream(&["Good", " day", "!"], Some((13, 5))).only(2).ending(End::Hang));
        let mut open = client.post("/v1/chat/completions", &streamed(&stage)).open().await;
        assert!(open.event().await.unwrap().contains("Good"));
        let call = harness::client::header(&open.headers, "x-gatewright-call-id").to_owned();
        node.kill();

        for start in 0..3 {
            let (node, _) = gateway.node(&folder, &[]).await;
            let records = records(&stage, 1).await;
            assert_eq!(records.len(), 1, "start {start}: {records:#?}");
            let record = &records[0];
            assert_eq!(record.0["id"], call, "{record:?}");
            assert_eq!((&record.0["outcome"], record.status()), (&json!("interrupted"), 0), "{record:?}");
            assert_eq!((record.tokens(), record.cost()), ((None, None), 0), "nobody counted: {record:?}");
            assert_eq!((&record.0["model"], &record.0["requested"]), (&json!(stage.router), &json!(stage.router)));
            assert_eq!(record.0["endpoint"], "/v1/chat/completions");
            assert_eq!(record.0["streamed"], true, "{record:?}");
            // Each start has the time to send what it might think is missing.
            tokio::time::sleep(Duration::from_millis(700)).await;
            node.kill();
        }
    });
}

#[test]
fn one_process_finds_its_usage_again() {
    run(async {
        let gateway = Gateway::standalone().await;
        let stage = Stage::chat(&gateway).await;
        let mut calls = Vec::new();
        for _ in 0..5 {
            let reply = stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await;
            calls.push(reply.expect(200).header("x-gatewright-call-id").to_owned());
        }
        gateway.data_process().kill();
        let again = standalone_launch(gateway.database(), gateway.folder()).start();
        let ready = again.ready().await;
        let admin = Admin::new(&ready.public, gateway.master_key());
        let place = format!("usage?user_id={}&limit=100", stage.user_id);
        let told = eventually("five records", PATIENCE, || async {
            let list = admin.read(&place).await;
            (list["total"].as_u64() >= Some(5)).then(|| list["data"].as_array().expect("data").clone())
        })
        .await;
        assert_eq!(told.len(), 5, "{told:#?}");
        for record in &told {
            assert!(calls.iter().any(|call| record["id"] == **call), "{record}");
            assert_eq!(record["outcome"], "completed", "{record}");
        }
    });
}

#[test]
fn kills_under_load_lose_nothing_and_double_nothing() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let folder = paths::folder("kills");
        stage.upstream.decides(|seen| {
            let words = if seen.json()["stream"] == true {
                Answer::stream(&["Good", " day", "!"], Some((13, 5))).paced(Duration::from_millis(3))
            } else {
                Answer::chat("Good day!", 21, 8)
            };
            words.after(Duration::from_millis(2))
        });
        let (mut answered, mut begun) = (HashSet::new(), HashSet::new());
        for round in 0..4_u64 {
            let (node, ready) = gateway.node(&folder, &[]).await;
            let client = caller(&stage, &ready).await;
            let crowd: Vec<_> = (0..12)
                .map(|number| {
                    let body = if number % 2 == 0 { streamed(&stage) } else { stage.chat_body() };
                    tokio::spawn(call_until_death(client.clone(), body))
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(300 + 170 * round)).await;
            node.kill();
            for caller in crowd {
                let (whole, cut) = caller.await.unwrap();
                answered.extend(whole);
                begun.extend(cut);
            }
        }
        assert!(answered.len() > 50, "{} answers", answered.len());
        let (_node, _) = gateway.node(&folder, &[]).await;
        let calls = stage.upstream.calls();
        // Every call that the upstream saw was admitted. More may have been: cut off before they got there.
        let admitted = records(&stage, calls).await.len().max(calls);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut told = HashMap::new();
        for offset in (0..admitted + 100).step_by(100) {
            let place = format!("usage?user_id={}&limit=100&offset={offset}", stage.user_id);
            for record in stage.admin().read(&place).await["data"].as_array().unwrap() {
                let id = record["id"].as_str().unwrap().to_owned();
                assert!(told.insert(id, record["outcome"].clone()).is_none(), "twice: {record}");
            }
        }
        for call in &answered {
            assert_eq!(told.get(call), Some(&json!("completed")), "an answered call: {call}");
        }
        for call in &begun {
            assert!(told.contains_key(call), "a call that had begun to be answered: {call}");
        }
        assert!((calls..=calls + 4 * 12).contains(&told.len()), "{} records of {calls} calls upstream", told.len());
    });
}

/// Calls until the node is dead: the calls answered in full, and those cut off after their head.
async fn call_until_death(client: Client, body: Value) -> (Vec<String>, Vec<String>) {
    let (mut answered, mut cut) = (Vec::new(), Vec::new());
    loop {
        let Ok(reply) = client.post("/v1/chat/completions", &body).try_send().await else { return (answered, cut) };
        let call = reply.header("x-gatewright-call-id").to_owned();
        let whole = body["stream"] != true || reply.text().ends_with("data: [DONE]\n\n");
        if reply.status == 200 && whole { answered.push(call) } else { cut.push(call) }
    }
}

#[test]
fn a_full_spool_refuses_calls_until_the_ledger_takes_records() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let folder = paths::folder("full");
        let (_node, ready) = gateway.node(&folder, &["--max-spool-bytes", "65536"]).await;
        let client = caller(&stage, &ready).await;
        gateway.kill_control_plane();
        let mut served = 0;
        let refused = loop {
            let reply = client.post("/v1/chat/completions", &stage.chat_body()).send().await;
            if reply.status != 200 {
                break reply;
            }
            served += 1;
            assert!(served < 1000, "the spool has no bound");
        };
        assert!(served > 20, "{served}");
        refused.expect_error(503, "usage_backlog_full");
        assert!(!refused.header("retry-after").is_empty());
        assert_eq!(stage.upstream.calls(), served, "a refused call does not reach the upstream");
        client.get("/v1/models").send().await.expect(200);

        gateway.restart_control_plane().await;
        eventually("calls are served again", PATIENCE, || async {
            let reply = client.post("/v1/chat/completions", &stage.chat_body()).send().await;
            (reply.status == 200).then_some(())
        })
        .await;
        records(&stage, stage.upstream.calls()).await;
    });
}

#[test]
fn an_operator_may_choose_to_serve_without_records() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let folder = paths::folder("dropping");
        let flags = ["--max-spool-bytes", "65536", "--on-spool-full", "drop_and_count"];
        let (node, ready) = gateway.node(&folder, &flags).await;
        let client = caller(&stage, &ready).await;
        gateway.kill_control_plane();
        for _ in 0..300 {
            client.post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
        }
        let scrape = Client::new(&*ready.operations).get("/metrics").send().await;
        let lost: u64 = scrape
            .text()
            .lines()
            .find_map(|line| line.strip_prefix("gatewright_usage_spool_dropped_total ").map(str::to_owned))
            .and_then(|count| count.parse().ok())
            .unwrap_or(0);
        assert!((1..300).contains(&lost), "{lost} of 300 dropped:\n{}", node.said());
        gateway.restart_control_plane().await;
        let kept = usize::try_from(300 - lost).unwrap();
        let records = records(&stage, kept).await;
        assert_eq!(records.len().min(100), kept.min(100));
    });
}
