//! How upstreams are met: through proxies, over TLS, as somebody; and where a gateway does not go.

use std::time::Duration;

use harness::admin::{Admin, number, provider_body, unlimited};
use harness::client::{Client, Reply};
use harness::gateway::{
    MASTER_KEY, MODES, Mode, control_plane_launch, data_plane_launch, join_token, standalone_launch,
};
use harness::postgres::Database;
use harness::process::{Launch, Process};
use harness::proxy::Proxy;
use harness::tls::Pair;
use harness::upstream::{Answer, Upstream};
use harness::{eventually, paths, run, unique};
use serde_json::json;

/// The credential in a proxy's address, and how it looks on the wire.
const PROXY_USER: &str = "gate:proxy-canary%2F41";
const PROXY_AUTHORIZATION: &str = "Basic Z2F0ZTpwcm94eS1jYW5hcnkvNDE=";

/// A gateway whose serving process was launched with more than usual.
struct Place {
    inference: String,
    admin: Admin,
    serving: Process,
    _rest: (Option<Process>, Database),
}

/// A router and somebody who may call it.
struct Caller {
    client: Client,
    router: String,
}

impl Place {
    async fn start(mode: Mode, more: impl Fn(Launch) -> Launch) -> Self {
        let database = Database::migrated().await;
        let folder = paths::folder("outbound");
        let (serving, control, admin_url) = match mode {
            Mode::Standalone => {
                let serving = more(standalone_launch(&database, &folder)).start();
                let url = serving.ready().await.public;
                (serving, None, url)
            }
            Mode::Split => {
                let control = control_plane_launch(&database, &paths::folder("outbound-control"), None).start();
                let ready = control.ready().await;
                let token = join_token(&ready.public).await;
                let serving = more(data_plane_launch(ready.grpc.as_ref().unwrap(), &token, &folder)).start();
                (serving, Some(control), ready.public)
            }
        };
        let inference = serving.ready().await.public;
        Self { inference, admin: Admin::new(&admin_url, MASTER_KEY), serving, _rest: (control, database) }
    }

    /// Puts a router with one provider at this address in place.
    async fn router(&self, url: &str) -> Caller {
        let router = unique("router");
        let id = number(&self.admin.create("routers", &json!({"name": router, "type": "text-generation"})).await);
        self.admin.create("providers", &provider_body(id, url)).await;
        let role = self.admin.role(&[], &unlimited(id)).await;
        let (_, key) = self.admin.key(self.admin.user(role, None).await).await;
        let client = Client::new(&*self.inference).bearer(&key);
        eventually("the router can be called", Duration::from_secs(10), || async {
            let models = client.get(&format!("/v1/models/{router}")).send().await;
            (models.status == 200).then_some(())
        })
        .await;
        Caller { client, router }
    }
}

impl Caller {
    async fn chat(&self) -> Reply {
        let body = json!({"model": self.router, "messages": [{"role": "user", "content": "Good day?"}]});
        self.client.post("/v1/chat/completions", &body).send().await
    }
}

fn port(url: &str) -> &str {
    url.rsplit_once(':').map_or(url, |(_, port)| port)
}

#[test]
fn upstreams_are_reached_through_proxies() {
    run(async {
        let (plain, secure) =
            (Proxy::start(Some(PROXY_AUTHORIZATION)).await, Proxy::start(Some(PROXY_AUTHORIZATION)).await);
        let (folder, pair) = (paths::folder("proxied"), Pair::make());
        let files = pair.write(&folder);
        let (http, https, direct) =
            (Upstream::start().await, Upstream::secure(&pair, &[]).await, Upstream::start().await);
        for mode in MODES {
            let before = (plain.asked().len(), secure.asked().len());
            let place = Place::start(mode, |launch| {
                let launch = launch.env("HTTP_PROXY", format!("http://{PROXY_USER}@{}", plain.address()));
                let launch = launch.env("https_proxy", format!("{PROXY_USER}@{}", secure.address()));
                launch.env("NO_PROXY", "10.0.0.0/8, 127.0.0.1").env("GATEWRIGHT_CA_BUNDLE", &files.certificate)
            })
            .await;
            // Nobody but the proxy knows this name.
            let name = format!("http://llm.rack-7.invalid:{}", port(http.url()));
            for url in [name.as_str(), https.url(), direct.url()] {
                let caller = place.router(url).await;
                for _ in 0..2 {
                    let reply = caller.chat().await;
                    assert_eq!(
                        reply.expect(200).json()["choices"][0]["message"]["content"],
                        "Good day!",
                        "{mode:?} {url}"
                    );
                }
            }
            let heads = plain.asked().split_off(before.0).join("");
            assert!(heads.contains(&format!("POST {name}/v1/chat/completions HTTP/1.1\r\n")), "{heads}");
            assert!(!heads.contains(&format!("127.0.0.1:{}", port(direct.url()))), "NO_PROXY: {heads}");
            let tunnels = secure.asked().split_off(before.1).join("");
            let place_of = https.url().trim_start_matches("https://");
            assert!(tunnels.starts_with(&format!("CONNECT {place_of} HTTP/1.1\r\n")), "{tunnels}");
            assert!(
                !tunnels.contains("chat") && !tunnels.contains("Bearer"),
                "a proxy sees no more than the name: {tunnels}"
            );
            let said = place.serving.said();
            assert!(
                said.contains(plain.address()) && !said.contains("canary") && !said.contains(&PROXY_AUTHORIZATION[6..]),
                "{said}"
            );
        }
        // What the upstream got is what it gets without a proxy.
        for seen in http.seen().iter().chain(&https.seen()) {
            assert!(!seen.headers.contains_key("proxy-connection"), "{seen:?}");
        }
        assert_eq!((http.calls(), https.calls(), direct.calls()), (4, 4, 4));
    });
}

#[test]
fn a_proxy_that_fails_is_an_upstream_out_of_reach() {
    run(async {
        let proxy = Proxy::start(Some(PROXY_AUTHORIZATION)).await;
        let place = Place::start(Mode::Standalone, |launch| {
            launch.env("ALL_PROXY", format!("http://x:wrong-canary@{}", proxy.address()))
        })
        .await;
        for url in ["http://llm.invalid", "https://llm.invalid"] {
            place.router(url).await.chat().await.expect_error(502, "upstream_unreachable");
        }
        let said = place.serving.said();
        assert!(said.contains("asks for credentials") && !said.contains("canary"), "{said}");
        let database = Database::empty().await;
        for (variable, value, problem) in [
            ("ALL_PROXY", "socks5://user:canary@127.0.0.1:1080", "SOCKS"),
            ("HTTPS_PROXY", "ftp://canary", "neither http nor https"),
            ("http_proxy", "http://169.254.169.254", "never called"),
        ] {
            let ended = standalone_launch(&database, &paths::folder("bad-proxy")).env(variable, value).finish().await;
            assert_eq!(ended.code, Some(2), "{}", ended.said());
            assert!(ended.stderr.contains(variable) && ended.stderr.contains(problem), "{}", ended.said());
            assert!(!ended.said().contains("canary"), "{}", ended.said());
        }
    });
}

#[test]
fn redirects_are_not_followed() {
    run(async {
        let place = Place::start(Mode::Standalone, |launch| launch).await;
        let (upstream, elsewhere) = (Upstream::start().await, Upstream::start().await);
        let caller = place.router(upstream.url()).await;
        for status in [301, 302, 303, 307, 308] {
            let to = format!("{}/v1/chat/completions", elsewhere.url());
            upstream.says(Answer::json(status, &json!({"moved": true})).header("location", &to));
            let reply = caller.chat().await;
            assert_eq!(reply.expect(502).header("location"), "", "{status}");
        }
        assert!(upstream.calls() >= 5);
        assert_eq!(elsewhere.calls(), 0);
    });
}

#[test]
fn a_certificate_of_ones_own_needs_the_bundle() {
    run(async {
        let (folder, pair) = (paths::folder("bundle"), Pair::make());
        let files = pair.write(&folder);
        let upstream = Upstream::secure(&pair, &[]).await;
        for mode in MODES {
            let strict = Place::start(mode, |launch| launch).await;
            strict.router(upstream.url()).await.chat().await.expect_error(502, "upstream_unreachable");
        }
        assert_eq!(upstream.calls(), 0);
        let config = folder.join("gatewright.yml");
        std::fs::write(&config, format!("settings:\n  egress: {{ca_bundle: {}}}\n", files.certificate.display()))
            .unwrap();
        for (mode, variable, flag, value) in [
            (Mode::Standalone, "UNUSED", "--upstream-ca-bundle", &files.certificate),
            (Mode::Split, "UNUSED", "--upstream-ca-bundle", &files.certificate),
            (Mode::Standalone, "UNUSED", "--config", &config),
            (Mode::Split, "SSL_CERT_FILE", "", &files.certificate),
        ] {
            let place = Place::start(mode, |launch| {
                let launch = launch.env(variable, value);
                if flag.is_empty() { launch } else { launch.flag(flag, value) }
            })
            .await;
            place.router(upstream.url()).await.chat().await.expect(200);
        }
    });
}

#[test]
fn upstreams_may_ask_who_calls() {
    run(async {
        let (server, caller, stranger) = (Pair::make(), Pair::make(), Pair::make());
        let (folder, other) = (paths::folder("caller"), paths::folder("stranger"));
        let bundle = folder.join("bundle.pem");
        std::fs::write(&bundle, format!("{}{}", stranger.certificate, server.certificate)).unwrap();
        let (files, strange) = (caller.write(&folder), stranger.write(&other));
        let upstream = Upstream::secure(&server, &[&caller]).await;
        for mode in MODES {
            for (shown, status) in [(None, 502), (Some(&strange), 502), (Some(&files), 200)] {
                let place = Place::start(mode, |launch| {
                    let launch = launch.flag("--upstream-ca-bundle", &bundle);
                    match shown {
                        None => launch,
                        Some(files) => launch
                            .flag("--upstream-client-certificate", &files.certificate)
                            .flag("--upstream-client-key", &files.key),
                    }
                })
                .await;
                place.router(upstream.url()).await.chat().await.expect(status);
            }
        }
        assert_eq!(upstream.calls(), 2);
    });
}

#[test]
fn bad_files_are_named_before_anything_starts() {
    run(async {
        let (folder, pair) = (paths::folder("bad-outbound"), Pair::make());
        let files = pair.write(&folder);
        let absent = folder.join("absent.pem");
        let database = Database::empty().await;
        let standalone = || standalone_launch(&database, &folder);
        let node = || data_plane_launch("http://127.0.0.1:9", "gw-join-none", &folder);
        for launch in [standalone(), node()] {
            let ended = launch.flag("--upstream-ca-bundle", &absent).finish().await;
            assert_eq!(ended.code, Some(2), "{}", ended.said());
            assert!(
                ended.stderr.contains("absent.pem") && ended.stderr.contains("--upstream-ca-bundle"),
                "{}",
                ended.said()
            );
        }
        for launch in [standalone(), node()] {
            let launch = launch.flag("--upstream-client-certificate", &files.certificate);
            let ended = launch.flag("--upstream-client-key", &files.certificate).finish().await;
            assert_eq!(ended.code, Some(2), "{}", ended.said());
            assert!(
                ended.stderr.contains("tls.crt") && ended.stderr.contains("holds no private key"),
                "{}",
                ended.said()
            );
        }
        for launch in [standalone(), node()] {
            let ended = launch.env("SSL_CERT_FILE", &absent).finish().await;
            assert_eq!(ended.code, Some(2), "{}", ended.said());
            assert!(ended.stderr.contains("SSL_CERT_FILE=") && ended.stderr.contains("absent.pem"), "{}", ended.said());
        }
        let ended = standalone().flag("--upstream-client-key", &files.key).finish().await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(ended.stderr.contains("--upstream-client-certificate"), "{}", ended.said());
        let config = folder.join("half.yml");
        std::fs::write(&config, "settings:\n  egress: {client_key: /k.pem}\n").unwrap();
        let ended = standalone().flag("--config", &config).finish().await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(ended.said().contains("settings.egress.client_key"), "{}", ended.said());
    });
}
