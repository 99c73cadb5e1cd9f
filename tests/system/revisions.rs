//! Looking back and going back: what each revision changed, differences, rollback, and how far the log reaches.

use std::time::Duration;

use harness::admin::{Admin, number, provider_body, unlimited};
use harness::client::Client;
use harness::gateway::{
    ENFORCED_WITHIN, Gateway, MASTER_KEY, control_plane_launch, data_plane_launch, join_token, standalone_launch,
};
use harness::postgres::Database;
use harness::process::Launch;
use harness::stage::{PROVIDER_KEY, Stage};
use harness::upstream::Upstream;
use harness::{eventually, paths, run, unique};
use serde_json::{Value, json};

/// The newest revision.
async fn head(admin: &Admin) -> u64 {
    admin.read("fleet?limit=1").await["revision"].as_u64().expect("a revision")
}

/// Takes revisions back.
async fn back(admin: &Admin, body: &Value) -> Value {
    let reply = admin.post("revisions/rollback", body).await;
    assert_eq!(reply.status, 200, "{body}: {}", reply.text());
    reply.json()
}

/// An object without what every change changes.
fn steady(mut object: Value) -> Value {
    object.as_object_mut().expect("an object").remove("updated");
    object
}

fn kinds(list: &Value) -> Vec<(&str, &str)> {
    let all = list.as_array().expect("a list").iter();
    let mut all: Vec<_> = all.map(|one| (one["kind"].as_str().unwrap(), one["operation"].as_str().unwrap())).collect();
    all.sort_unstable();
    all
}

#[test]
fn what_each_revision_changed_is_told() {
    run(async {
        let gateway = Gateway::standalone().await;
        let admin = gateway.admin();
        let (router, name) = admin.router("text-generation").await;
        let begun = head(&admin).await;
        let provider = admin.provider(router, "http://127.0.0.1:9").await;
        admin
            .change(&format!("routers/{router}"), &json!({"aliases": ["one", "two"], "cost_prompt_tokens": 2.5}))
            .await;
        admin.change(&format!("providers/{provider}"), &json!({"key": "sk-another-canary-7788"})).await;

        let list = admin.read("revisions?limit=3").await;
        assert_eq!(list["total"].as_u64(), Some(head(&admin).await), "{list}");
        let numbers: Vec<u64> =
            list["data"].as_array().unwrap().iter().map(|one| one["revision"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [begun + 3, begun + 2, begun + 1], "newest first");
        let newest = &list["data"][0];
        assert_eq!((&newest["actor"]["kind"], &newest["actor"]["name"]), (&json!("master"), &json!("master")));
        assert_eq!(kinds(&newest["resources"]), [("provider", "update"), ("secret", "update")], "{newest}");
        assert_eq!(kinds(&list["data"][2]["resources"]), [("provider", "create"), ("secret", "create")], "{list}");
        assert_eq!(newest["epoch"], admin.read("fleet").await["epoch"]);
        let router_id = &list["data"][1]["resources"][0]["id"];
        let of_it = admin.read(&format!("revisions?kind=router&id={}", router_id.as_str().unwrap())).await;
        assert_eq!(of_it["total"], 2, "made and changed: {of_it}");

        let one = admin.read(&format!("revisions/{}", begun + 2)).await;
        let change = &one["resources"][0];
        assert_eq!((&change["name"], &change["before"]["aliases"]), (&json!(name), &json!([])), "{one}");
        assert_eq!(change["after"]["aliases"], json!(["one", "two"]), "{one}");

        let diff = admin.read(&format!("revisions/diff?from={begun}")).await;
        assert_eq!((&diff["to"], &diff["total"]), (&json!(begun + 3), &json!(3)), "{diff}");
        assert_eq!(kinds(&diff["data"]), [("provider", "create"), ("router", "update"), ("secret", "create")]);
        let router = diff["data"].as_array().unwrap().iter().find(|one| one["kind"] == "router").unwrap();
        let fields: Vec<&str> =
            router["fields"].as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
        assert_eq!(fields, ["aliases", "prompt_price"], "{router}");
        let nothing = admin.read(&format!("revisions/diff?from={0}&to={0}", begun + 3)).await;
        assert_eq!(nothing["total"], 0);

        // Never a credential, nor its envelope.
        let detail = admin.read(&format!("revisions/{}", begun + 1)).await;
        let secret = detail["resources"].as_array().unwrap().iter().find(|one| one["kind"] == "secret").unwrap();
        assert_eq!(secret["after"]["sealed"], "(not shown)", "{secret}");
        for answer in [&list, &one, &diff, &detail] {
            assert!(!answer.to_string().contains("canary") && !answer.to_string().contains("\\\\x"), "{answer}");
        }

        for (place, status) in [
            (format!("revisions/{}", begun + 99), 404),
            ("revisions/0".to_owned(), 404),
            (format!("revisions/diff?from={}", begun + 99), 404),
            ("revisions/diff".to_owned(), 422),
            (format!("revisions/diff?from={}&to={begun}", begun + 1), 422),
            ("revisions?kind=nothing".to_owned(), 422),
        ] {
            assert_eq!(admin.get(&place).await.status, status, "{place}");
        }
        gateway.client().get("/v1/admin/revisions").send().await.expect(401);
    });
}

#[test]
fn a_rollback_takes_back_what_was_named_and_nothing_else() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let (admin, body) = (stage.admin(), stage.chat_body());
        let (other, _) = admin.router("text-generation").await;
        let place = format!("routers/{}", stage.router_id);
        let before = steady(admin.read(&place).await);

        let renamed = unique("renamed");
        let change = json!({"name": renamed, "aliases": ["short"], "cost_prompt_tokens": 7, "blocked": false});
        admin.change(&place, &change).await;
        let first = head(&admin).await;
        admin.change(&format!("routers/{other}"), &json!({"cost_prompt_tokens": 1})).await;
        admin.change(&format!("keys/{}", stage.key_id), &json!({"allowed_routers": [stage.router_id]})).await;
        let third = head(&admin).await;
        assert_eq!(third, first + 2);

        let wanted = json!({"revisions": [third, first], "reason": "it was too dear", "dry_run": true});
        let told = back(&admin, &wanted).await;
        assert_eq!((&told["revision"], &told["dry_run"]), (&json!(null), &json!(true)), "{told}");
        assert_eq!(kinds(&told["reverted"]), [("router", "update")]);
        assert_eq!(told["left_out"][0]["kind"], "key", "{told}");
        assert!(told["left_out"][0]["reason"].as_str().unwrap().contains("never rolled back"), "{told}");
        assert_eq!((head(&admin).await, &admin.read(&place).await["name"]), (third, &json!(renamed)));

        let mut wanted = wanted;
        wanted["dry_run"] = json!(false);
        let done = back(&admin, &wanted).await;
        assert_eq!(done["revision"], third + 1, "{done}");
        assert_eq!(steady(admin.read(&place).await), before);
        assert_eq!(admin.read(&format!("routers/{other}")).await["cost_prompt_tokens"], 1.0);
        assert_eq!(admin.read(&format!("keys/{}", stage.key_id)).await["allowed_routers"], json!([stage.router_id]));
        eventually("the old name is served again", ENFORCED_WITHIN, || async {
            (stage.client().post("/v1/chat/completions", &body).send().await.status == 200).then_some(())
        })
        .await;

        let audit = admin.read("audit?operation=rollback").await;
        let rows = audit["data"].as_array().unwrap();
        let whole = rows.iter().find(|row| row["kind"] == "revision").expect("the rollback itself");
        assert_eq!((&whole["after"]["reason"], &whole["revision"]), (&json!("it was too dear"), &json!(third + 1)));
        assert!(rows.iter().any(|row| row["kind"] == "router" && row["before"]["name"] == json!(renamed)), "{audit}");

        // The same again finds nothing to do but by force, since its own revision came later.
        admin.post("revisions/rollback", &json!({"revisions": [first]})).await.expect_error(409, "changed_since");
        let again = back(&admin, &json!({"revisions": [first], "force": true})).await;
        assert_eq!((&again["revision"], kinds(&again["reverted"]).len()), (&json!(null), 0), "{again}");
        // And a rollback is taken back like any other revision.
        back(&admin, &json!({"from": third + 1})).await;
        assert_eq!(admin.read(&place).await["name"], json!(renamed));
    });
}

#[test]
fn what_was_deleted_comes_back_whole() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let (admin, body) = (stage.admin(), stage.chat_body());
        let (router, provider, role) = (
            format!("routers/{}", stage.router_id),
            format!("providers/{}", stage.provider_id),
            format!("roles/{}", stage.role_id),
        );
        let change = json!({"aliases": ["a", "b"], "max_context_length": 4096, "cost_cached_prompt_tokens": 0.5});
        admin.change(&router, &change).await;
        admin.change(&provider, &json!({"weight": 3, "model_total_params": 7, "model_hosting_zone": "FRA"})).await;
        let read = || async {
            [&router, &provider, &role].map(|place| {
                let (admin, place) = (admin.clone(), place.clone());
                async move { steady(admin.read(&place).await) }
            })
        };
        let mut before = Vec::new();
        for one in read().await {
            before.push(one.await);
        }
        stage.client().post("/v1/chat/completions", &body).send().await.expect(200);

        admin.remove(&router).await;
        let deleted = head(&admin).await;
        assert_eq!((admin.get(&router).await.status, admin.get(&provider).await.status), (404, 404));
        eventually("the router is gone", ENFORCED_WITHIN, || async {
            (stage.client().post("/v1/chat/completions", &body).send().await.status == 404).then_some(())
        })
        .await;

        let done = back(&admin, &json!({"from": deleted})).await;
        let made: Vec<_> = kinds(&done["reverted"]);
        assert_eq!(made.iter().filter(|(kind, operation)| *kind == "limit" && *operation == "create").count(), 4);
        assert!(made.contains(&("router", "create")) && made.contains(&("provider", "create")), "{done}");
        let mut after = Vec::new();
        for one in read().await {
            after.push(one.await);
        }
        assert_eq!(after, before);
        let calls = stage.upstream.calls();
        eventually("the router is served again", ENFORCED_WITHIN, || async {
            (stage.client().post("/v1/chat/completions", &body).send().await.status == 200).then_some(())
        })
        .await;
        let seen = stage.upstream.seen();
        assert_eq!(seen[calls].headers["authorization"], format!("Bearer {PROVIDER_KEY}"), "its credential came back");
        assert!(!done.to_string().contains("canary"), "{done}");

        // Both again, from what was rotated in between and from its deletion alone.
        admin.change(&provider, &json!({"key": "sk-rotated-1234", "weight": 5})).await;
        let rotated = head(&admin).await;
        admin.remove(&provider).await;
        back(&admin, &json!({"from": rotated})).await;
        assert_eq!(admin.read(&provider).await["weight"], 3);
        let calls = stage.upstream.calls();
        eventually("the first credential is used", ENFORCED_WITHIN, || async {
            (stage.client().post("/v1/chat/completions", &body).send().await.status == 200).then_some(())
        })
        .await;
        let sent = stage.upstream.seen()[calls..].last().unwrap().headers["authorization"].clone();
        assert_eq!(sent, format!("Bearer {PROVIDER_KEY}"));
        // Every node holds what the database holds, by digest.
        let fleet = admin.read("fleet").await;
        assert!(fleet["data"].as_array().unwrap().iter().all(|node| node["rejected"] == json!([])), "{fleet}");
    });
}

#[test]
fn an_address_comes_back_with_its_credential() {
    run(async {
        let gateway = Gateway::standalone().await;
        let stage = Stage::chat(&gateway).await;
        let (admin, body, elsewhere) = (stage.admin(), stage.chat_body(), Upstream::start().await);
        let place = format!("providers/{}", stage.provider_id);
        // First something else of the same provider, so that its envelope follows from the address alone.
        admin.change(&place, &json!({"weight": 2})).await;
        let weighed = head(&admin).await;
        admin.change(&place, &json!({"url": elsewhere.url(), "key": "sk-elsewhere-77"})).await;
        eventually("calls go elsewhere", ENFORCED_WITHIN, || async {
            stage.client().post("/v1/chat/completions", &body).send().await.expect(200);
            (elsewhere.calls() > 0).then_some(())
        })
        .await;
        back(&admin, &json!({"revisions": [weighed], "force": true})).await;
        let calls = stage.upstream.calls();
        eventually("calls go to the first address", ENFORCED_WITHIN, || async {
            stage.client().post("/v1/chat/completions", &body).send().await.expect(200);
            (stage.upstream.calls() > calls).then_some(())
        })
        .await;
        let sent = stage.upstream.seen().last().unwrap().headers["authorization"].clone();
        assert_eq!(sent, format!("Bearer {PROVIDER_KEY}"));
    });
}

#[test]
fn limits_come_back_in_their_place() {
    run(async {
        let gateway = Gateway::standalone().await;
        let admin = gateway.admin();
        let (router, _) = admin.router("text-generation").await;
        let role = format!("roles/{}", admin.role(&[], &unlimited(router)).await);
        let before = steady(admin.read(&role).await);
        admin.change(&role, &json!({"limits": []})).await;
        let emptied = head(&admin).await;
        let other = json!([{"router_id": router, "type": "rpm", "value": 5}]);
        admin.change(&role, &json!({"limits": other})).await;
        let done = back(&admin, &json!({"revisions": [emptied], "force": true})).await;
        assert_eq!(steady(admin.read(&role).await), before, "{done}");
        assert!(done["overridden"].to_string().contains("limit"), "{done}");
        // A name that moved from one role to another goes back with both.
        let names = [admin.read(&role).await["name"].clone(), json!(unique("role"))];
        let second = number(&admin.create("roles", &json!({"name": names[1], "permissions": []})).await);
        let begun = head(&admin).await;
        admin.change(&role, &json!({"name": unique("parked")})).await;
        admin.change(&format!("roles/{second}"), &json!({"name": names[0]})).await;
        admin.change(&role, &json!({"name": names[1]})).await;
        back(&admin, &json!({"from": begun + 1})).await;
        assert_eq!(admin.read(&role).await["name"], names[0]);
        assert_eq!(admin.read(&format!("roles/{second}")).await["name"], names[1]);
    });
}

#[test]
fn what_stands_in_the_way_of_a_rollback_is_named() {
    run(async {
        let gateway = Gateway::standalone().await;
        let admin = gateway.admin();
        let (router, name) = admin.router("text-generation").await;
        let place = format!("routers/{router}");

        // A later revision of the same resource.
        admin.change(&place, &json!({"cost_prompt_tokens": 3})).await;
        let early = head(&admin).await;
        admin.change(&place, &json!({"cost_prompt_tokens": 4})).await;
        let refused = admin.post("revisions/rollback", &json!({"revisions": [early]})).await;
        refused.expect_error(409, "changed_since");
        assert!(
            refused.text().contains(&name) && refused.text().contains(&(early + 1).to_string()),
            "{}",
            refused.text()
        );
        let forced = back(&admin, &json!({"revisions": [early], "force": true})).await;
        assert_eq!(forced["overridden"][0]["revisions"], json!([early + 1]), "{forced}");
        assert_eq!(admin.read(&place).await["cost_prompt_tokens"], 0.0);

        // The name went to another.
        admin.change(&place, &json!({"name": unique("moved")})).await;
        let renamed = head(&admin).await;
        let taker = admin.create("routers", &json!({"name": name, "type": "text-generation"})).await;
        let created = head(&admin).await;
        let refused = admin.post("revisions/rollback", &json!({"revisions": [renamed]})).await;
        refused.expect_error(409, "already_exists");
        assert!(refused.text().contains(&name), "{}", refused.text());
        // Both together work: one goes, the other takes its name again.
        back(&admin, &json!({"from": renamed, "to": created})).await;
        assert_eq!(admin.read(&place).await["name"], json!(name));
        assert_eq!(admin.get(&format!("routers/{}", taker["id"])).await.status, 404);

        // What was made below something that goes.
        let (parent, _) = admin.router("text-generation").await;
        let born = head(&admin).await;
        let child = number(&admin.create("providers", &provider_body(parent, "http://127.0.0.1:9")).await);
        let refused = admin.post("revisions/rollback", &json!({"revisions": [born]})).await;
        refused.expect_error(409, "changed_since");
        assert!(refused.text().contains("provider"), "{}", refused.text());
        back(&admin, &json!({"revisions": [born], "force": true})).await;
        assert_eq!(admin.get(&format!("providers/{child}")).await.status, 404);

        // People never go.
        let role = admin.role(&[], &[]).await;
        let born = head(&admin).await;
        admin.user(role, None).await;
        let refused = admin.post("revisions/rollback", &json!({"revisions": [born], "force": true})).await;
        refused.expect_error(409, "in_use");
        assert!(refused.text().contains("@example.test"), "{}", refused.text());

        // A parent that is gone.
        let (parent, _) = admin.router("text-generation").await;
        let child = admin.provider(parent, "http://127.0.0.1:9").await;
        admin.remove(&format!("providers/{child}")).await;
        let gone = head(&admin).await;
        admin.remove(&format!("routers/{parent}")).await;
        admin.post("revisions/rollback", &json!({"revisions": [gone]})).await.expect_error(409, "parent_gone");

        for (body, status) in [
            (json!({}), 422),
            (json!({"from": 1, "revisions": [1]}), 400),
            (json!({"from": 0}), 404),
            (json!({"from": 99_999}), 404),
            (json!({"revisions": []}), 422),
            (json!({"revisions": ["x"]}), 422),
            (json!({"from": 2, "to": 1}), 422),
            (json!({"from": 1, "dryrun": true}), 400),
            (json!({"from": 1, "reason": "x".repeat(1_001)}), 422),
        ] {
            let reply = admin.post("revisions/rollback", &body).await;
            assert_eq!(reply.status, status, "{body}: {}", reply.text());
        }
    });
}

#[test]
fn what_a_file_owns_is_changed_in_the_file() {
    run(async {
        let folder = paths::folder("owned");
        let file = folder.join("gatewright.yml");
        let write = |model: &str| {
            let text = format!(
                "models:\n  - name: owned-router\n    type: text-generation\n    providers:\n      - type: openai\n        url: http://127.0.0.1:9\n        key: sk-file\n        timeout: 30\n        model_name: {model}\n"
            );
            std::fs::write(&file, text).unwrap();
        };
        let database = Database::migrated().await;
        for model in ["one", "two"] {
            write(model);
            let process = standalone_launch(&database, &folder).flag("--config", &file).start();
            let admin = Admin::new(&process.ready().await.public, MASTER_KEY);
            if model == "two" {
                let list = admin.read("revisions?kind=provider&limit=1").await;
                let revision = list["data"][0]["revision"].clone();
                assert_eq!(list["data"][0]["actor"]["kind"], "file", "{list}");
                let refused = admin.post("revisions/rollback", &json!({"revisions": [revision], "force": true})).await;
                refused.expect_error(409, "owned_by_file");
                assert!(refused.text().contains("gatewright.yml"), "{}", refused.text());
            }
            process.terminate(Duration::from_secs(30)).await;
        }
    });
}

#[test]
fn the_log_forgets_and_nodes_get_everything() {
    run(async {
        let database = Database::migrated().await;
        let (folder, node_folder) = (paths::folder("short-log"), paths::folder("short-log-node"));
        let launch = |again| {
            control_plane_launch(&database, &folder, again)
                .args(["--keep-revisions", "4", "--keep-revisions-for", "0s"])
                .start()
        };
        let control = launch(None);
        let ready = control.ready().await;
        let admin = Admin::new(&ready.public, MASTER_KEY);
        let (router, _) = admin.router("text-generation").await;
        let place = format!("routers/{router}");
        let first = head(&admin).await;
        admin.change(&place, &json!({"cost_prompt_tokens": 1})).await;

        let token = join_token(&ready.public).await;
        let node = || data_plane_launch(ready.grpc.as_ref().unwrap(), &token, &node_folder).start();
        let fulls = |said: String| said.matches("full=true").count();
        let process = node();
        process.ready().await;
        assert_eq!(fulls(process.said()), 1, "{}", process.said());
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        process.terminate(Duration::from_secs(30)).await;
        // Within the log a node is told what changed.
        admin.change(&place, &json!({"cost_prompt_tokens": 2})).await;
        let process = node();
        process.ready().await;
        eventually("it is up to date", Duration::from_secs(10), || async {
            process.said().contains("catalog applied").then_some(())
        })
        .await;
        assert_eq!(fulls(process.said()), 0, "{}", process.said());
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        process.terminate(Duration::from_secs(30)).await;

        for price in 3..15 {
            admin.change(&place, &json!({"cost_prompt_tokens": price})).await;
        }
        control.terminate(Duration::from_secs(30)).await;
        let control = launch(Some(&ready));
        control.ready().await;
        eventually("the log is short", Duration::from_secs(10), || async {
            (admin.read("revisions?limit=1").await["total"] == 4).then_some(())
        })
        .await;
        let process = node();
        process.ready().await;
        eventually("it was told everything", Duration::from_secs(10), || async {
            (fulls(process.said()) == 1).then_some(())
        })
        .await;

        admin.get(&format!("revisions/{first}")).await.expect_error(410, "revision_not_kept");
        admin.get(&format!("revisions/diff?from={first}")).await.expect_error(410, "revision_not_kept");
        let old = json!({"revisions": [first]});
        admin.post("revisions/rollback", &old).await.expect_error(410, "revision_not_kept");
        // What stood before the oldest revision of the log is still known.
        let newest = head(&admin).await;
        back(&admin, &json!({"from": newest - 3})).await;
        assert_eq!(admin.read(&place).await["cost_prompt_tokens"], 10.0);
    });
}

#[test]
fn the_command_line_looks_back_and_goes_back() {
    run(async {
        let gateway = Gateway::standalone().await;
        let admin = gateway.admin();
        let (router, name) = admin.router("text-generation").await;
        let begun = head(&admin).await;
        admin.provider(router, "http://127.0.0.1:9").await;
        admin.change(&format!("routers/{router}"), &json!({"cost_prompt_tokens": 2.5})).await;
        let command = |args: &[&str]| {
            let launch = Launch::new("gatewright-control-plane").args(["revisions"]).args(args);
            launch.flag("--database-url", gateway.database().url()).finish()
        };
        let list = command(&["list", "--limit", "2"]).await;
        assert_eq!(list.code, Some(0), "{}", list.said());
        let lines: Vec<&str> = list.stdout.lines().collect();
        assert!(lines.len() == 2 && lines[0].starts_with(&format!("{}\t", begun + 2)), "{}", list.stdout);
        assert!(lines[0].contains("update router") && lines[0].contains("master"), "{}", list.stdout);
        let show = command(&["show", &(begun + 2).to_string()]).await;
        assert!(show.stdout.contains("prompt_price: 0 -> 2500000000"), "{}", show.stdout);
        let diff = command(&["diff", &begun.to_string()]).await;
        assert!(diff.stdout.contains(&name) && diff.stdout.contains("create\tprovider"), "{}", diff.stdout);
        let dry = command(&["rollback", "--from", &(begun + 1).to_string(), "--dry-run"]).await;
        assert!(dry.stdout.contains("delete\tprovider") && dry.stdout.contains("dry run"), "{}", dry.stdout);
        assert_eq!(head(&admin).await, begun + 2);
        let done = command(&["rollback", &(begun + 2).to_string(), "--reason", "from the shell"]).await;
        assert!(done.stdout.contains(&format!("revision {}", begun + 3)), "{}", done.said());
        assert_eq!(admin.read(&format!("routers/{router}")).await["cost_prompt_tokens"], 0.0);
        for said in [&list, &show, &diff, &dry, &done] {
            assert!(!said.said().contains(PROVIDER_KEY), "{}", said.said());
        }
        let wrong = command(&["rollback", "9999"]).await;
        assert_eq!(wrong.code, Some(1));
        assert!(wrong.stderr.contains("the newest is"), "{}", wrong.said());
    });
}

#[test]
fn a_restored_dump_begins_a_new_epoch() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let (admin, body) = (stage.admin(), stage.chat_body());
        let epoch = admin.read("fleet").await["epoch"].clone();
        let dump = paths::folder("dump").join("gatewright.sql");
        postgres_tool(
            "pg_dump",
            &["--schema", "gatewright", "--file", dump.to_str().unwrap(), gateway.database().url()],
        );

        // What happens after the dump is lost with it: a key, and a name.
        let (_, late_key) = admin.key(stage.user_id).await;
        let late = gateway.client().bearer(&late_key);
        admin.change(&format!("routers/{}", stage.router_id), &json!({"aliases": [unique("late")]})).await;
        eventually("the late key is known", ENFORCED_WITHIN, || async {
            (late.post("/v1/chat/completions", &body).send().await.status == 200).then_some(())
        })
        .await;
        let ahead = head(&admin).await;
        gateway.kill_control_plane();
        let pool = gateway.database().pool().await;
        sqlx::query("DROP SCHEMA gatewright CASCADE").execute(&pool).await.unwrap();
        postgres_tool(
            "psql",
            &["--quiet", "--set", "ON_ERROR_STOP=1", "--file", dump.to_str().unwrap(), gateway.database().url()],
        );

        gateway.restart_control_plane().await;
        eventually("the late key is refused", Duration::from_secs(20), || async {
            (late.post("/v1/chat/completions", &body).send().await.status == 401).then_some(())
        })
        .await;
        stage.client().post("/v1/chat/completions", &body).send().await.expect(200);
        let fleet = admin.read("fleet").await;
        assert_ne!(fleet["epoch"], epoch);
        assert!(fleet["revision"].as_u64().unwrap() < ahead);
        eventually("no node stays ahead", Duration::from_secs(20), || async {
            let fleet = admin.read("fleet?state=live").await;
            let nodes = fleet["data"].as_array().unwrap().clone();
            (nodes.len() == 1
                && nodes.iter().all(|node| node["current"] == true && node["revision"] == fleet["revision"]))
            .then_some(())
        })
        .await;
        // New revisions are of the new lineage, and the log goes on.
        admin.change(&format!("routers/{}", stage.router_id), &json!({"aliases": []})).await;
        admin.change(&format!("routers/{}", stage.router_id), &json!({"aliases": ["x"]})).await;
        let newest = admin.read("revisions?limit=1").await;
        assert_eq!(newest["data"][0]["epoch"], fleet["epoch"], "{newest}");
    });
}

fn postgres_tool(name: &str, arguments: &[&str]) {
    let done = std::process::Command::new(harness::postgres::tool(name)).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn revisions_are_for_administrators() {
    run(async {
        let gateway = Gateway::standalone().await;
        let stage = Stage::chat(&gateway).await;
        let caller = Client::new(gateway.admin_url()).bearer(&stage.key);
        for place in ["revisions", "revisions/1", "revisions/diff?from=0"] {
            caller.get(&format!("/v1/admin/{place}")).send().await.expect(403);
        }
        caller.post("/v1/admin/revisions/rollback", &json!({"from": 1})).send().await.expect(403);
    });
}
