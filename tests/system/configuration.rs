//! Starting with a configuration file, with a broken one, and again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::admin::Admin;
use harness::client::Client;
use harness::gateway::{Gateway, MASTER_KEY, standalone_launch};
use harness::postgres::Database;
use harness::process::{Finished, Launch};
use harness::stage::{PROVIDER_KEY, Stage};
use harness::upstream::Upstream;
use harness::{eventually, paths, run};
use serde_json::json;

fn example() -> PathBuf {
    paths::root().join("tests/configuration/opengatellm.yml")
}

/// `gatewright up` with the example file and its variables, on this database.
fn with_example(database: &Database, upstream: &Upstream, folder: &Path) -> Launch {
    let url = url_parts(database.url());
    Launch::new("gatewright")
        .args(["up", "--listen", "127.0.0.1:0", "--operations-listen", "127.0.0.1:0", "--config"])
        .args([example()])
        .flag("--data-dir", folder.join("data"))
        .env("UPSTREAM_URL", upstream.url())
        .env("UPSTREAM_KEY", PROVIDER_KEY)
        .env("POSTGRES_USER", &url[0])
        .env("POSTGRES_PASSWORD", &url[1])
        .env("POSTGRES_HOST", &url[2])
        .env("POSTGRES_PORT", &url[3])
        .env("POSTGRES_DATABASE", &url[4])
        .within(folder)
}

/// User, password, host, port and database.
fn url_parts(url: &str) -> Vec<String> {
    url.trim_start_matches("postgresql://").split([':', '@', '/']).map(str::to_owned).collect()
}

/// A file with this text in a folder of its own.
fn file(text: &str) -> PathBuf {
    let path = paths::folder("configuration").join("gatewright.yml");
    std::fs::write(&path, text).unwrap();
    path
}

/// `gatewright config check` on a file with this text.
async fn check(text: &str) -> Finished {
    Launch::new("gatewright").args(["config", "check"]).args([file(text)]).finish().await
}

/// A good file with one section put in.
fn settings(lines: &str) -> String {
    format!("settings:\n  auth_master_key: {MASTER_KEY}\n{lines}")
}

/// A good file with one provider's lines.
fn provider(lines: &str) -> String {
    format!(
        "models:\n  - name: summit-chat\n    type: text-generation\n    providers:\n      - type: vllm\n        model_name: m\n{lines}\n\
         settings:\n  auth_master_key: {MASTER_KEY}\n"
    )
}

#[test]
fn the_example_starts_in_development() {
    run(async {
        let (database, upstream) = (Database::empty().await, Upstream::start().await);
        let folder = paths::folder("example");
        let process = with_example(&database, &upstream, &folder).args(["--dev"]).start();
        let ready = process.ready().await;
        let client = Client::new(&*ready.public).bearer("changeme");
        let models = client.get("/v1/models").send().await.expect(200).json();
        let model = &models["data"][0];
        assert_eq!((&model["id"], &model["owned_by"]), (&json!("summit-chat"), &json!("The Observatory")), "{models}");
        assert_eq!(model["aliases"], json!(["summit"]), "{models}");
        let body = json!({"model": "summit", "messages": [{"role": "user", "content": "x"}]});
        let reply = client.post("/v1/chat/completions", &body).send().await;
        // The profile of the file's dialect: the router's name, and a cost, in the answer.
        let answer = reply.expect(200).json();
        assert_eq!(answer["model"], "summit-chat", "{answer}");
        assert!(answer["usage"]["cost"].is_number(), "{answer}");
        assert_eq!(upstream.only().json()["model"], "gemma3:1b");

        // What a file owns is changed in the file.
        let admin = Admin::new(&ready.public, "changeme");
        let routers = admin.read("routers").await;
        let place = format!("routers/{}", routers["data"][0]["id"]);
        let refused = admin.patch(&place, &json!({"cost_prompt_tokens": 1})).await;
        assert!(refused.expect(409).text().contains("opengatellm.yml"), "{}", refused.text());
    });
}

#[test]
fn a_weak_master_key_is_refused() {
    run(async {
        let (database, upstream) = (Database::empty().await, Upstream::start().await);
        for weak in [None, Some(""), Some("changeme"), Some("thirty-one-characters-are-short")] {
            let folder = paths::folder("weak");
            let mut launch = with_example(&database, &upstream, &folder);
            if let Some(weak) = weak {
                launch = launch.env("MASTER_KEY", weak);
            }
            let ended = launch.finish().await;
            assert_eq!(ended.code, Some(2), "{weak:?}: {}", ended.said());
            let said = ended.said();
            assert!(
                said.contains("settings.auth_master_key")
                    && said.contains("32")
                    && said.contains("openssl rand -hex 32"),
                "{said}"
            );
        }
    });
}

#[test]
fn check_tells_every_key() {
    run(async {
        let ended = Launch::new("gatewright")
            .args(["config", "check"])
            .args([example()])
            .env("UPSTREAM_URL", "http://upstream.example.test")
            .env("MASTER_KEY", MASTER_KEY)
            .finish()
            .await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        let keys = [
            "models[0].name",
            "models[0].providers[0].url",
            "models[0].providers[0].model_carbon_footprint_zone",
            "dependencies.postgres.url",
            "dependencies.postgres.echo",
            "dependencies.postgres.connect_args.command_timeout",
            "dependencies.redis.url",
            "dependencies.brave.country",
            "settings.auth_master_key",
            "settings.auth_max_token_expiration_days",
            "settings.swagger_contact_email",
            "settings.disabled_routers",
            "settings.search_multi_agents_reranker_model",
            "settings.playground_theme_scaling",
        ];
        for key in keys {
            let line = ended.stdout.lines().find(|line| line.split_whitespace().any(|word| word == key));
            assert!(line.is_some(), "{key} has no line:\n{}", ended.stdout);
        }
        assert!(ended.stdout.contains("no effect"), "{}", ended.stdout);
        assert!(!ended.said().contains(MASTER_KEY), "a secret is not printed:\n{}", ended.said());
    });
}

#[test]
fn broken_files_name_their_place() {
    run(async {
        let https = "        url: http://upstream.example.test:8000";
        let cases: Vec<(String, &[&str])> = vec![
            (settings("  app_titel: x\n"), &["settings.app_titel", "app_title"]),
            (settings("  auth_key_max_expiration_days: soon\n"), &["settings.auth_key_max_expiration_days", "soon"]),
            (settings("  log_level: LOUD\n"), &["settings.log_level", "LOUD", "WARNING"]),
            (settings("  app_title: ${GATEWRIGHT_TEST_UNSET}\n"), &["settings.app_title", "GATEWRIGHT_TEST_UNSET"]),
            (settings("  app_title: one\n  app_title: two\n"), &["app_title"]),
            (settings("\tapp_title: x\n"), &["line 3"]),
            (
                settings("dependencies:\n  postgres:\n    url: postgresql://localhost/x\n    pool_size: 0\n"),
                &["dependencies.postgres.pool_size"],
            ),
            (provider(&format!("{https}\n        timout: 3")), &["models[0].providers[0].timout", "timeout"]),
            (provider(&format!("{https}\n        timeout: 0")), &["models[0].providers[0].timeout", "0"]),
            (provider(&format!("{https}\n        timeout: -1")), &["models[0].providers[0].timeout", "-1"]),
            (provider("        url: ftp://upstream.example.test"), &["models[0].providers[0].url"]),
            (provider("        timeout: 3"), &["models[0].providers[0].url"]),
            (provider(https).replace("text-generation", "text-divination"), &["models[0].type", "text-divination"]),
            (provider(https).replace("vllm", "abacus"), &["models[0].providers[0].type", "abacus"]),
            (
                provider(https)
                    .replace("    type: text-generation\n", "    type: text-generation\n    cost_prompt_tokens: -1\n"),
                &["models[0].cost_prompt_tokens"],
            ),
            ("modles: []\n".to_owned(), &["modles"]),
            ("- a\n- b\n".to_owned(), &[]),
            (String::new(), &[]),
            ("settings: {".to_owned(), &[]),
            (bomb(), &[]),
        ];
        for (text, expected) in cases {
            let ended = check(&text).await;
            assert_eq!(ended.code, Some(2), "{text}\n{}", ended.said());
            for words in expected {
                assert!(ended.said().contains(words), "{words:?} is not said about\n{text}\n{}", ended.said());
            }
        }
    });
}

/// Aliases that would unfold to a thousand million entries.
fn bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let below = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", [below.as_str(); 10].join(", "));
    }
    text
}

#[test]
fn a_start_with_a_broken_file_ends() {
    run(async {
        let database = Database::migrated().await;
        let folder = paths::folder("broken");
        for (text, word) in [
            (settings("  app_titel: x\n"), "settings.app_titel"),
            (settings("  log_level: ${GATEWRIGHT_TEST_UNSET}\n"), "GATEWRIGHT_TEST_UNSET"),
        ] {
            let ended = standalone_launch(&database, &folder).flag("--config", file(&text)).finish().await;
            assert_eq!(ended.code, Some(2), "{}", ended.said());
            assert!(ended.said().contains(word), "{}", ended.said());
        }
        let missing = folder.join("nowhere.yml");
        let ended = standalone_launch(&database, &folder).flag("--config", &missing).finish().await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(ended.said().contains("nowhere.yml"), "{}", ended.said());
        let ended = standalone_launch(&database, &folder).env("CONFIG_FILE", &missing).finish().await;
        assert_eq!(ended.code, Some(2), "an older name of the variable: {}", ended.said());
    });
}

#[test]
fn variables_are_scalars() {
    run(async {
        let text = settings(
            "  app_title: ${GATEWRIGHT_TEST_TITLE}\n  log_level: ${GATEWRIGHT_TEST_A:-${GATEWRIGHT_TEST_B:-INFO}}\n  swagger_version: $${x}\n  swagger_description: ${GATEWRIGHT_TEST_EMPTY:-}\n",
        );
        let launch = Launch::new("gatewright").args(["config", "check"]).args([file(&text)]);
        let ended = launch.env("GATEWRIGHT_TEST_TITLE", "a: b # c\n  auth_master_key: changeme").finish().await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
    });
}

#[test]
fn files_of_other_systems_are_recognised() {
    run(async {
        for (name, system) in [("litellm.yml", "LiteLLM"), ("llmur.yml", "LLMUR")] {
            let path = paths::root().join("tests/configuration").join(name);
            let ended = Launch::new("gatewright").args(["config", "check"]).args([&path]).finish().await;
            assert_eq!(ended.code, Some(2), "{}", ended.said());
            assert!(ended.said().contains(system), "{}", ended.said());
            assert!(ended.said().contains("not yet supported"), "{}", ended.said());
        }
    });
}

#[test]
fn huge_files_are_refused_fast() {
    run(async {
        let start = std::time::Instant::now();
        let ended = check(&"#".repeat(100 * 1024 * 1024)).await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    });
}

/// Everything outside the schema `gatewright`, as text.
fn dump(database: &Database) -> String {
    let output = std::process::Command::new(harness::postgres::tool("pg_dump"))
        .args(["--exclude-schema=gatewright", "--no-comments"])
        .arg(database.url())
        .output()
        .expect("pg_dump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Newer versions frame their output with random words.
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_tables_of_others_stay_as_they_were() {
    run(async {
        let database = Database::empty().await;
        let pool = database.pool().await;
        let others = "CREATE TABLE \"user\" (id serial PRIMARY KEY, email text UNIQUE, password text);
            CREATE TABLE token (id serial PRIMARY KEY, user_id int REFERENCES \"user\", token text);
            CREATE TABLE router (id serial PRIMARY KEY, name text); CREATE TABLE provider (id serial, key text);
            CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
            CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL, installed_on timestamptz NOT NULL DEFAULT '2024-01-01',
                success boolean NOT NULL, checksum bytea NOT NULL, execution_time bigint NOT NULL);
            CREATE TABLE \"LiteLLM_VerificationToken\" (token text PRIMARY KEY, spend float8);
            CREATE TABLE organizations (id int); CREATE TABLE keys (id int); CREATE TABLE catalog_head (x int);
            INSERT INTO \"user\" (email) VALUES ('a@example.test'), ('b@example.test'); INSERT INTO router (name) VALUES ('theirs');
            INSERT INTO _sqlx_migrations VALUES (1, 'theirs', '2024-01-01', true, '\\x00', 1);
            INSERT INTO alembic_version VALUES ('0123456789ab'); INSERT INTO catalog_head VALUES (7);
            CREATE FUNCTION public.gen_random_uuid() RETURNS int LANGUAGE sql AS 'SELECT 7';";
        for statement in others.split(';').filter(|statement| !statement.trim().is_empty()) {
            sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&pool).await.unwrap();
        }
        let before = dump(&database);
        let folder = paths::folder("beside-others");
        let process = standalone_launch(&database, &folder).start();
        let ready = process.ready().await;
        let admin = Admin::new(&ready.public, MASTER_KEY);
        admin.organization().await;
        admin.router("text-generation").await;
        process.terminate(Duration::from_secs(30)).await;
        assert_eq!(before, dump(&database), "nothing outside the schema changed");
    });
}

#[test]
fn without_the_right_to_create_the_schema() {
    run(async {
        let database = Database::empty().await;
        let pool = database.pool().await;
        let account = harness::unique("weak").replace('-', "_");
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE ROLE {account} LOGIN PASSWORD 'weak'")))
            .execute(&pool)
            .await
            .unwrap();
        let parts = url_parts(database.url());
        let url = format!("postgresql://{account}:weak-but-secret@{}:{}/{}", parts[2], parts[3], parts[4]);
        let folder = paths::folder("weak-account");
        let ended = standalone_launch(&database, &folder)
            .env("DATABASE_URL", url.replace("weak-but-secret", "weak"))
            .finish()
            .await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(ended.said().contains("CREATE SCHEMA"), "the statement to run is told: {}", ended.said());
        let ended = standalone_launch(&database, &folder).env("DATABASE_URL", url).finish().await;
        assert!(ended.code.is_some_and(|code| code != 0), "{}", ended.said());
        assert!(!ended.said().contains("weak-but-secret"), "a password is not printed: {}", ended.said());
    });
}

#[test]
fn a_newer_schema_is_refused() {
    run(async {
        let database = Database::migrated().await;
        let pool = database.pool().await;
        let table: String = sqlx::query_scalar(
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'gatewright' AND table_name LIKE '%migrations%'",
        )
        .fetch_one(&pool)
        .await
        .expect("the migrations' table lies in the schema");
        let newer = format!(
            "INSERT INTO gatewright.{table} (version, description, success, checksum, execution_time) VALUES (999999, 'from the future', true, '\\x00', 1)"
        );
        sqlx::query(sqlx::AssertSqlSafe(newer)).execute(&pool).await.unwrap();
        let ended = standalone_launch(&database, &paths::folder("older")).finish().await;
        assert!(ended.code.is_some_and(|code| code != 0), "{}", ended.said());
        assert!(ended.said().contains("newer"), "{}", ended.said());
    });
}

#[test]
fn a_second_start_finds_everything() {
    run(async {
        let (database, upstream) = (Database::empty().await, Upstream::start().await);
        let folder = paths::folder("twice");
        let start = || with_example(&database, &upstream, &folder).env("MASTER_KEY", MASTER_KEY).start();
        let first = start();
        let ready = first.ready().await;
        let admin = Admin::new(&ready.public, MASTER_KEY);
        let role_id = admin.role(&["admin"], &[]).await;
        let user_id = admin.user(role_id, None).await;
        let (_, key) = admin.key(user_id).await;
        let (router_id, _) = admin.router("text-generation").await;
        admin.provider(router_id, upstream.url()).await;
        let nouns = ["organizations", "roles", "users", "keys", "routers", "providers"];
        let mut before = Vec::new();
        for noun in nouns {
            before.push(admin.read(&format!("{noun}?limit=100")).await);
        }
        let revision = revision(&database).await;
        let status = first.terminate(Duration::from_secs(30)).await;
        assert_eq!(status.code(), Some(0), "{}", first.said());

        let second = start();
        let ready = second.ready().await;
        let admin = Admin::new(&ready.public, &key);
        for (noun, before) in nouns.iter().zip(before) {
            assert_eq!(admin.read(&format!("{noun}?limit=100")).await, before);
        }
        assert_eq!(self::revision(&database).await, revision, "an unchanged file changes nothing");
        let body = json!({"model": "summit-chat", "messages": [{"role": "user", "content": "x"}]});
        Client::new(&*ready.public).bearer(&key).post("/v1/chat/completions", &body).send().await.expect(200);
    });
}

async fn revision(database: &Database) -> i64 {
    let pool = database.pool().await;
    sqlx::query_scalar("SELECT revision FROM gatewright.catalog_head").fetch_one(&pool).await.unwrap()
}

/// Without a database: the process owns one. What it prints works as it stands.
#[test]
fn a_first_start_needs_nothing() {
    run(async {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = paths::folder("first");
        // The child's account must be able to reach its folder, wherever the checkout lies.
        let data = std::env::temp_dir().join(format!("gatewright-first-{}", std::process::id()));
        let _removed = Removed(data.clone());
        let start = || {
            Launch::new("gatewright")
                .args(["up", "--listen", "127.0.0.1:0", "--operations-listen", "127.0.0.1:0"])
                .flag("--data-dir", &data)
                .within(&folder)
                .start()
        };
        let first = start();
        let ready = first.ready().await;
        let secret = data.join("secrets/master.key");
        assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        let master = std::fs::read_to_string(&secret).unwrap().trim().to_owned();
        let said = eventually("a line to try", Duration::from_secs(5), || async {
            Some(first.said()).filter(|said| said.contains("curl "))
        })
        .await;
        assert!(said.contains("secrets"), "{said}");
        assert!(!said.contains(&master), "the master key is not printed");
        let answer = tried(&said).await;
        assert!(answer.contains("chat.completion"), "{answer}");
        let admin = Admin::new(&ready.public, &master);
        let organization_id = admin.organization().await;
        let status = first.terminate(Duration::from_secs(30)).await;
        assert_eq!(status.code(), Some(0), "{}", first.said());

        let second = start();
        let ready = second.ready().await;
        Admin::new(&ready.public, &master).read(&format!("organizations/{organization_id}")).await;
        second.terminate(Duration::from_secs(30)).await;
        let orphan = std::fs::read_to_string(data.join("pg/postmaster.pid"));
        assert!(orphan.is_err(), "its database ended with it");
    });
}

/// A folder that goes with its test, however that ends.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the printed `curl` command.
async fn tried(said: &str) -> String {
    let from = said.find("curl ").unwrap();
    let mut command = String::new();
    for line in said[from..].lines() {
        command.push_str(line.trim_end_matches('\\'));
        if !line.ends_with('\\') {
            break;
        }
    }
    let output = tokio::process::Command::new("sh")
        .args(["-c", &format!("{command} --silent --show-error --noproxy '*'")])
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_taken_port_is_named() {
    run(async {
        let database = Database::migrated().await;
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        for flag in ["--listen", "--operations-listen"] {
            let other = if flag == "--listen" { "--operations-listen" } else { "--listen" };
            let folder = paths::folder("taken");
            harness::gateway::write_secrets(&folder.join("secrets"));
            let ended = Launch::new("gatewright")
                .args(["up", flag, &address, other, "127.0.0.1:0"])
                .flag("--data-dir", folder.join("data"))
                .flag("--secrets-dir", folder.join("secrets"))
                .env("DATABASE_URL", database.url())
                .finish()
                .await;
            assert!(ended.code.is_some_and(|code| code != 0), "{}", ended.said());
            assert!(ended.said().contains(&address) && ended.said().contains(flag), "{}", ended.said());
        }
    });
}

/// A restart with a bad file must not disturb the data planes.
#[test]
fn a_bad_file_leaves_the_data_planes_alone() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        gateway.kill_control_plane();
        let ended = Launch::new("gatewright-control-plane")
            .args([
                "serve",
                "--insecure",
                "--listen",
                "127.0.0.1:0",
                "--grpc-listen",
                "127.0.0.1:0",
                "--operations-listen",
                "127.0.0.1:0",
            ])
            .flag("--database-url", gateway.database().url())
            .flag("--config", file(&settings("  app_titel: x\n")))
            .finish()
            .await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(ended.said().contains("settings.app_titel"), "{}", ended.said());
        stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
    });
}
