//! Hostile and broken inputs: a table of rows in `tests/abuse/*.json`, and the one runner that plays them.
//!
//! Each row lists inputs and the answer that every one of them must get. Beside that answer the runner checks, for
//! every input: the processes live, their memory comes back, nothing panicked, no secret is shown, the upstream got
//! exactly the calls that it should, and a good request works afterwards. At the end it counts what stands in the
//! ledger: each input has a key of its own, so the sum tells what came of it even where refusals were collapsed.
//!
//! A text is a string or a list of pieces: strings (with `{router}`, `{key}`, `{master}`, `{host}`, `{trap}`,
//! `{user_id}`, `{provider_id}` put in), `{"repeat": "x", "times": 9}`, `{"members": 9}` (as many different members of
//! an object), `{"colliding": 9}` (the same, of names with one hash), `{"sized": […]}` (a `Content-Length`, the end of
//! the head, and these pieces) and `{"hex": "ff00"}`.

mod play;
mod row;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::admin::Admin;
use harness::client::Client;
use harness::gateway::{CANARIES, Gateway, Mode};
use harness::raw;
use harness::stage::{PROVIDER_KEY, Stage};
use harness::{eventually, run};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::play::one;
use self::row::{Row, Scene};

#[test]
fn rows_standalone() {
    run(play(Mode::Standalone));
}

#[test]
fn rows_split() {
    run(play(Mode::Split));
}

async fn play(mode: Mode) {
    let gateway = Gateway::start(mode).await;
    let stage = Stage::chat(&gateway).await;
    let rows = rows();
    let keys = keys(&stage, &rows).await;
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = trap.local_addr().unwrap().to_string();
    // What a first large request grows for good is no leak of the second.
    let warm = json!({"model": stage.router, "messages": [{"role": "user", "content": "x".repeat(20 * 1024 * 1024)}]});
    stage.client().post("/v1/chat/completions", &warm).send().await.expect(200);
    let mut failures = Vec::new();
    let mut usage: BTreeMap<String, i64> = keys.keys().map(|name| (name.clone(), 0)).collect();
    for row in &rows {
        for (number, input) in row.inputs.iter().enumerate() {
            let (expect, name) = (input.expect.as_ref().unwrap_or(&row.expect), name(row, number));
            let scene = Scene { stage: &stage, key: &keys[&name], trap: &address };
            if let Err(what) = one(&scene, &row.send, input, expect).await {
                failures.push(format!("{name} ({}): {what}", row.title));
            }
            let caller = if input.is_operators(&row.send) { "master".to_owned() } else { name };
            *usage.entry(caller).or_default() += expect.usage;
        }
    }
    // The good request after each input, and the warm one before them.
    let own = stage.admin().read(&format!("keys/{}", stage.key_id)).await;
    usage.insert(own["name"].as_str().unwrap().to_owned(), i64::try_from(keys.len()).unwrap() + 1);
    if tokio::time::timeout(Duration::from_millis(1), trap.accept()).await.is_ok() {
        failures.push("an address in a body was fetched".to_owned());
    }
    failures.extend(traces(&stage).await);
    failures.extend(ledger(&stage, usage).await);
    assert!(failures.is_empty(), "{} failures in {mode:?}:\n{}", failures.len(), failures.join("\n"));
}

/// An input's name, which is its key's too.
fn name(row: &Row, number: usize) -> String {
    format!("{} input {number}", row.id)
}

/// A key for each input, all of the stage's caller.
async fn keys(stage: &Stage<'_>, rows: &[Row]) -> BTreeMap<String, String> {
    let names: Vec<_> = rows.iter().flat_map(|row| (0..row.inputs.len()).map(|number| name(row, number))).collect();
    let mut keys = BTreeMap::new();
    for some in names.chunks(8) {
        let tasks: JoinSet<_> = some.iter().cloned().map(|name| key(stage.admin(), stage.user_id, name)).collect();
        keys.extend(tasks.join_all().await);
    }
    let (_, last) = stage.admin().key(stage.user_id).await;
    let client = stage.gateway.client().bearer(last);
    eventually("the last key opens", Duration::from_secs(10), || async {
        (client.get("/v1/models").send().await.status == 200).then_some(())
    })
    .await;
    keys
}

async fn key(admin: Admin, user_id: i64, name: String) -> (String, String) {
    let key = admin.create("keys", &json!({"name": name, "user_id": user_id})).await;
    (name, key["value"].as_str().unwrap().to_owned())
}

/// What was shown of secrets in metrics and to the upstream.
async fn traces(stage: &Stage<'_>) -> Vec<String> {
    let mut failures = Vec::new();
    for url in stage.gateway.operations_urls() {
        let metrics = Client::new(url.as_str()).get("/metrics").send().await.text();
        let shown = CANARIES.into_iter().chain([PROVIDER_KEY]).filter(|canary| metrics.contains(canary));
        failures.extend(shown.map(|canary| format!("{canary} is in the metrics of {url}")));
    }
    let credential = format!("Bearer {PROVIDER_KEY}");
    let ours = |seen: &harness::upstream::Seen| seen.headers.get_all("authorization").iter().eq([&credential]);
    if !stage.upstream.seen().iter().all(ours) {
        failures.push("the upstream got another credential than the provider's".to_owned());
    }
    failures
}

/// Where the ledger differs from the calls that each key made.
async fn ledger(stage: &Stage<'_>, expected: BTreeMap<String, i64>) -> Vec<String> {
    // An orderly end leaves nothing on its way.
    stage.gateway.data_process().terminate(Duration::from_secs(30)).await;
    let pool = stage.gateway.database().pool().await;
    let sums = "SELECT CASE WHEN key_id IS NULL THEN 'nobody' ELSE key_name END, sum(count)::bigint \
                FROM gatewright.usage_records GROUP BY 1";
    let mut found: BTreeMap<String, i64> = sqlx::query_as(sums).fetch_all(&pool).await.unwrap().into_iter().collect();
    let wrong = |(name, expected): (String, i64)| {
        let found = found.remove(&name).unwrap_or(0);
        (found != expected).then(|| format!("{name}: {found} calls in the ledger instead of {expected}"))
    };
    let mut failures: Vec<_> = expected.into_iter().filter_map(wrong).collect();
    failures.extend(found.into_iter().map(|(name, count)| format!("{name}: {count} calls in the ledger")));
    failures
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(harness::paths::root().join("tests/abuse"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        // Those of another port have a form and a runner of their own.
        .filter(|path| !path.ends_with("grpc.json"))
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let more: Vec<Row> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        rows.extend(more);
    }
    rows
}

/// A body within the limit is asked for; that one beyond it is not, is a row.
#[test]
fn a_body_is_invited() {
    run(async {
        let gateway = Gateway::shared(Mode::Split).await;
        let stage = Stage::chat(gateway).await;
        let good = stage.chat_body().to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
            stage.key,
            good.len()
        );
        let mut stream = raw::connect(gateway.inference_url()).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        let heard = raw::listen(&mut stream, Duration::from_millis(500)).await;
        assert_eq!(heard.status(), 100, "{}", heard.text);
        tokio::io::AsyncWriteExt::write_all(&mut stream, good.as_bytes()).await.unwrap();
        let heard = raw::listen(&mut stream, Duration::from_secs(5)).await;
        assert_eq!(heard.status(), 200, "{}", heard.text);
    });
}

/// One byte each second is a way to hold a connection and a buffer.
#[test]
fn credentials_are_judged_before_the_body() {
    run(async {
        let gateway = Gateway::shared(Mode::Split).await;
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-wrong\r\ncontent-length: 1000000\r\n\r\n";
        let start = Instant::now();
        let heard = raw::say(gateway.inference_url(), head.as_bytes(), Duration::from_secs(2)).await;
        assert_eq!(heard.status(), 401, "{}", heard.text);
        assert!(start.elapsed() < Duration::from_secs(4));
    });
}

/// Many bodies at once draw on one budget; those beyond it are refused, the process lives, and memory comes back.
#[test]
fn large_bodies_at_once() {
    run(async {
        let gateway = Gateway::start(Mode::Split).await;
        let stage = Stage::chat(&gateway).await;
        let body = serde_json::json!({"model": stage.router, "messages": [{"role": "user", "content": "x".repeat(20 * 1024 * 1024)}]}).to_string();
        let body = bytes::Bytes::from(body);
        let calls: Vec<_> = (0..12)
            .map(|_| tokio::spawn(stage.client().call("POST", "/v1/chat/completions").bytes(body.clone()).try_send()))
            .collect();
        for call in calls {
            let reply = call.await.unwrap();
            assert!(reply.as_ref().is_ok_and(|reply| matches!(reply.status, 200 | 413 | 503)), "{reply:?}");
        }
        gateway.assert_alive();
        eventually("a good request works", Duration::from_secs(5), || async {
            (stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.status == 200).then_some(())
        })
        .await;
    });
}
