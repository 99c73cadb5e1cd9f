//! The examples of the documents, run as they stand but for addresses and places.

use std::fmt::Write as _;

use harness::gateway::Gateway;
use harness::stage::Stage;
use harness::upstream::{Answer, Upstream};
use harness::{paths, run};

/// The fenced blocks of a document in one language, joined.
fn blocks(document: &str, language: &str) -> String {
    let text = std::fs::read_to_string(paths::root().join(document)).unwrap();
    let (mut out, mut inside) = (String::new(), false);
    for line in text.lines() {
        match line.trim_end() {
            "```" => inside = false,
            fence if fence.strip_prefix("```") == Some(language) => inside = true,
            other if inside => writeln!(out, "{other}").unwrap(),
            _ => {}
        }
    }
    out
}

fn shell(script: &str) -> String {
    let output =
        std::process::Command::new("sh").args(["-euc", script]).current_dir(paths::scratch()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{said}");
    said
}

/// The first minutes of a new operator, read off the front page.
#[test]
fn the_front_page() {
    run(async {
        let (gateway, upstream) = (Gateway::standalone().await, Upstream::start().await);
        upstream.says(Answer::chat("Good day.", 5, 3));
        let demonstration = gateway.folder().join("secrets/demonstration.key");
        let here = |text: &str| {
            text.replace("http://127.0.0.1:8000", gateway.inference_url())
                .replace("http://10.0.0.7:8000", upstream.url())
                .replace("data/secrets/demonstration.key", &demonstration.to_string_lossy())
                .replace("data/secrets", &gateway.folder().join("secrets").to_string_lossy())
                .replace("curl ", "curl --fail-with-body --silent --show-error --noproxy '*' ")
        };
        let commands = blocks("README.md", "sh");
        let (first, rest) = (commands.find("curl ").unwrap(), commands.find("target/release/").unwrap());
        let said = shell(&here(&commands[first..rest]));
        assert!(said.contains("chat.completion"), "the demonstration answers: {said}");
        let key = said.rsplit("\"value\":\"").next().and_then(|rest| rest.split('"').next()).unwrap();
        assert!(key.starts_with("sk-gw-"), "{said}");

        let script = here(&blocks("README.md", "python")).replace("sk-gw-…", key);
        let file = paths::folder("readme").join("example.py");
        std::fs::write(&file, format!("{script}\nprint('said:', _)\n").replace("client.chat", "_ = client.chat"))
            .unwrap();
        harness::sdk::python_file(&file).await;
    });
}

/// The requests of the operations guide about Groups and staged changes.
#[test]
fn the_guide_to_groups_and_staged_changes() {
    run(async {
        let gateway = Gateway::standalone().await;
        let stage = Stage::chat(&gateway).await;
        let guide = blocks("docs/operations.md", "sh");
        let requests: Vec<&str> = guide.split("curl ").skip(1).filter(|text| text.contains("/v1/admin/")).collect();
        assert!(requests.len() >= 2, "{guide}");
        for request in ["/v1/admin/routers/7", "/v1/admin/candidates"] {
            let command = requests.iter().find(|text| text.contains(request)).expect(request);
            let command = command.split("\ngatewright ").next().unwrap();
            let script = format!("MASTER_KEY={}\ncurl {command}", gateway.master_key())
                .replace("http://127.0.0.1:8080", gateway.admin_url())
                .replace("/routers/7", &format!("/routers/{}", stage.router_id))
                .replace("\"id\": 3", &format!("\"id\": {}", stage.provider_id))
                .replace("curl ", "curl --fail-with-body --silent --show-error --noproxy '*' ");
            shell(&script);
        }
        let router = stage.admin().read(&format!("routers/{}", stage.router_id)).await;
        assert_eq!(router["groups"], serde_json::json!(["eu", "us"]), "{router}");
        let staged = stage.admin().read("candidates").await;
        assert_eq!(staged["data"][0]["changes"][0]["change"]["model_name"], "llama-next", "{staged}");
    });
}

/// The help of each command knows the flags that the operations guide names.
#[test]
fn the_operations_guide() {
    let guide = std::fs::read_to_string(paths::root().join("docs/operations.md")).unwrap();
    let help: String = [
        ("gatewright", &["up", "--help"][..]),
        ("gatewright-control-plane", &["serve", "--help"]),
        ("gatewright-control-plane", &["join-token", "create", "--help"]),
        ("gatewright-control-plane", &["candidates", "create", "--help"]),
        ("gatewright-control-plane", &["revisions", "rollback", "--help"]),
        ("gatewright-data-plane", &["--help"]),
    ]
    .iter()
    .map(|(name, arguments)| {
        let output = std::process::Command::new(paths::binary(name)).args(*arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    })
    .collect();
    let words =
        guide.split(|end: char| !(end.is_ascii_alphanumeric() || end == '-')).filter(|word| word.starts_with("--"));
    for flag in words.filter(|flag| flag.len() > 3 && *flag != "--schema") {
        assert!(help.contains(flag), "the operations guide names {flag}, which no command has");
    }
}
