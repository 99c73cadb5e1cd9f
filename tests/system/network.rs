//! Where a gateway stands: behind TLS, below a path, behind proxies, called from web pages, over HTTP/2.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use harness::client::Client;
use harness::gateway::{
    Gateway, MASTER_KEY, MODES, Mode, control_plane_launch, data_plane_launch, join_token, standalone_launch,
};
use harness::postgres::Database;
use harness::process::{Launch, Process};
use harness::stage::Stage;
use harness::tls::{Files, Pair, Trust, shown};
use harness::{eventually, paths, raw, run, unique};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

fn with_tls(launch: Launch, files: &Files) -> Launch {
    launch.flag("--tls-certificate", &files.certificate).flag("--tls-key", &files.key)
}

fn host(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, place)| place.split('/').next().unwrap_or(place))
}

#[test]
fn every_public_port_speaks_tls_and_takes_a_renewed_certificate() {
    run(async {
        let (folder, old, new) = (paths::folder("tls"), Pair::make(), Pair::make());
        let (files, trust) = (old.write(&folder), Trust::new(&[&old, &new], &["http/1.1"]));
        let database = Database::migrated().await;
        let standalone = with_tls(standalone_launch(&database, &folder), &files).start();
        let control_folder = paths::folder("tls-control");
        let second = Database::migrated().await;
        let control = with_tls(control_plane_launch(&second, &control_folder, None), &files).start();
        let control_ready = control.ready().await;
        let admin = Client::new(&*control_ready.public).trusting(&trust).bearer(MASTER_KEY);
        let token = admin
            .post("/v1/admin/fleet/join-tokens", &json!({"name": "n", "group": "default", "expires_in_seconds": 600}));
        let token = token.send().await.expect(201).json()["token"].as_str().unwrap().to_owned();
        let node_folder = paths::folder("tls-node");
        let node =
            with_tls(data_plane_launch(control_ready.grpc.as_ref().unwrap(), &token, &node_folder), &files).start();
        let urls = [standalone.ready().await.public, control_ready.public.clone(), node.ready().await.public];
        for url in &urls {
            assert!(url.starts_with("https://127.0.0.1:"), "{url}");
            Client::new(&**url).trusting(&trust).get("/health").send().await.expect(200);
            let plain = format!("http://{}", host(url));
            let plain = raw::say(&plain, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", Duration::from_secs(3)).await;
            assert_eq!((plain.status(), plain.closed), (400, true), "{}", plain.text);
            assert!(plain.body().contains("https_required"), "{}", plain.text);
        }
        new.write(&folder);
        for url in &urls {
            eventually(&format!("{url} shows the new certificate"), Duration::from_secs(10), || async {
                let stream = trust.connect(TcpStream::connect(host(url)).await.unwrap()).await.unwrap();
                (shown(&stream) == new.der()).then_some(())
            })
            .await;
            Client::new(&**url).trusting(&trust).get("/health").send().await.expect(200);
        }
    });
}

#[test]
fn a_bad_certificate_is_named_before_anything_starts() {
    run(async {
        let (folder, pair) = (paths::folder("bad-tls"), Pair::make());
        let files = pair.write(&folder);
        let database = Database::empty().await;
        let missing = Files { certificate: folder.join("absent.crt"), key: files.key.clone() };
        let ended = with_tls(standalone_launch(&database, &folder), &missing).finish().await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(ended.stderr.contains("absent.crt") && ended.stderr.contains("--tls-certificate"), "{}", ended.said());
        std::fs::write(&files.key, Pair::make().key).unwrap();
        let ended = with_tls(control_plane_launch(&database, &folder, None), &files).finish().await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(ended.stderr.contains("tls.key") && ended.stderr.contains("together"), "{}", ended.said());
        let ended = standalone_launch(&database, &folder).flag("--tls-key", &files.key).finish().await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(ended.stderr.contains("--tls-certificate"), "{}", ended.said());
    });
}

/// One chat stream over HTTP/2.
async fn stream_over_http2<T>(io: T, url: &str, key: &str, body: &serde_json::Value) -> String
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("{url}/v1/chat/completions"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())));
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    connection.abort();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn http2_is_spoken_without_tls() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            let stage = Stage::chat(gateway).await;
            let mut body = stage.chat_body();
            body["stream"] = json!(true);
            let io = TcpStream::connect(host(gateway.inference_url())).await.unwrap();
            let text = stream_over_http2(io, gateway.inference_url(), &stage.key, &body).await;
            assert!(text.trim_end().ends_with("data: [DONE]"), "{text}");
        }
    });
}

/// What an SDK in a web page does: ask first, then call.
async fn asks(client: &Client, path: &str, origin: &str) -> harness::client::Reply {
    let call = client.anonymous().call("OPTIONS", path).header("origin", origin);
    let call = call.header("access-control-request-method", "POST");
    call.header("access-control-request-headers", "authorization,content-type,x-stainless-os").send().await
}

#[test]
fn web_pages_of_listed_origins_may_call() {
    run(async {
        let (database, folder) = (Database::migrated().await, paths::folder("cors"));
        let process = standalone_launch(&database, &folder).env("GATEWRIGHT_CORS", "https://app.example.org").start();
        let client = Client::new(process.ready().await.public).bearer(MASTER_KEY);
        for path in ["/v1/chat/completions", "/v1/admin/routers", "/v1/auth/login"] {
            let yes = asks(&client, path, "https://app.example.org").await;
            assert_eq!(yes.expect(204).header("access-control-allow-origin"), "https://app.example.org");
            assert_eq!(yes.header("access-control-allow-headers"), "authorization,content-type,x-stainless-os");
            let no = asks(&client, path, "https://evil.example").await;
            no.expect_error(403, "origin_not_allowed");
            assert_eq!(no.header("access-control-allow-origin"), "");
            assert!(!no.header("x-request-id").is_empty());
        }
        let models = client.get("/v1/models").header("origin", "https://app.example.org").send().await;
        assert_eq!(models.expect(200).header("access-control-allow-origin"), "https://app.example.org");
        assert!(models.header("vary").contains("origin"));
        let refused = client.anonymous().get("/v1/models").header("origin", "https://app.example.org").send().await;
        assert_eq!(refused.expect(401).header("access-control-allow-origin"), "https://app.example.org");
        // Without the setting nothing of this is answered.
        let plain = Gateway::shared(Mode::Standalone).await;
        let off = asks(&plain.client(), "/v1/chat/completions", "https://app.example.org").await;
        assert_eq!(off.expect(405).header("access-control-allow-origin"), "");
    });
}

/// A control plane and a node, each with these flags.
async fn split(database: &Database, folder: &Path, flags: &[&str]) -> (Process, Process, [String; 2]) {
    let control = control_plane_launch(database, folder, None).args(flags).start();
    let ready = control.ready().await;
    let token = join_token(&ready.public).await;
    let node_folder = paths::folder("node");
    let node = data_plane_launch(ready.grpc.as_ref().unwrap(), &token, &node_folder).args(flags).start();
    let public = node.ready().await.public;
    (control, node, [ready.public, public])
}

#[test]
fn everything_lies_below_the_prefix() {
    run(async {
        let (database, folder) = (Database::migrated().await, paths::folder("prefix"));
        let flags = ["--path-prefix", "/apis/gateway"];
        let standalone = standalone_launch(&database, &folder).args(flags).start();
        let second = Database::migrated().await;
        let (_control, _node, split) = split(&second, &paths::folder("prefix-control"), &flags).await;
        for url in split.iter().chain([&standalone.ready().await.public]) {
            assert!(url.ends_with("/apis/gateway"), "{url}");
            let client = Client::new(&**url);
            client.get("/health").send().await.expect(200);
            let document = client.get("/openapi.json").send().await.expect(200).json();
            assert_eq!(document["servers"], json!([{"url": "/apis/gateway"}]), "{url}");
            let outside = Client::new(format!("http://{}", host(url)));
            for path in
                ["/health", "/openapi.json", "/v1/models", "/", "/apis/gatewayx/health", "/apis/gateway%2fhealth"]
            {
                outside.get(path).send().await.expect_error(404, "not_found");
            }
        }
        let standalone = Client::new(standalone.ready().await.public);
        standalone.get("/v1/models").send().await.expect(401);
        standalone.bearer(MASTER_KEY).get("/v1/admin/routers").send().await.expect(200);
        standalone.get("/docs").send().await.expect(200);
        standalone.get("/docs/start.js").send().await.expect(200);
    });
}

#[test]
fn only_trusted_proxies_tell_who_the_client_is() {
    run(async {
        let (database, folder) = (Database::migrated().await, paths::folder("proxies"));
        let process = standalone_launch(&database, &folder).args(["--trusted-proxies", "127.0.0.0/8"]).start();
        let trusting = Client::new(process.ready().await.public).bearer(MASTER_KEY);
        let plain = Gateway::shared(Mode::Standalone).await;
        let plain = Client::new(plain.admin_url()).bearer(MASTER_KEY);
        for (client, address) in [(&trusting, "203.0.113.9"), (&plain, "127.0.0.1")] {
            let name = unique("organization");
            let call = client.post("/v1/admin/organizations", &json!({"name": name}));
            // The left of it is what the client itself claims.
            let made = call.header("x-forwarded-for", "198.51.100.1, 203.0.113.9").send().await.expect(201).json();
            let audit = client.get("/v1/admin/audit?limit=100&sort_order=desc").send().await.expect(200).json();
            let of_it = |row: &&serde_json::Value| {
                row["kind"] == "organization" && row["number"] == made["id"] || row.to_string().contains(&name)
            };
            let row = audit["data"].as_array().unwrap().iter().find(of_it).unwrap_or_else(|| panic!("{audit}"));
            assert_eq!(row["address"], address, "{row}");
        }
    });
}

#[test]
fn disabled_groups_are_absent_in_both_planes() {
    run(async {
        let settings = "settings:\n  compatibility: native\n  disabled_routers: [embeddings, usage, health]\n  hidden_routers: [chat, auth]\n";
        let file = paths::folder("groups").join("gatewright.yml");
        std::fs::write(&file, settings).unwrap();
        let (database, folder) = (Database::migrated().await, paths::folder("groups-one"));
        let standalone = standalone_launch(&database, &folder).flag("--config", &file).start();
        let one = standalone.ready().await.public;
        let second = Database::migrated().await;
        let control = control_plane_launch(&second, &paths::folder("groups-two"), None).flag("--config", &file).start();
        let ready = control.ready().await;
        let token = join_token(&ready.public).await;
        let node = data_plane_launch(ready.grpc.as_ref().unwrap(), &token, &paths::folder("groups-node")).start();
        let node_url = node.ready().await.public;
        for (inference, management) in [(&one, &one), (&node_url, &ready.public)] {
            let inference = Client::new(&**inference).bearer(MASTER_KEY);
            let management = Client::new(&**management).bearer(MASTER_KEY);
            inference
                .post("/v1/embeddings", &json!({"model": "x", "input": "x"}))
                .send()
                .await
                .expect_error(404, "not_found");
            inference.get("/health").send().await.expect(404);
            for path in ["/v1/me/usage", "/v1/usage", "/health"] {
                management.get(path).send().await.expect(404);
            }
            management.get("/v1/me/info").send().await.expect(200);
            inference
                .post("/v1/chat/completions", &json!({"model": "x", "messages": []}))
                .send()
                .await
                .expect_error(404, "model_not_found");
            let shown = |document: serde_json::Value| {
                document["paths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
            };
            for client in [&inference, &management] {
                let paths = shown(client.get("/openapi.json").send().await.expect(200).json());
                for absent in ["/v1/embeddings", "/health", "/v1/me/usage", "/v1/chat/completions", "/v1/auth/login"] {
                    assert!(!paths.iter().any(|path| path == absent), "{absent}: {paths:?}");
                }
                assert!(paths.iter().any(|path| path == "/v1/models" || path == "/v1/admin/routers"), "{paths:?}");
            }
        }
    });
}
