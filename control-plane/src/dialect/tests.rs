//! Files and what becomes of each of their keys: golden pairs, and the plan behind them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::catalog::{BalanceStrategy, Compatibility, ProviderKind, RouterKind, UsageTokenizer};
use shared::runtime::logs::LogFormat;

use super::schema::Key;
use super::*;
use crate::domain::CredentialSpec;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dialect/golden")
}

/// A golden file says in its first comments how it is read: `# with --dev`, `# NAME=value …`.
fn read_golden(name: &str) -> Result<Loaded, ConfigErrors> {
    let text = std::fs::read_to_string(golden().join(name)).unwrap();
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    let pairs = head.iter().flat_map(|line| line.split_whitespace()).filter_map(|word| word.split_once('='));
    let variables: HashMap<String, String> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let options =
        LoadOptions { dev: head.contains(&"# with --dev"), environment: &|name| variables.get(name).cloned() };
    load(&text, Path::new(name), &options)
}

fn report(outcome: &Result<Loaded, ConfigErrors>) -> (String, u8) {
    let mut out = Vec::new();
    let code = check::write_report(&mut out, outcome).unwrap();
    (String::from_utf8(out).unwrap(), code)
}

fn read(text: &str) -> Result<Loaded, ConfigErrors> {
    load(text, Path::new("config.yml"), &LoadOptions { dev: true, environment: &|_| None })
}

fn error(text: &str) -> String {
    let outcome = read(text);
    assert_eq!(report(&outcome).1, check::EXIT_REFUSED);
    outcome.unwrap_err().to_string()
}

#[test]
fn every_golden_file_ends_as_written() {
    let mut seen = 0;
    for entry in std::fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yml") {
            let name = path.file_name().unwrap().to_str().unwrap();
            let outcome = read_golden(name);
            let (text, code) = report(&outcome);
            assert!(!text.contains("canary"), "{name} shows a secret:\n{text}");
            assert!(!format!("{outcome:?}").contains("canary"), "{name} can print a secret");
            let text = format!("{text}exit code {code}\n");
            let expected = path.with_extension("expected");
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&expected, &text).unwrap();
            }
            assert_eq!(
                text,
                std::fs::read_to_string(&expected).unwrap_or_default(),
                "{name}; UPDATE_GOLDEN=1 rewrites"
            );
            seen += 1;
        }
    }
    assert!(seen >= 6);
}

/// Every key that the tables know is in a golden file, so that none is known in theory only.
#[test]
fn every_known_key_is_tried() {
    fn collect(keys: &'static [Key], into: &mut BTreeSet<&'static str>) {
        for key in keys {
            into.insert(key.name);
            collect(key.kind.keys(), into);
        }
    }
    let mut known = BTreeSet::new();
    collect(opengatellm::ROOT, &mut known);
    let files = ["example.yml", "production.yml", "remaining.yml"];
    let tried: String = files.iter().map(|name| std::fs::read_to_string(golden().join(name)).unwrap()).collect();
    // Older names are tried in place of these.
    let by_older_name = ["auth_bootstrap_admin_username"];
    let missing: Vec<_> =
        known.iter().filter(|name| !tried.contains(&format!("{name}:")) && !by_older_name.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_key_of_a_file_has_exactly_one_outcome() {
    fn count(node: &Node) -> usize {
        let below = node.entries().iter().map(|entry| &entry.node).chain(node.items());
        node.entries().len() + below.map(count).sum::<usize>()
    }
    for name in ["example.yml", "production.yml", "remaining.yml"] {
        let loaded = read_golden(name).unwrap();
        let text = std::fs::read_to_string(golden().join(name)).unwrap();
        let root = yaml::load(&text, &Variables { lookup: &|_| Some("x".into()), os_environ: false }).unwrap();
        let paths: BTreeSet<_> = loaded.findings.iter().map(|finding| finding.path.clone()).collect();
        assert_eq!((loaded.findings.iter().count(), paths.len()), (count(&root), count(&root)), "{name}");
    }
}

#[test]
fn the_example_becomes_a_plan() {
    let plan = read_golden("example.yml").unwrap().plan;
    let [router] = plan.routers.as_slice() else { panic!("{:?}", plan.routers) };
    assert_eq!(
        (router.name.as_str(), router.kind, router.strategy),
        ("test-bed", RouterKind::TextGeneration, BalanceStrategy::Shuffle)
    );
    assert_eq!(
        (router.aliases.as_slice(), router.owned_by.as_deref()),
        (["test-alias".to_owned()].as_slice(), Some("Someone"))
    );
    assert_eq!(
        (router.cost_prompt_tokens.to_string(), router.cost_completion_tokens.to_string()),
        ("0.1".into(), "0.3".into())
    );
    let [provider] = router.providers.as_slice() else { panic!("{:?}", router.providers) };
    assert_eq!((provider.kind, provider.url.as_str()), (ProviderKind::Vllm, "http://inference.test:8000"));
    assert_eq!((provider.upstream_model.as_str(), provider.timeout), ("gemma3:1b", Duration::from_secs(60)));
    assert!(matches!(&provider.credential, CredentialSpec::Stored(secret) if secret.expose() == "canary-provider"));
    assert_eq!((provider.carbon.zone.as_str(), provider.carbon.active_params), ("FRA", Some(8.0)));
    let settings = plan.settings;
    let database = settings.database.unwrap();
    assert_eq!(database.url.expose(), "postgresql://postgres:p%40ss@localhost:5432/postgres");
    assert_eq!((database.max_connections, database.statement_timeout), (Some(5), Some(Duration::from_secs(60))));
    assert_eq!(settings.master_key.unwrap().expose(), "changeme");
    assert_eq!(settings.key_max_expiration, Some(Duration::from_secs(365 * 86_400)));
    assert_eq!(
        (settings.fleet.app_title.as_str(), settings.fleet.compatibility),
        ("A Test API", Compatibility::OpenGateLlm)
    );
    assert_eq!((settings.fleet.usage_tokenizer, settings.fleet.master_inference), (UsageTokenizer::Gpt2, true));
    assert_eq!(
        (settings.api.version.as_deref(), settings.api.contact_email.as_deref()),
        (Some("1.0.0"), Some("someone@example.test"))
    );
    assert_eq!((settings.logs.format, settings.metrics), (LogFormat::Text, Some(true)));
}

#[test]
fn our_own_keys_become_settings() {
    let plan = read_golden("remaining.yml").unwrap().plan;
    let settings = &plan.settings;
    assert_eq!((settings.models_ownership, settings.fleet.compatibility), (Ownership::Seed, Compatibility::Native));
    assert_eq!((settings.logs.format, settings.logs.level.as_str()), (LogFormat::Json, "info,data_plane=debug"));
    assert_eq!(
        (settings.min_drain, settings.drain_timeout),
        (Some(Duration::from_secs(5)), Some(Duration::from_secs(120)))
    );
    assert_eq!(settings.listen.unwrap().to_string(), "0.0.0.0:8000");
    let urls: Vec<_> = plan.routers[0].providers.iter().map(|provider| provider.url.as_str()).collect();
    assert_eq!(urls, ["https://api.openai.com", "mock://local", "https://proxy.test/team"]);
    assert!(
        matches!(&plan.routers[0].providers[0].credential, CredentialSpec::Reference(place) if place == "env:OPENAI_API_KEY")
    );
    assert!(matches!(plan.routers[0].providers[2].credential, CredentialSpec::None));
    assert_eq!(
        (plan.routers[0].strategy, plan.routers[0].providers[0].timeout),
        (BalanceStrategy::LeastBusy, Duration::from_secs(90))
    );
    let production = read_golden("production.yml").unwrap().plan.settings;
    assert_eq!((production.api.version.as_deref(), production.metrics), (Some("1.10"), Some(false)));
    assert_eq!(production.database.unwrap().max_connections, Some(15));
}

#[test]
fn the_digest_follows_the_models_alone() {
    let digest = |text: &str| read(text).unwrap().plan.models_digest(b"key");
    let model = "models: [{name: a, type: text-generation, providers: [{type: openai, model_name: m, key: one}]}]\n";
    assert_eq!(digest(model), digest(&format!("# comment\n{model}settings: {{app_title: other}}")));
    assert_ne!(digest(model), digest(&model.replace("one", "two")));
    assert_ne!(digest(model), digest(&model.replace("name: m,", "name: m, timeout: 3,")));
    assert_ne!(digest(model), digest(&format!("{model}settings: {{models_ownership: seed}}")));
    assert_ne!(digest(model), read(model).unwrap().plan.models_digest(b"other"));
}

#[test]
fn other_dialects_are_recognised_and_not_yet_supported() {
    let lite = error(
        "model_list:\n  - model_name: a\n    litellm_params: {model: openai/a, api_key: os.environ/NOPE}\ngeneral_settings: {master_key: \"${NOPE}\"}",
    );
    assert!(lite.contains("LiteLLM") && lite.contains("not yet supported"), "{lite}");
    let llmur = error("application_secret: a\ndatabase_configuration: {host: \"${NOPE}\"}\ncache_configuration: {}");
    assert!(llmur.contains("LLMUR") && llmur.contains("not yet supported"), "{llmur}");
}

#[test]
fn what_is_no_configuration_is_called_that() {
    assert!(error("").contains("is empty"));
    assert!(error("# only a comment\n").contains("is empty"));
    assert!(error("hello").contains("holds text"));
    assert!(error("- a\n- b").contains("holds a list"));
    let other = error("version: 3\nservices: {}");
    assert!(other.contains("`version`, `services`") && other.contains("`models`"), "{other}");
    let missing = load_file(Path::new("/nonexistent/config.yml"), &LoadOptions::of_process(false));
    let (text, code) = report(&missing);
    assert!(text.contains("/nonexistent/config.yml") && text.contains("--config"), "{text}");
    assert_eq!(code, check::EXIT_REFUSED);
}

#[test]
fn broken_text_is_refused_with_its_place() {
    let unset = error("settings:\n  app_title: ${NOPE}");
    assert!(
        unset.contains("line 2") && unset.contains("settings.app_title") && unset.contains("`NOPE` is not set"),
        "{unset}"
    );
    let double = error("settings:\n  app_title: a\n  app_title: b");
    assert!(double.contains("line 3") && double.contains("given twice"), "{double}");
    assert!(error("settings:\n\tapp_title: a").contains("tab"));
    let mut bomb = String::from("settings:\n  egress:\n    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("    a{level}: &a{level} [{inner}]\n"));
    }
    assert!(error(&bomb).contains("aliases expanded"));
    assert!(error(&format!("# {}", "x".repeat(yaml::MAX_BYTES))).contains("bytes"));
}

#[test]
fn a_file_may_leave_everything_out() {
    for text in ["models:\n", "models: []\n", "settings: {}", "dependencies:\n  redis:\n"] {
        let loaded = read(text).unwrap();
        assert!(loaded.plan.routers.is_empty(), "{text}");
        assert!(loaded.plan.settings.master_key.is_none() && loaded.plan.settings.database.is_none());
    }
    assert!(read("settings: {auth_master_key: ''}").unwrap().plan.settings.master_key.is_none());
}

#[test]
fn the_reference_tells_every_key() {
    let mut out = Vec::new();
    write_reference(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    for row in [
        "| `models[].providers[].timeout` | a time from 1 to 3600 seconds",
        "Also `auth_max_token_expiration_days`.",
        "no effect: not built yet",
    ] {
        assert!(text.contains(row), "{row}\n{text}");
    }
}
