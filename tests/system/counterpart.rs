//! A real inference server, made by others, behind Gatewright: llama.cpp with random weights.

use std::process::{Command, Stdio};
use std::time::Duration;

use harness::client::Client;
use harness::gateway::{Gateway, Mode};
use harness::stage::{PROVIDER_KEY, Stage};
use harness::{paths, run, runtime};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The address of the server, started once for all tests of one sort, unless it is not installed.
async fn server(embeddings: bool) -> Option<&'static str> {
    static CHAT: OnceCell<Option<String>> = OnceCell::const_new();
    static EMBEDDINGS: OnceCell<Option<String>> = OnceCell::const_new();
    let server = if embeddings { &EMBEDDINGS } else { &CHAT };
    let url = server.get_or_init(|| start(embeddings)).await.as_deref();
    if url.is_none() {
        harness::skip::skipped("real inference server", "llama.cpp is not built; ./check full builds it");
    }
    url
}

async fn start(embeddings: bool) -> Option<String> {
    let home = paths::target().join("counterparts/llama");
    let (python, weights) = (home.join("bin/python"), home.join("random.gguf"));
    if !python.exists() || !weights.exists() {
        return None;
    }
    for _ in 0..3 {
        let port = harness::postgres::free_port().to_string();
        // Ends with this process: a static is never dropped.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&python);
        command.args(["-m", "llama_cpp.server", "--host", "127.0.0.1", "--port", &port, "--n_ctx", "512"]);
        command.args(["--embedding", if embeddings { "True" } else { "False" }, "--api_key", PROVIDER_KEY]);
        command.arg("--model").arg(&weights).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = runtime::launch(command).expect("the server starts");
        let url = format!("http://127.0.0.1:{port}");
        let client = Client::new(&*url).bearer(PROVIDER_KEY);
        // Somebody else may have taken the port in between: then it ends, and gets another one.
        while child.try_wait().expect("the state of a child").is_none() {
            if client.get("/v1/models").try_send().await.is_ok_and(|reply| reply.status == 200) {
                return Some(url);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    panic!("llama.cpp does not start");
}

/// Moves the stage's provider from the scripted upstream to the real server, while the gateway runs.
async fn behind(stage: &Stage<'_>, server: &str) {
    let change = json!({"url": server, "key": PROVIDER_KEY});
    stage.admin().change(&format!("providers/{}", stage.provider_id), &change).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[test]
fn chat() {
    run(async {
        let Some(server) = server(false).await else { return };
        let stage = Stage::chat(Gateway::shared(Mode::Split).await).await;
        behind(&stage, server).await;
        let mut body = stage.chat_body();
        body["max_tokens"] = 12.into();
        let answer = stage.client().post("/v1/chat/completions", &body).send().await.expect(200).json();
        assert_eq!(answer["object"], "chat.completion", "{answer}");
        let told = (answer["usage"]["prompt_tokens"].as_u64(), answer["usage"]["completion_tokens"].as_u64());
        assert_eq!(stage.only_usage().await.tokens(), told);

        body["stream"] = true.into();
        let events = stage.client().post("/v1/chat/completions", &body).open().await.events().await;
        assert_eq!(events.last().map(String::as_str), Some("data: [DONE]"), "{events:#?}");
        let chunks: Vec<Value> =
            events.iter().filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok()).collect();
        assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"), "{events:#?}");
        // This server reports no usage in a stream: what passed was counted here.
        let newest = stage.usage(2).await.remove(0);
        assert_eq!(newest.0["estimated"], true, "{newest:?}");
        assert!(newest.tokens().0 > Some(0) && newest.tokens().1 > Some(0), "{newest:?}");

        // The server's own complaint, for a prompt longer than its context.
        body["stream"] = false.into();
        body["messages"][0]["content"] = "word ".repeat(2000).into();
        let refused = stage.client().post("/v1/chat/completions", &body).send().await;
        assert_eq!(refused.status, 400, "{}", refused.text());
    });
}

#[test]
fn embeddings() {
    run(async {
        let Some(server) = server(true).await else { return };
        let stage = Stage::set(Gateway::shared(Mode::Standalone).await, "text-embeddings-inference").await;
        behind(&stage, server).await;
        let body = json!({"model": stage.router, "input": "Good day?"});
        let answer = stage.client().post("/v1/embeddings", &body).send().await.expect(200).json();
        assert!(!answer["data"][0]["embedding"].as_array().unwrap().is_empty(), "{answer}");
        assert_eq!(stage.only_usage().await.tokens().0, answer["usage"]["prompt_tokens"].as_u64());
    });
}

#[test]
fn official_sdk() {
    run(async {
        let Some(server) = server(false).await else { return };
        let gateway = Gateway::shared(Mode::Split).await;
        let stage = Stage::chat(gateway).await;
        behind(&stage, server).await;
        let base = format!("{}/v1", gateway.inference_url());
        let variables = [("BASE_URL", base.as_str()), ("API_KEY", &stage.key), ("CHAT_MODEL", &stage.router)];
        harness::sdk::python("counterpart.py", &variables).await;
    });
}
