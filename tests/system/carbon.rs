//! What an answer costs the climate: in its record, and for OpenGateLLM's clients in the answer.

use harness::admin::{Admin, provider_body};
use harness::client::Client;
use harness::gateway::{Gateway, MASTER_KEY, MODES, standalone_launch};
use harness::postgres::Database;
use harness::stage::Stage;
use harness::upstream::{Answer, Upstream};
use harness::{eventually, paths, run};
use serde_json::{Value, json};

/// What 100 tokens of a dense model of 8 billion parameters take in FRA, whatever the time: the share of the GPU is
/// fixed, the share of the server grows with the time up to that of a slow GPU.
fn assert_plausible(carbon: &Value) {
    let (kwh, kg) = (carbon["kWh"].as_f64().expect("kWh"), carbon["kgCO2eq"].as_f64().expect("kgCO2eq"));
    assert!((5.4e-6..9.0e-6).contains(&kwh), "{carbon}");
    assert!((kwh * 0.041_44..1e-6).contains(&kg), "{carbon}");
}

#[test]
fn records_tell_the_impact() {
    run(async {
        for mode in MODES {
            let stage = Stage::chat(Gateway::shared(mode).await).await;
            let call = async |count: usize| {
                stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
                stage.usage(count).await.remove(0).0["usage"].clone()
            };
            stage.upstream.says(Answer::chat("Good day!", 50, 100));
            let unknown = call(1).await;
            assert_eq!(unknown["carbon"], json!({"kWh": null, "kgCO2eq": null}), "nothing is known of the model");

            let place = format!("providers/{}", stage.provider_id);
            let facts = json!({"model_hosting_zone": "FRA", "model_total_params": 8});
            stage.admin().change(&place, &facts).await;
            let mut count = 1;
            let known = loop {
                count += 1;
                let usage = call(count).await;
                if !usage["carbon"]["kWh"].is_null() {
                    break usage;
                }
                assert!(count < 50, "the facts do not arrive");
            };
            assert_plausible(&known["carbon"]);
            assert_eq!((&known["prompt_tokens"], &known["completion_tokens"]), (&json!(50), &json!(100)));

            // A country without figures of its own counts as the world; no country is refused.
            stage.admin().change(&place, &json!({"model_hosting_zone": "AND"})).await;
            for zone in ["EEE", "XXX", "fra", ""] {
                let refused = stage.admin().patch(&place, &json!({"model_hosting_zone": zone})).await;
                assert!(matches!(refused.status, 400 | 422), "{zone}: {} {}", refused.status, refused.text());
                assert!(refused.text().contains("model_hosting_zone"), "{}", refused.text());
            }
            let mut unknown = provider_body(stage.router_id, stage.upstream.url());
            unknown["model_carbon_footprint_zone"] = "ZZZ".into();
            let refused = stage.admin().post("providers", &unknown).await;
            assert!(matches!(refused.status, 400 | 422), "{} {}", refused.status, refused.text());
        }
    });
}

#[test]
fn clients_of_opengatellm_find_it_in_the_answer() {
    run(async {
        let (database, upstream) = (Database::migrated().await, Upstream::start().await);
        let folder = paths::folder("carbon");
        let file = folder.join("gatewright.yml");
        let text = format!(
            "models:\n  - name: summit\n    type: text-generation\n    providers:\n      - type: vllm\n        url: {}\n        \
             model_name: m\n        model_carbon_footprint_zone: FRA\n        model_carbon_footprint_active_params: 8\n\
             settings:\n  auth_master_key: {MASTER_KEY}\n  auth_master_key_inference: true\n",
            upstream.url()
        );
        std::fs::write(&file, text).unwrap();
        let process = standalone_launch(&database, &folder).flag("--config", &file).start();
        let ready = process.ready().await;
        let client = Client::new(&*ready.public).bearer(MASTER_KEY);
        upstream.decides(|seen| match seen.json()["stream"] == true {
            true => Answer::stream(&["Good", " day", "!"], Some((50, 100))),
            false => Answer::chat("Good day!", 50, 100),
        });
        let body = json!({"model": "summit", "messages": [{"role": "user", "content": "Good day?"}]});
        let whole = client.post("/v1/chat/completions", &body).send().await.expect(200).json();
        let mut body = body;
        body["stream"] = true.into();
        let stream = client.post("/v1/chat/completions", &body).open().await.events().await;
        let chunk = stream.iter().rev().find(|event| event.contains("\"usage\"")).expect("a usage chunk");
        let chunk: Value = serde_json::from_str(chunk.trim_end().strip_prefix("data: ").unwrap()).unwrap();
        let admin = Admin::new(&ready.public, MASTER_KEY);
        let records = eventually("two records", std::time::Duration::from_secs(5), || async {
            let list = admin.read("usage?limit=10").await;
            (list["total"] == 2).then(|| list["data"].as_array().unwrap().clone())
        })
        .await;
        for (answer, streamed) in [(&whole, false), (&chunk, true)] {
            let usage = &answer["usage"];
            assert_plausible(&usage["impacts"]);
            assert_eq!(usage["carbon"], usage["impacts"]);
            let record = records.iter().find(|record| record["streamed"] == streamed).unwrap();
            assert_eq!(record["usage"]["carbon"], usage["impacts"], "the record tells what the caller was told");
        }
    });
}
