//! What operators see from outside: probes, metrics, logs without secrets, an orderly end.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::client::Client;
use harness::gateway::{CANARIES, Gateway, MODES, Mode};
use harness::stage::{PROVIDER_KEY, Stage};
use harness::upstream::{Answer, End};
use harness::{eventually, run};

#[test]
fn probes() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            for url in gateway.operations_urls() {
                let operations = Client::new(url.as_str());
                operations.get("/livez").send().await.expect(200);
                operations.get("/readyz").send().await.expect(200);
                let metrics = operations.get("/metrics").send().await;
                assert!(metrics.header("content-type").starts_with("text/plain"), "{}", metrics.header("content-type"));
                operations.get("/nothing").send().await.expect(404);
            }
            let public = gateway.client();
            assert_eq!(public.get("/health").send().await.expect(200).json()["status"], "ok");
            public.get("/metrics").send().await.expect(404);
        }
    });
}

/// The families of a scrape, by their TYPE lines.
fn families(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

/// The sum of the series of a family whose labels contain all of `labels`.
fn sum(text: &str, family: &str, labels: &[&str]) -> f64 {
    let series = text
        .lines()
        .filter(|line| line.starts_with(&format!("{family}{{")) && labels.iter().all(|label| line.contains(label)));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn metrics_count_what_happened() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            let stage = Stage::chat(gateway).await;
            stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
            stage.upstream.says(Answer::error(500, "no"));
            stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await;
            stage.usage(2).await;
            let text = Client::new(gateway.operations_urls()[0].as_str()).get("/metrics").send().await.text();
            let found = families(&text);
            let documented = documented_families();
            assert!(!documented.is_empty());
            let missing: Vec<_> = documented.difference(&found).collect();
            assert!(missing.is_empty(), "families without a series: {missing:?}\n{found:#?}");
            for family in &found {
                assert!(text.contains(&format!("# HELP {family} ")), "{family} has no description");
            }
            let router = format!("router=\"{}\"", stage.router);
            assert!((sum(&text, "gatewright_requests_total", &[&router]) - 2.0).abs() < 0.1, "{text}");
            assert!(
                (sum(&text, "gatewright_tokens_total", &[&router, "type=\"prompt\""]) - 11.0).abs() < 0.1,
                "{text}"
            );
            assert!(!text.contains(&stage.key) && !text.contains(PROVIDER_KEY));
        }
    });
}

/// The families that a call leaves behind, as the operators' dashboards name them.
fn documented_families() -> BTreeSet<String> {
    [
        "gatewright_requests_total",
        "gatewright_request_duration_seconds",
        "gatewright_time_to_first_token_seconds",
        "gatewright_tokens_total",
        "gatewright_cost_billionths_total",
        "gatewright_upstream_attempts_total",
        "gatewright_requests_in_flight",
        "gatewright_config_revision",
        "gatewright_config_age_seconds",
        "gatewright_control_plane_connected",
        "gatewright_usage_backlog",
    ]
    .map(str::to_owned)
    .into()
}

/// A name that nobody configured must not become a label: anyone could fill the memory with them.
#[test]
fn unknown_names_are_no_labels() {
    run(async {
        let gateway = Gateway::shared(Mode::Standalone).await;
        let stage = Stage::chat(gateway).await;
        let mut body = stage.chat_body();
        body["model"] = "an-unknown-name-of-a-caller".into();
        stage.client().post("/v1/chat/completions", &body).send().await.expect(404);
        stage.client().get("/a-path-nobody-serves").send().await.expect(404);
        let text = Client::new(gateway.operations_urls()[0].as_str()).get("/metrics").send().await.text();
        assert!(!text.contains("an-unknown-name-of-a-caller") && !text.contains("a-path-nobody-serves"));
    });
}

#[test]
fn secrets_stay_out_of_the_logs() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::start(mode).await;
            let stage = Stage::chat(&gateway).await;
            stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
            stage.upstream.says(Answer::error(401, &format!("wrong key {PROVIDER_KEY}")));
            stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await;
            stage.upstream.says(Answer::dead());
            stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await;
            gateway.client().get(&format!("/v1/models?api_key={}", stage.key)).send().await.expect(401);
            gateway.client().bearer("sk-gw-wrong-key-canary").get("/v1/models").send().await.expect(401);
            let broken = format!("{{\"name\": \"x\", \"key\": \"{PROVIDER_KEY}\", ");
            stage.admin().call("POST", "providers").bytes(broken).send().await;
            let line = eventually("an access line", Duration::from_secs(3), || async {
                gateway
                    .said()
                    .lines()
                    .find(|line| line.contains("/v1/chat/completions") && line.contains(&stage.router))
                    .map(str::to_owned)
            })
            .await;
            assert!(!line.contains("Good day?"), "no prompt in a log: {line}");
            let said = gateway.said();
            for canary in CANARIES.into_iter().chain([PROVIDER_KEY, &stage.key, "sk-gw-wrong-key-canary", "gw-join-"]) {
                assert!(!said.contains(canary), "a secret was logged:\n{said}");
            }
            let files = text_of(gateway.folder());
            assert!(!files.contains(PROVIDER_KEY) && !files.contains(&stage.key), "a secret lies on disk in clear");
        }
    });
}

/// All files of a process's data folder, as text.
fn text_of(folder: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder.join("data")).into_iter().flatten().flatten() {
        if entry.path().is_file() {
            text += &String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default());
        }
    }
    text
}

#[test]
fn work_in_flight_is_finished() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::start(mode).await;
            let stage = Stage::chat(&gateway).await;
            let answer = Answer::stream(&["one ", "two ", "three ", "four "], None).paced(Duration::from_millis(400));
            stage.upstream.says(answer.clone());
            let mut body = stage.chat_body();
            body["stream"] = true.into();
            let mut open = stage.client().post("/v1/chat/completions", &body).open().await;
            assert!(open.event().await.unwrap().contains("one"));
            gateway.data_process().signal("TERM");
            let rest = open.events().await;
            assert_eq!(rest.last().map(String::as_str), Some("data: [DONE]"), "{rest:#?}");
            let status = gateway.data_process().wait(Duration::from_secs(30)).await;
            assert_eq!(status.code(), Some(0), "{}", gateway.said());
            // What was flushed on the way out is in the ledger.
            let pool = gateway.database().pool().await;
            let records: i64 = sqlx::query_scalar("SELECT count(*) FROM gatewright.usage_records WHERE streamed")
                .fetch_one(&pool)
                .await
                .unwrap();
            assert_eq!(records, 1, "{mode:?}:\n{}", gateway.said());
        }
    });
}

/// Connections that say nothing must not starve the others: they end within ten seconds, and callers are served
/// meanwhile.
#[test]
fn silent_connections_are_closed() {
    run(async {
        const LIMIT: Duration = Duration::from_secs(10);
        let gateway = Gateway::start(Mode::Split).await;
        let stage = Stage::chat(&gateway).await;
        let before = gateway.resident();
        let mut silent = Vec::new();
        for _ in 0..sockets(5000) {
            silent.push((Instant::now(), harness::raw::connect(gateway.inference_url()).await));
        }
        let (last, ended) = (Instant::now(), AtomicBool::new(false));
        let closing = async {
            for (opened, stream) in &mut silent {
                let heard = harness::raw::listen(stream, LIMIT + Duration::from_secs(3)).await;
                let open_for = opened.elapsed();
                assert!(heard.closed, "a silent connection is still open after {open_for:?}");
            }
            ended.store(true, Ordering::Relaxed);
        };
        let serving = async {
            let mut served = 0;
            while !ended.load(Ordering::Relaxed) {
                let start = Instant::now();
                stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
                assert!(start.elapsed() < Duration::from_secs(2), "a caller waited {:?}", start.elapsed());
                served += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            served
        };
        let (served, ()) = tokio::join!(serving, closing);
        assert!(last.elapsed() < LIMIT + Duration::from_secs(3), "{:?}", last.elapsed());
        assert!(served > 10, "{served} callers were served meanwhile");
        gateway.assert_alive();
        // An allocator may keep what so many small tasks took; more than a few KiB for each is a buffer nobody needs.
        let grown = gateway.resident().saturating_sub(before);
        assert!(grown < 32 * 1024 * 1024, "{grown} bytes are held for connections that said nothing");
    });
}

/// As many of the wanted sockets as this process may have; half of them are for the tests beside this one.
fn sockets(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let hard = line.split_whitespace().nth(1).unwrap();
    let process = std::process::id().to_string();
    let all = format!("--nofile={hard}:{hard}");
    let raised = std::process::Command::new("prlimit").args(["--pid", &process, &all]).status();
    assert!(raised.is_ok_and(|status| status.success()), "no {all} for {process}");
    let most = hard.parse().map_or(wanted, |hard: usize| hard / 2);
    if most < wanted {
        let reason = format!("{most} sockets instead of {wanted}: a process may have {hard} descriptors here\n");
        let _ = std::io::stderr().write_all(reason.as_bytes());
    }
    wanted.min(most)
}

/// A caller that reads nothing must not make the gateway hold the whole answer.
#[test]
fn a_slow_reader_costs_no_memory() {
    run(async {
        let gateway = Gateway::start(Mode::Split).await;
        let stage = Stage::chat(&gateway).await;
        let chunk = format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
            "x".repeat(64 * 1024)
        );
        stage.upstream.says(Answer::events(vec![chunk; 1600]).ending(End::Hang));
        let before = gateway.resident();
        let mut body = stage.chat_body();
        body["stream"] = true.into();
        let open = stage.client().post("/v1/chat/completions", &body).open().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let grown = gateway.resident().saturating_sub(before);
        assert!(grown < 32 * 1024 * 1024, "{grown} bytes are held for a caller who does not read");
        drop(open);
    });
}
