//! The API document and the pages that show it, without a word to any other host.

use harness::client::{Client, Reply};
use harness::gateway::{Gateway, MODES, Mode, standalone_launch};
use harness::postgres::Database;
use harness::process::Process;
use harness::{paths, run};
use serde_json::json;

/// What a page refers to: the values of `src`, `href` and the document's address.
fn references(page: &str) -> Vec<String> {
    let names = [" src=\"", " href=\"", " data-url=\"", " spec-url=\""];
    let values = names.iter().flat_map(|name| page.split(name).skip(1).filter_map(|rest| rest.split('"').next()));
    values.filter(|value| !value.starts_with("data:")).map(str::to_owned).collect()
}

/// What a browser makes of a relative reference in a page of this folder.
fn resolved(folder: &str, reference: &str) -> String {
    let up = reference.matches("../").count();
    let levels: Vec<&str> = folder.split('/').collect();
    format!("{}/{}", levels[..levels.len() - up].join("/"), reference.trim_start_matches("../"))
}

/// Checks that a page and all that it loads come from here, and that a browser would load nothing else.
async fn check_page(client: &Client, path: &str, files: usize) -> Reply {
    let page = client.get(path).send().await;
    assert!(page.expect(200).header("content-type").starts_with("text/html"));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{policy}");
    assert!(!policy.contains("http") && !policy.contains('*') && !policy.contains("unsafe-eval"), "{policy}");
    let references = references(&page.text());
    assert_eq!(references.len(), files, "{references:?}");
    let (folder, _) = path.rsplit_once('/').unwrap();
    for reference in references {
        assert!(!reference.contains("//") && !reference.starts_with('/'), "{reference} would not survive a proxy");
        let file = client.get(&resolved(folder, &reference)).send().await;
        assert!(!file.expect(200).body.is_empty(), "{reference}");
    }
    page
}

#[test]
fn both_pages_are_served_offline() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            let client = Client::new(gateway.admin_url());
            check_page(&client, "/docs", 5).await;
            check_page(&client, "/redoc", 2).await;
            client.get("/docs/swagger-initializer.js").send().await.expect(404);
            client.get("/docs/../openapi.json").send().await.expect(404);
            assert_eq!(client.call("POST", "/docs").send().await.expect(405).header("allow"), "GET,HEAD");
        }
        // The inference port of a fleet has the document of its own routes and no pages.
        let node = Gateway::shared(Mode::Split).await.client();
        node.get("/docs").send().await.expect(404);
        let document = node.get("/openapi.json").send().await.expect(200).json();
        assert!(document["paths"]["/v1/chat/completions"].is_object(), "{document}");
    });
}

/// A gateway of its own with these settings; it lives as long as what is given back.
async fn with_settings(lines: &str) -> ((Process, Database), Client) {
    let folder = paths::folder("documents");
    let file = folder.join("gatewright.yml");
    std::fs::write(&file, format!("settings:\n{lines}")).unwrap();
    let database = Database::migrated().await;
    let process = standalone_launch(&database, &folder).flag("--config", file).start();
    let client = Client::new(process.ready().await.public);
    ((process, database), client)
}

#[test]
fn settings_shape_document_and_pages() {
    run(async {
        let (_alive, client) = with_settings(
            "  app_title: \"Ours & <b>yours</b>\"\n  swagger_version: 9.1\n  swagger_summary: One line.\n  swagger_description: Two lines.\n\
             \x20 swagger_terms_of_service: https://example.org/terms\n  swagger_contact: {name: Us, email: us@example.org}\n\
             \x20 swagger_license_info: {name: MIT, identifier: MIT}\n\
             \x20 swagger_openapi_tags: [{name: chat, description: Talk, externalDocs: {url: \"https://example.org/chat\"}}]\n\
             \x20 swagger_openapi_url: /help/api.json\n  swagger_docs_url: /help/try/\n  swagger_redoc_url: /help/read\n",
        )
        .await;
        let document = client.get("/help/api.json").send().await.expect(200).json();
        let info = &document["info"];
        assert_eq!(info["title"], "Ours & <b>yours</b>");
        assert_eq!((&info["version"], &info["summary"]), (&json!("9.1"), &json!("One line.")));
        assert_eq!(
            (&info["contact"]["email"], &info["license"]["identifier"]),
            (&json!("us@example.org"), &json!("MIT"))
        );
        assert_eq!(document["tags"][0]["externalDocs"]["url"], "https://example.org/chat", "{}", document["tags"]);
        let page = check_page(&client, "/help/try/", 5).await;
        assert!(page.text().contains("<title>Ours &amp; &lt;b&gt;yours&lt;/b&gt;</title>"), "{}", page.text());
        check_page(&client, "/help/read", 2).await;
        for path in ["/docs", "/redoc", "/openapi.json", "/help/try"] {
            client.get(path).send().await.expect(404);
        }
    });
}

#[test]
fn pages_and_document_can_be_switched_off() {
    run(async {
        let (_alive, client) = with_settings("  swagger_redoc_url: \"\"\n  swagger_docs_url: /\n").await;
        client.get("/redoc").send().await.expect(404);
        check_page(&client, "/", 5).await;
        let (_alive, client) = with_settings("  swagger_openapi_url: \"\"\n").await;
        for path in ["/docs", "/redoc", "/openapi.json"] {
            client.get(path).send().await.expect(404);
        }
        client.get("/health").send().await.expect(200);
    });
}
