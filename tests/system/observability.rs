//! What systems beside the gateway are told: metrics, spans, log lines, error reports; and what none of them ever is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use harness::client::Client;
use harness::collector::{Collector, attribute};
use harness::gateway::{CANARIES, Gateway, MODES, Mode, standalone_launch};
use harness::postgres::{Database, tool};
use harness::process::Launch;
use harness::stage::{PROVIDER_KEY, Stage, UPSTREAM_MODEL};
use harness::upstream::{Answer, Upstream};
use harness::{eventually, paths, run};
use serde_json::Value;
use sqlx::Executor as _;

async fn scrape(url: &str) -> String {
    Client::new(url).get("/metrics").send().await.expect(200).text()
}

/// Lines of samples, without comments.
fn series(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The documented families, with their labels.
fn documented(document: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let words = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    rows.map(|row| {
        let columns: Vec<&str> = row.split('|').collect();
        (words(columns[1])[0].clone(), words(columns[4]).into_iter().collect())
    })
    .collect()
}

/// The document is made from the declarations, and what is scraped is declared.
#[test]
fn metrics_are_documented() {
    run(async {
        let made = Launch::new("gatewright").args(["metrics"]).finish().await.stdout;
        let path = paths::root().join("docs/metrics.md");
        if std::env::var_os("GATEWRIGHT_REWRITE").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(written, made, "docs/metrics.md is stale: GATEWRIGHT_REWRITE=1 rewrites it");
        let documented = documented(&made);
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            let stage = Stage::chat(gateway).await;
            stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
            gateway.client().bearer("sk-gw-wrong").get("/v1/models").send().await.expect(401);
            stage.usage(1).await;
            for url in gateway.operations_urls() {
                let text = scrape(url).await;
                for line in series(&text) {
                    let (name, labels) = line.split_once(['{', ' ']).unwrap();
                    let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                    let family = family.filter(|family| documented.contains_key(*family)).unwrap_or(name);
                    let declared = documented.get(family).unwrap_or_else(|| panic!("{family} is not declared"));
                    if line.contains('{') {
                        let used = labels.split("=\"").filter_map(|part| part.rsplit([',', '"', ' ']).next());
                        for label in used.filter(|label| !label.is_empty() && !["le", "quantile"].contains(label)) {
                            let is_name = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                            assert!(
                                !is_name || declared.contains(label),
                                "{label} of {family} is not declared: {line}"
                            );
                        }
                    }
                }
            }
            // Health is looked at once a second.
            tokio::time::sleep(Duration::from_millis(1200)).await;
            let text = scrape(&gateway.operations_urls()[0]).await;
            for family in [
                "gatewright_auth_failures_total{code=\"invalid_api_key\"}",
                "gatewright_upstream_duration_seconds_bucket",
                "gatewright_upstream_failures_in_a_row",
                "gatewright_request_bodies_held_bytes",
                "gatewright_usage_spool_bytes",
                "gatewright_log_lines_dropped_total",
            ] {
                assert!(text.contains(family), "{family}\n{text}");
            }
            let alias = format!("{{endpoint=\"/v1/chat/completions\",model=\"{}\"", stage.router);
            for family in
                ["requests_total", "requests_duration_seconds_bucket", "ttft_milliseconds_bucket", "tokens_total"]
            {
                assert!(text.contains(&format!("ogl_inference_{family}{alias}")), "{family}\n{text}");
            }
            assert!(text.contains("ogl_inference_requests_duration_seconds_bucket") && text.contains("le=\"270\""));
        }
    });
}

/// Prometheus' own tool finds nothing to say, but that one alias is in milliseconds as its original.
#[test]
fn scrapes_are_good_prometheus() {
    run(async {
        let unpacked = paths::target().join("counterparts/prometheus/usr/bin/promtool");
        let program = if unpacked.exists() { unpacked } else { "promtool".into() };
        if Command::new(&program).arg("--version").output().is_err() {
            harness::skip::skipped("promtool", "it is not here; ./check full takes it out of its package");
            return;
        }
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            let stage = Stage::chat(gateway).await;
            stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
            stage.usage(1).await;
            for url in gateway.operations_urls() {
                let mut tool = Command::new(&program);
                tool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut child = tool.spawn().unwrap();
                child.stdin.take().unwrap().write_all(scrape(url).await.as_bytes()).unwrap();
                let output = child.wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
                let bad: Vec<_> = said
                    .lines()
                    .filter(|line| !line.is_empty() && !line.starts_with("ogl_inference_ttft_milliseconds "))
                    .collect();
                assert!(bad.is_empty(), "{mode:?} {url}: {bad:#?}");
            }
        }
    });
}

/// Ten thousand names that nobody configured leave not one series behind.
#[test]
fn callers_cannot_make_series() {
    run(async {
        let gateway = Gateway::start(Mode::Split).await;
        let stage = Stage::chat(&gateway).await;
        let ask = async |number: usize| {
            let mut body = stage.chat_body();
            body["model"] = format!("random-name-{number}").into();
            stage
                .client()
                .post("/v1/chat/completions", &body)
                .header("x-request-id", &format!("r{number}"))
                .send()
                .await
                .expect(404);
        };
        ask(0).await;
        stage.client().get("/random-path").send().await.expect(404);
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let before = series(&scrape(&gateway.operations_urls()[0]).await).count();
        futures_util::stream::iter(1..10_000).for_each_concurrent(32, ask).await;
        let text = scrape(&gateway.operations_urls()[0]).await;
        let after = series(&text).count();
        // Whatever the collapse of refusals and the spool add, it is not a series for each name.
        assert!(after <= before + 20, "{before} series became {after}");
        assert!(!text.contains("random-name") && after < 1500, "{after} series");
    });
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: [u8; 16] =
    [0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The phases of a call, each below its root and in its time.
fn each_phase_is_a_child(root: &harness::collector::Span, spans: &[harness::collector::Span]) {
    for phase in ["authenticate", "read", "resolve", "admit", "deliver", "settle"] {
        let span = spans.iter().find(|span| span.name == phase).unwrap_or_else(|| panic!("{phase}: {spans:#?}"));
        assert_eq!(span.parent_span_id, root.span_id, "{phase}");
        assert!(
            span.start_time_unix_nano >= root.start_time_unix_nano
                && span.end_time_unix_nano >= span.start_time_unix_nano
        );
    }
}

/// A gateway that tells a collector of its spans: by gRPC, or by HTTP.
async fn observed(mode: Mode) -> (Gateway, Collector) {
    let (collector, protocol) = match mode {
        Mode::Split => (Collector::start().await, "grpc"),
        Mode::Standalone => (Collector::over_http().await, "http/protobuf"),
    };
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_SERVICE_NAME", "observed"),
    ];
    (Gateway::start_with(mode, &variables).await, collector)
}

/// One call, tried twice: its spans, what they say, and what each upstream was told.
#[test]
fn a_call_is_a_tree_of_spans() {
    run(async {
        for mode in MODES {
            let (gateway, collector) = observed(mode).await;
            let stage = Stage::chat(&gateway).await;
            let second = Upstream::start().await;
            stage.admin().provider(stage.router_id, second.url()).await;
            for upstream in [&stage.upstream, &second] {
                upstream.says(Answer::error(500, "no"));
            }
            let call = || stage.client().post("/v1/chat/completions", &stage.chat_body());
            eventually("both providers are tried", Duration::from_secs(5), || async {
                call().send().await;
                (second.calls() > 0 && stage.upstream.calls() > 0).then_some(())
            })
            .await;
            // One fails and the other answers, whichever comes first.
            let (one, other) = (stage.upstream.clone(), second.clone());
            let before = (one.calls(), other.calls());
            let turn = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
            for upstream in [&one, &other] {
                let turn = turn.clone();
                upstream.decides(move |seen| match turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                    0 => Answer::error(500, "not now"),
                    _ => Answer::proper(seen),
                });
            }
            let answer = call().header("traceparent", PARENT).header("tracestate", "vendor=1").send().await;
            let id = answer.expect(200).header("x-gatewright-call-id").to_owned();
            let spans = collector.trace(&TRACE, 9).await;
            let named = |name: &str| {
                spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:#?}"))
            };
            let root = named("POST /v1/chat/completions");
            assert_eq!(hex(&root.parent_span_id), "b7ad6b7169203331");
            for (key, value) in [
                ("gatewright.call_id", id.as_str()),
                ("gatewright.router", &stage.router),
                ("gen_ai.operation.name", "chat"),
                ("gen_ai.request.model", &stage.router),
                ("gen_ai.response.model", UPSTREAM_MODEL),
                ("gen_ai.usage.input_tokens", "11"),
                ("gen_ai.usage.output_tokens", "3"),
                ("http.response.status_code", "200"),
                ("http.route", "/v1/chat/completions"),
                ("gatewright.outcome", "completed"),
                ("error.type", ""),
            ] {
                assert_eq!(attribute(root, key), value, "{key}: {root:#?}");
            }
            each_phase_is_a_child(root, &spans);
            let mut attempts: Vec<_> =
                spans.iter().filter(|span| span.name == format!("chat {UPSTREAM_MODEL}")).collect();
            attempts.sort_by_key(|span| attribute(span, "gatewright.attempt"));
            let told = |number: usize, key: &str| attribute(attempts[number], key);
            assert_eq!(attempts.len(), 2);
            assert_eq!(
                (told(0, "error.type"), told(0, "http.response.status_code")),
                ("upstream_error".into(), "500".into())
            );
            assert_eq!((told(1, "error.type"), told(1, "http.response.status_code")), (String::new(), "200".into()));
            assert_eq!(
                (told(1, "server.address"), told(1, "gen_ai.usage.output_tokens")),
                ("127.0.0.1".into(), "3".into())
            );
            assert_eq!(
                (attempts[0].status.as_ref().map(|status| status.code), &attempts[0].parent_span_id),
                (Some(2), &root.span_id)
            );
            // Each upstream heard of its own try.
            let mut heard: Vec<_> = one.seen().split_off(before.0);
            heard.extend(other.seen().split_off(before.1));
            heard.sort_by_key(|seen| seen.at);
            let parents: Vec<_> =
                heard.iter().map(|seen| seen.headers["traceparent"].to_str().unwrap().to_owned()).collect();
            let expected: Vec<_> =
                attempts.iter().map(|span| format!("00-{}-{}-01", hex(&TRACE), hex(&span.span_id))).collect();
            assert_eq!(parents, expected);
            assert!(heard.iter().all(|seen| seen.headers["tracestate"] == "vendor=1"));
            // The same id in logs and records, and spans of the management API.
            assert!(gateway.said().contains(&format!("trace_id=\"{}\"", hex(&TRACE))), "{}", gateway.said());
            assert!(collector.said().contains("observed"));
            eventually("a management span", Duration::from_secs(5), || async {
                collector.spans().iter().any(|span| span.name.starts_with("POST /v1/admin/routers")).then_some(())
            })
            .await;
            // Not sampled by its caller: told on, but not kept.
            call()
                .header("traceparent", &PARENT.replace("0af7", "1bf7").replace("31-01", "31-00"))
                .send()
                .await
                .expect(200);
            let last = [&one, &other].iter().flat_map(|upstream| upstream.seen()).max_by_key(|seen| seen.at).unwrap();
            let parent = last.headers["traceparent"].to_str().unwrap().to_owned();
            assert!(parent.starts_with("00-1bf7651916cd43dd") && parent.ends_with("-00"), "{parent}");
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert!(collector.spans().iter().all(|span| !span.trace_id.starts_with(&[0x1b, 0xf7, 0x65, 0x19])));
        }
    });
}

/// Without spans of our own, a caller's good `traceparent` goes on as it came, and a bad one does not.
#[test]
fn without_traces_the_callers_goes_on() {
    run(async {
        let gateway = Gateway::shared(Mode::Split).await;
        let stage = Stage::chat(gateway).await;
        let call = || stage.client().post("/v1/chat/completions", &stage.chat_body());
        call().header("traceparent", PARENT).header("tracestate", "vendor=1").send().await.expect(200);
        call()
            .header("traceparent", "00-evil-b7ad6b7169203331-01")
            .header("tracestate", "vendor=1")
            .send()
            .await
            .expect(200);
        let seen = stage.upstream.seen();
        assert_eq!(
            (&seen[0].headers["traceparent"], &seen[0].headers["tracestate"]),
            (&PARENT.parse().unwrap(), &"vendor=1".parse().unwrap())
        );
        assert!(!seen[1].headers.contains_key("traceparent") && !seen[1].headers.contains_key("tracestate"));
    });
}

/// A collector that takes connections and never answers.
#[test]
fn a_hung_collector_costs_nothing() {
    run(async {
        let hung = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", hung.local_addr().unwrap());
        let holding = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = hung.accept().await {
                held.push(stream);
            }
        });
        let mut medians = Vec::new();
        for variables in [&[][..], &[("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str())]] {
            let gateway = Gateway::start_with(Mode::Split, variables).await;
            let stage = Stage::chat(&gateway).await;
            let mut times = Vec::new();
            for _ in 0..400 {
                let begun = Instant::now();
                stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
                times.push(begun.elapsed());
            }
            times.sort();
            medians.push(times[times.len() / 2]);
            let begun = Instant::now();
            gateway.data_process().signal("TERM");
            let status = gateway.data_process().wait(Duration::from_secs(15)).await;
            assert_eq!(status.code(), Some(0));
            assert!(begun.elapsed() < Duration::from_secs(10), "the end took {:?}", begun.elapsed());
        }
        // Two gateways are never equally quick on a busy machine; a request that waited would take seconds.
        assert!(medians[1] < medians[0] * 2 + Duration::from_millis(5), "{medians:?}");
        holding.abort();
    });
}

#[test]
fn logs_are_json_where_that_is_wished() {
    run(async {
        for mode in MODES {
            let gateway =
                Gateway::start_with(mode, &[("GATEWRIGHT_LOG_FORMAT", "json"), ("GATEWRIGHT_LOG_LEVEL", "DEBUG")])
                    .await;
            let stage = Stage::chat(&gateway).await;
            stage
                .client()
                .post("/v1/chat/completions", &stage.chat_body())
                .header("traceparent", PARENT)
                .send()
                .await
                .expect(200);
            let line = eventually("an access line", Duration::from_secs(5), || async {
                let said = gateway.data_process().stderr();
                let lines: Vec<Value> = said
                    .lines()
                    .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
                    .collect();
                lines.into_iter().find(|line| line["router"] == stage.router.as_str())
            })
            .await;
            assert_eq!(
                (&line["level"], &line["status"], &line["prompt_tokens"]),
                (&"INFO".into(), &200.into(), &11.into()),
                "{line}"
            );
            assert_eq!(line["trace_id"], hex(&TRACE), "{line}");
            if mode == Mode::Split {
                assert!(gateway.said().lines().any(|line| line.contains("\"management request\"")));
            }
        }
        let bad = Launch::new("gatewright").args(["up", "--log-format", "xml"]).finish().await;
        assert!(bad.code == Some(2) && bad.stderr.contains("--log-format") && bad.stderr.contains("xml"), "{bad:?}");
    });
}

#[test]
fn errors_are_reported_to_sentry() {
    run(async {
        let sentry = Upstream::start().await;
        sentry.says(Answer::json(200, &serde_json::json!({"id": "1"})));
        let dsn = sentry.url().replace("http://", "http://public-canary@") + "/42";
        let (database, folder) = (Database::migrated().await, paths::folder("sentry"));
        let file = folder.join("config.yml");
        std::fs::write(
            &file,
            format!(
                "dependencies:\n  sentry:\n    dsn: {dsn}\n    environment: staging\n    release: r7\n    debug: true\n"
            ),
        )
        .unwrap();
        let process = standalone_launch(&database, &folder).flag("--config", &file).start();
        let ready = process.ready().await;
        database.pool().await.execute("ALTER TABLE gatewright.roles RENAME TO roles_gone").await.unwrap();
        let admin = Client::new(&*ready.public).bearer(harness::gateway::MASTER_KEY);
        assert!(admin.get("/v1/admin/roles").send().await.status >= 500);
        let report = eventually("a report", Duration::from_secs(8), || async {
            sentry
                .seen()
                .into_iter()
                .find(|seen| String::from_utf8_lossy(&seen.body).contains("a management request failed"))
        })
        .await;
        assert_eq!(report.path, "/api/42/envelope/");
        assert!(report.headers["x-sentry-auth"].to_str().unwrap().contains("sentry_key=public-canary"));
        let body = String::from_utf8_lossy(&report.body).into_owned();
        let event: Value = body
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line.get("message").is_some())
            .unwrap();
        assert_eq!((&event["environment"], &event["release"]), (&"staging".into(), &"r7".into()), "{event}");
        for secret in CANARIES {
            assert!(!body.contains(secret) && !process.said().contains(secret));
        }
        assert!(!process.said().contains("public-canary"), "a DSN is a secret");
    });
}

/// Every sink there is, at the most talkative level, searched for everything that must not be in it.
#[test]
fn no_secret_reaches_any_sink() {
    const PROMPT: &str = "prompt-canary-7c1e";
    const COOKIE: &str = "cookie-canary-91ab";
    const BAD_KEY: &str = "sk-gw-bad-key-canary-33d2";
    run(async {
        for mode in MODES {
            let collector = Collector::start().await;
            let variables =
                [("GATEWRIGHT_LOG_LEVEL", "trace,nobody=off"), ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())];
            let gateway = Gateway::start_with(mode, &variables).await;
            let stage = Stage::chat(&gateway).await;
            let mut body = stage.chat_body();
            body["messages"][0]["content"] = PROMPT.into();
            let call = |body: &Value| {
                stage.client().post("/v1/chat/completions", body).header("cookie", &format!("session={COOKIE}"))
            };
            call(&body).send().await.expect(200);
            body["stream"] = true.into();
            call(&body).send().await.expect(200);
            for answer in
                [Answer::error(401, &format!("wrong key {PROVIDER_KEY}")), Answer::error(400, PROMPT), Answer::dead()]
            {
                stage.upstream.says(answer);
                call(&body).send().await;
            }
            call(&serde_json::json!({"model": stage.router, "messages": PROMPT})).send().await;
            gateway.client().bearer(BAD_KEY).post("/v1/chat/completions", &body).send().await.expect(401);
            gateway.client().get(&format!("/v1/models?key={}", stage.key)).send().await.expect(401);
            gateway.admin().call("POST", "providers").bytes(format!("{{\"key\": \"{PROVIDER_KEY}\", ")).send().await;
            stage.usage(5).await;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let dump = Command::new(tool("pg_dump"))
                .args(["--schema", "gatewright", gateway.database().url()])
                .output()
                .unwrap();
            assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
            let mut metrics = String::new();
            for url in gateway.operations_urls() {
                metrics += &scrape(url).await;
            }
            let sinks = [
                ("log", gateway.said()),
                ("spans", collector.said()),
                ("metrics", metrics),
                ("database", String::from_utf8_lossy(&dump.stdout).into_owned()),
                ("files", files(&gateway.folder().join("data"))),
            ];
            assert!(sinks.iter().all(|(_, text)| !text.is_empty()) && collector.said().contains("chat/completions"));
            let secret = stage.key.rsplit('-').next().unwrap();
            for (sink, text) in &sinks {
                let canaries =
                    CANARIES.into_iter().chain([PROVIDER_KEY, &stage.key, secret, BAD_KEY, COOKIE, PROMPT, "gw-join-"]);
                for canary in canaries.filter(|canary| *canary != "gw-join-" || *sink != "database") {
                    assert!(!text.contains(canary), "{mode:?}: {canary} is in the {sink}:\n{}", around(text, canary));
                }
            }
        }
    });
}

fn around(text: &str, canary: &str) -> String {
    text.lines()
        .filter(|line| line.contains(canary))
        .take(3)
        .map(|line| line.chars().take(600).collect::<String>())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Everything below a folder, as text, but the cluster of a child Postgres.
fn files(folder: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text += &files(&path);
        } else {
            text += &String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default());
        }
    }
    text
}
