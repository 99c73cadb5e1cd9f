//! A change reaches some data planes first: seen, widened, promoted and withdrawn while calls are served.

use std::time::Duration;

use harness::admin::Admin;
use harness::client::Client;
use harness::gateway::{Gateway, data_plane_launch};
use harness::process::{Launch, Process};
use harness::stage::{Stage, UPSTREAM_MODEL};
use harness::upstream::Upstream;
use harness::{eventually, paths, run};
use serde_json::{Value, json};

/// The credential of the version to come.
const NEXT_SECRET: &str = "sk-provider-canary-of-the-next-77e1";

/// A fleet of two: the gateway's own data plane, and one that is told changes first.
struct Scene<'a> {
    stage: Stage<'a>,
    canary: Process,
    first: Client,
    next: Upstream,
}

const LABELS: [&str; 4] = ["--label", "tier=main", "--label", "canary=true"];

impl<'a> Scene<'a> {
    async fn set(gateway: &'a Gateway, folder: &std::path::Path) -> Self {
        let stage = Stage::chat(gateway).await;
        let (canary, ready) = gateway.node(folder, &LABELS).await;
        let first = Client::new(&ready.public).bearer(&stage.key);
        Self { stage, canary, first, next: Upstream::start().await }
    }

    fn admin(&self) -> Admin {
        self.stage.admin()
    }

    /// What an upstream is asked for, by the node that is told first and by the other.
    async fn models(&self) -> (String, String) {
        (self.model(&self.first).await, self.model(&self.stage.client()).await)
    }

    async fn model(&self, client: &Client) -> String {
        let (here, there) = (self.stage.upstream.calls(), self.next.calls());
        client.post("/v1/chat/completions", &self.stage.chat_body()).send().await.expect(200);
        let asked = match (self.stage.upstream.calls() - here, self.next.calls() - there) {
            (1, 0) => self.stage.upstream.seen().pop(),
            (0, 1) => self.next.seen().pop(),
            other => panic!("one call reached {other:?}"),
        };
        asked.expect("a call").json()["model"].as_str().expect("a model").to_owned()
    }

    async fn until(&self, what: &str, first: &str, other: &str) {
        eventually(what, Duration::from_secs(10), || async {
            let (told, not) = self.models().await;
            (told == first && not == other).then_some(())
        })
        .await;
    }

    /// Stages another address, credential and model name of the provider.
    async fn stages(&self) -> Value {
        let change = json!({"url": self.next.url(), "key": NEXT_SECRET, "model_name": "next-model"});
        let body = json!({
            "selector": {"labels": {"canary": "true"}},
            "changes": [{"kind": "provider", "id": self.stage.provider_id, "change": change}],
        });
        let candidate = self.admin().create("candidates", &body).await;
        assert!(!candidate.to_string().contains(NEXT_SECRET), "{candidate}");
        assert_eq!(candidate["changes"][0]["change"]["key"], "stored", "{candidate}");
        candidate
    }

    async fn read(&self, candidate: &Value) -> Value {
        self.admin().read(&format!("candidates/{}", candidate["id"])).await
    }
}

#[test]
fn a_change_reaches_some_nodes_first() {
    run(async {
        let gateway = split().await;
        let folder = paths::folder("canary");
        let mut scene = Scene::set(&gateway, &folder).await;
        scene.until("both as they are", UPSTREAM_MODEL, UPSTREAM_MODEL).await;
        let candidate = scene.stages().await;
        scene.until("one is told", "next-model", UPSTREAM_MODEL).await;
        assert_eq!(scene.next.seen()[0].headers["authorization"], format!("Bearer {NEXT_SECRET}"));
        eventually("it says so", Duration::from_secs(5), || async {
            let nodes = scene.read(&candidate).await["nodes"].clone();
            (nodes == json!({"matching": 1, "acknowledged": 1, "rejecting": 0})).then_some(())
        })
        .await;
        let provider = scene.admin().read(&format!("providers/{}", scene.stage.provider_id)).await;
        assert_eq!(provider["model_name"], UPSTREAM_MODEL, "the catalog is as it was");

        // From disk while nothing else is there, and back.
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        scene.canary.terminate(Duration::from_secs(30)).await;
        let alone = data_plane_launch("http://127.0.0.1:9", "gw-join-none", &folder).start();
        scene.first = Client::new(&alone.ready().await.public).bearer(&scene.stage.key);
        assert_eq!(scene.models().await, ("next-model".to_owned(), UPSTREAM_MODEL.to_owned()));
        alone.terminate(Duration::from_secs(30)).await;
        let (canary, ready) = gateway.node(&folder, &LABELS).await;
        (scene.canary, scene.first) = (canary, Client::new(&ready.public).bearer(&scene.stage.key));
        scene.until("it stays told", "next-model", UPSTREAM_MODEL).await;

        // To all with another label, and back for all.
        let selector = json!({"selector": {"labels": {"tier": "main"}}});
        let widened = scene.admin().change(&format!("candidates/{}", candidate["id"]), &selector).await;
        assert_eq!(widened["selector"], selector["selector"], "{widened}");
        scene.until("both are told", "next-model", "next-model").await;
        eventually("both say so", Duration::from_secs(5), || async {
            (scene.read(&candidate).await["nodes"]["acknowledged"] == 2).then_some(())
        })
        .await;
        scene.admin().remove(&format!("candidates/{}", candidate["id"])).await;
        scene.until("both are as they were", UPSTREAM_MODEL, UPSTREAM_MODEL).await;

        // Once more, to the end.
        let candidate = scene.stages().await;
        scene.until("one is told again", "next-model", UPSTREAM_MODEL).await;
        let promoted = scene.admin().post(&format!("candidates/{}/promote", candidate["id"]), &json!({})).await;
        promoted.expect(200);
        scene.until("everybody has it", "next-model", "next-model").await;
        let provider = scene.admin().read(&format!("providers/{}", scene.stage.provider_id)).await;
        assert_eq!((&provider["model_name"], &provider["credential"]), (&json!("next-model"), &json!("stored")));
        scene.admin().get(&format!("candidates/{}", candidate["id"])).await.expect(404);

        // And taken back like any other revision.
        let promotion = scene.admin().read("audit?kind=candidate&operation=promote").await;
        let revision = &promotion["data"][0]["revision"];
        scene.admin().post("revisions/rollback", &json!({"revisions": [revision]})).await.expect(200);
        scene.until("both are as they were", UPSTREAM_MODEL, UPSTREAM_MODEL).await;

        let audit = scene.admin().read("audit?kind=candidate&sort_order=asc").await;
        let operations: Vec<&str> =
            audit["data"].as_array().unwrap().iter().map(|line| line["operation"].as_str().unwrap()).collect();
        assert_eq!(operations, ["create", "update", "withdraw", "create", "promote"], "{audit}");
        assert!(!audit.to_string().contains(NEXT_SECRET));
        assert!(!gateway.said().contains(NEXT_SECRET) && !scene.canary.said().contains(NEXT_SECRET));
        assert!(!gateway.said().contains("a new epoch"), "{}", gateway.said());
    });
}

/// Both data planes carry `tier=main`.
async fn split() -> Gateway {
    Gateway::start_with(harness::gateway::Mode::Split, &[("GATEWRIGHT_LABEL", "tier=main")]).await
}

#[test]
fn the_catalog_counts_before_what_was_staged_on_it() {
    run(async {
        let gateway = split().await;
        let scene = Scene::set(&gateway, &paths::folder("stale")).await;
        let candidate = scene.stages().await;
        scene.until("one is told", "next-model", UPSTREAM_MODEL).await;
        scene
            .admin()
            .change(&format!("providers/{}", scene.stage.provider_id), &json!({"model_name": "hot-fix"}))
            .await;
        scene.until("the fix is everywhere", "hot-fix", "hot-fix").await;
        let metrics = Client::new(&gateway.operations_urls()[1]).get("/metrics").send().await.text();
        assert!(metrics.contains("gatewright_catalog_candidates{state=\"stale\"} 1"), "{metrics}");
        assert_eq!(scene.read(&candidate).await["stale"], true);
        let refused = scene.admin().post(&format!("candidates/{}/promote", candidate["id"]), &json!({})).await;
        let error = refused.expect_error(409, "stale_candidate");
        let named = format!("provider {}", scene.stage.provider_id);
        assert!(error["error"]["message"].as_str().unwrap().contains(&named), "{error}");
        scene.admin().remove(&format!("candidates/{}", candidate["id"])).await;
        let anew = scene.stages().await;
        scene.until("one is told anew", "next-model", "hot-fix").await;
        assert_eq!(scene.read(&anew).await["stale"], false);

        // A removed provider takes its candidate along; what is left can be withdrawn.
        scene.admin().remove(&format!("providers/{}", scene.stage.provider_id)).await;
        let refused = scene.admin().post(&format!("candidates/{}/promote", anew["id"]), &json!({})).await;
        refused.expect_error(409, "stale_candidate");
        scene.admin().remove(&format!("candidates/{}", anew["id"])).await;
    });
}

/// A router and its provider together: another name and price, and a credential where there was none.
#[test]
fn routers_and_credentials_are_staged_too() {
    run(async {
        let gateway = split().await;
        let scene = Scene::set(&gateway, &paths::folder("canary-of-two")).await;
        let (admin, alias) = (scene.admin(), harness::unique("alias"));
        let (router, provider) = (scene.stage.router_id, scene.stage.provider_id);
        admin.change(&format!("providers/{provider}"), &json!({"key": null})).await;
        let authorized = async |client: &Client, model: &str| {
            let mut body = scene.stage.chat_body();
            body["model"] = model.into();
            let reply = client.post("/v1/chat/completions", &body).send().await;
            let seen = scene.stage.upstream.seen().pop();
            (reply.status, seen.and_then(|seen| seen.headers.get("authorization").cloned()))
        };
        let name = scene.stage.router.clone();
        let until = async |what: &str, client: &Client, model: &str, expected: (u16, Option<&str>)| {
            eventually(what, Duration::from_secs(10), || async {
                let (status, credential) = authorized(client, model).await;
                // Of a call that goes nowhere the last one before is seen.
                let same = status != 200 || credential.as_ref().map(|value| value.to_str().unwrap()) == expected.1;
                (status == expected.0 && same).then_some(())
            })
            .await;
        };
        let main = scene.stage.client();
        until("nothing is sent", &scene.first, &name, (200, None)).await;
        until("nothing is sent by the other", &main, &name, (200, None)).await;
        let body = json!({
            "selector": {"labels": {"canary": "true"}},
            "changes": [
                {"kind": "router", "id": router, "change": {"aliases": [alias], "cost_prompt_tokens": 7}},
                {"kind": "provider", "id": provider, "change": {"key": NEXT_SECRET}},
            ],
        });
        let candidate = admin.create("candidates", &body).await;
        let credential = format!("Bearer {NEXT_SECRET}");
        until("the alias and the credential are there", &scene.first, &alias, (200, Some(&credential))).await;
        until("and not there", &main, &alias, (404, None)).await;
        until("where nothing is sent still", &main, &name, (200, None)).await;
        let place = format!("candidates/{}", candidate["id"]);
        assert_eq!(admin.read(&place).await["nodes"]["rejecting"], 0);
        admin.post(&format!("{place}/promote"), &json!({})).await.expect(200);
        until("everywhere", &main, &alias, (200, Some(&credential))).await;
        let changed = admin.read(&format!("routers/{router}")).await;
        assert_eq!((&changed["aliases"], &changed["cost_prompt_tokens"]), (&json!([alias]), &json!(7.0)), "{changed}");

        // And a credential that goes.
        let mut body = body;
        body["changes"] = json!([{"kind": "provider", "id": provider, "change": {"key": null}}]);
        let candidate = admin.create("candidates", &body).await;
        until("it is gone there", &scene.first, &name, (200, None)).await;
        until("and still here", &main, &name, (200, Some(&credential))).await;
        admin.post(&format!("candidates/{}/promote", candidate["id"]), &json!({})).await.expect(200);
        until("gone for all", &main, &name, (200, None)).await;
        let secrets: i64 = sqlx::query_scalar("SELECT count(*) FROM gatewright.secrets")
            .fetch_one(&gateway.database().pool().await)
            .await
            .unwrap();
        assert_eq!(secrets, 0, "no envelope stays behind");
        assert!(!gateway.said().contains(NEXT_SECRET) && !scene.canary.said().contains(NEXT_SECRET));
    });
}

#[test]
fn what_cannot_be_staged_is_refused() {
    run(async {
        let gateway = Gateway::shared(harness::gateway::Mode::Split).await;
        let stage = Stage::chat(gateway).await;
        let (router, provider) = (stage.router_id, stage.provider_id);
        let with = |selector: Value, kind: &str, id: i64, change: Value| json!({"selector": selector, "changes": [{"kind": kind, "id": id, "change": change}]});
        let canary = || json!({"labels": {"canary": "true"}});
        let good = json!({"model_name": "x"});
        for (status, place, body) in [
            (422, "selector", with(json!({"labels": {}}), "provider", provider, good.clone())),
            (422, "selector", with(json!({"labels": {"canary": 7}}), "provider", provider, good.clone())),
            (400, "selector", with(json!({"labels": {"a": "b"}, "nodes": 3}), "provider", provider, good.clone())),
            (422, "changes.0.kind", with(canary(), "role", provider, good.clone())),
            (422, "changes.0.change", with(canary(), "provider", provider, json!([1]))),
            (422, "changes.0.change.timeout", with(canary(), "provider", provider, json!({"timeout": "long"}))),
            (400, "changes.0.change.modell_name", with(canary(), "provider", provider, json!({"modell_name": "x"}))),
            (422, "changes.0.change.router_id", with(canary(), "provider", provider, json!({"router_id": 1}))),
            (422, "changes.0.change.groups", with(canary(), "router", router, json!({"groups": ["eu"]}))),
            (422, "changes.0.change", with(canary(), "router", router, json!({"name": stage.router}))),
            (422, "changes", json!({"selector": canary(), "changes": []})),
        ] {
            let reply = stage.admin().post("candidates", &body).await;
            assert_eq!(reply.status, status, "{body}: {}", reply.text());
            let error = reply.json();
            let param = error["error"]["param"].as_str().unwrap_or_default().to_owned();
            assert!(param.starts_with(place), "{place}: {error}");
        }
        let unknown = stage.admin().post("candidates", &with(canary(), "router", 999_999, json!({"name": "x"}))).await;
        unknown.expect(404);
        let needs_key = with(canary(), "provider", provider, json!({"url": "http://elsewhere.example"}));
        stage.admin().post("candidates", &needs_key).await.expect_error(400, "secret_required");

        let first = stage.admin().create("candidates", &with(canary(), "provider", provider, good.clone())).await;
        let again =
            stage.admin().post("candidates", &with(json!({"labels": {"b": "c"}}), "provider", provider, good)).await;
        again.expect_error(409, "already_staged");
        let place = format!("candidates/{}", first["id"]);
        let moved = stage.admin().call("PATCH", &place).header("if-match", "\"9\"");
        moved.json(&json!({"selector": {"labels": {"b": "c"}}})).send().await.expect(412);
        assert!(stage.admin().read("candidates").await["total"].as_i64() >= Some(1));
        stage.admin().remove(&place).await;
        stage.admin().delete(&place).await.expect(404);
    });
}

#[test]
fn the_command_line_stages_too() {
    run(async {
        let gateway = split().await;
        let scene = Scene::set(&gateway, &paths::folder("canary-by-hand")).await;
        let folder = paths::folder("by-hand");
        harness::gateway::write_secrets(&folder.join("secrets"));
        let file = folder.join("changes.json");
        let change = json!({"url": scene.next.url(), "key": NEXT_SECRET, "model_name": "next-model"});
        let changes = json!([{"kind": "provider", "id": scene.stage.provider_id, "change": change}]);
        std::fs::write(&file, changes.to_string()).unwrap();
        let say = async |arguments: &[&str]| {
            let launch = Launch::new("gatewright-control-plane").args(["candidates"]).args(arguments);
            let done = launch.env("DATABASE_URL", gateway.database().url()).finish().await;
            assert!(!done.said().contains(NEXT_SECRET), "{}", done.said());
            done
        };
        let (place, secrets) = (file.to_string_lossy().into_owned(), folder.join("secrets"));
        let secrets = secrets.to_string_lossy().into_owned();
        let create =
            ["create", "--label", "canary=true", "--changes", place.as_str(), "--secrets-dir", secrets.as_str()];
        let made = say(&create).await;
        assert_eq!(made.code, Some(0), "{}", made.said());
        let id = made.stdout.split('\t').next().unwrap().to_owned();
        scene.until("one is told", "next-model", UPSTREAM_MODEL).await;
        let twice = say(&create).await;
        assert!(twice.code == Some(1) && twice.stderr.contains("staged already"), "{}", twice.said());
        let listed = say(&["list"]).await;
        assert!(listed.stdout.contains("canary=true") && listed.stdout.contains("fresh"), "{}", listed.said());
        assert_eq!(say(&["widen", &id, "--label", "tier=main"]).await.code, Some(0));
        scene.until("both are told", "next-model", "next-model").await;
        assert_eq!(say(&["withdraw", &id]).await.code, Some(0));
        scene.until("both are as they were", UPSTREAM_MODEL, UPSTREAM_MODEL).await;
        let made = say(&create).await;
        let id = made.stdout.split('\t').next().unwrap().to_owned();
        assert_eq!(say(&["promote", &id]).await.code, Some(0));
        scene.until("everybody has it", "next-model", "next-model").await;
        assert_eq!(say(&["promote", &id]).await.code, Some(1));
    });
}
