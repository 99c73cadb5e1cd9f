//! Three data planes behind the shipped haproxy, replaced one after the other under load: no request may be lost.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use harness::admin::{Admin, number, provider_body, unlimited};
use harness::balancer::Balancer;
use harness::client::Client;
use harness::gateway::{MASTER_KEY, control_plane_launch, join_token, write_secrets};
use harness::postgres::{Database, free_port};
use harness::process::{Launch, Process, Ready};
use harness::upstream::{Answer, Upstream};
use harness::{eventually, paths, run, unique};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

const NODES: usize = 3;
/// Connections that send one request after the other, as the pools of clients do.
const KEPT: usize = 10;
const KEPT_EVERY: Duration = Duration::from_millis(50);
/// Requests with a connection of their own.
const FRESH_EVERY: Duration = Duration::from_millis(20);
const STREAMS_EVERY: Duration = Duration::from_millis(50);
/// How many of one sort may be waited for at once: a machine that cannot keep up is asked for less, not buried.
const AT_ONCE: usize = 100;
const WORDS: [&str; 8] = ["one ", "two ", "three ", "four ", "five ", "six ", "seven ", "eight "];
const WORD_EVERY: Duration = Duration::from_millis(200);

/// Where one data plane lives, whichever process is there.
struct Place {
    folder: PathBuf,
    public: u16,
    operations: u16,
}

impl Place {
    fn new() -> Self {
        let folder = paths::folder("rolling");
        write_secrets(&folder.join("secrets"));
        Self { folder, public: free_port(), operations: free_port() }
    }

    /// By mutual TLS, and with the time that a balancer needs.
    fn launch(&self, grpc: &str, token: &str) -> Launch {
        Launch::new("gatewright-data-plane")
            .args(["--control-plane", grpc, "--join-token", token, "--min-drain", "2s"])
            .flag("--listen", format!("127.0.0.1:{}", self.public))
            .flag("--operations-listen", format!("127.0.0.1:{}", self.operations))
            .flag("--data-dir", self.folder.join("data"))
            .flag("--secrets-dir", self.folder.join("secrets"))
            .env("GATEWRIGHT_MIN_DRAIN", "2s")
            .within(&self.folder)
    }

    fn ready(&self) -> Ready {
        let at = |port| format!("http://127.0.0.1:{port}");
        Ready { public: at(self.public), grpc: None, operations: at(self.operations) }
    }

    /// Waits until this node has been given something to do.
    async fn until_used(&self) {
        let operations = Client::new(self.ready().operations);
        eventually("the new process gets its share", Duration::from_secs(20), || async {
            let text = operations.get("/metrics").send().await.text();
            let mut calls = text.lines().filter(|line| line.starts_with("gatewright_requests_total{"));
            calls.any(|line| line.contains("chat")).then_some(())
        })
        .await;
    }
}

/// What became of all requests.
#[derive(Default)]
struct Tally {
    whole: AtomicUsize,
    streamed: AtomicUsize,
    lost: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Tally {
    fn note(&self, counter: &AtomicUsize, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Err(why) => self.lost.lock().push(why),
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Somebody who asks through the balancer.
#[derive(Clone)]
struct Caller {
    client: Client,
    address: String,
    key: String,
    body: Value,
}

impl Caller {
    async fn whole(&self) -> Result<(), String> {
        let reply = self.client.post("/v1/chat/completions", &self.body).try_send().await?;
        checked(reply.status, &reply.body)
    }

    async fn stream(&self) -> Result<(), String> {
        let mut body = self.body.clone();
        body["stream"] = true.into();
        let open = self.client.post("/v1/chat/completions", &body).try_open().await?;
        let status = open.status;
        let events = open.events().await;
        let words = events.iter().filter(|event| WORDS.iter().any(|word| event.contains(word))).count();
        let whole = events.last().map(String::as_str) == Some("data: [DONE]") && words == WORDS.len();
        if status == 200 && whole { Ok(()) } else { Err(format!("a stream with status {status}: {events:?}")) }
    }

    /// One request after the other over one connection, for as long as the balancer keeps it.
    async fn keep_asking(self, tally: Arc<Tally>) {
        let mut tick = interval(KEPT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !tally.is_over() {
            let stream = match TcpStream::connect(&self.address).await {
                Ok(stream) => stream,
                Err(error) => return tally.note(&tally.whole, Err(format!("connect: {error}"))),
            };
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            while !tally.is_over() && sender.ready().await.is_ok() {
                tick.tick().await;
                let request = Request::post("/v1/chat/completions")
                    .header("host", &self.address)
                    .header("content-type", "application/json")
                    .header("authorization", format!("Bearer {}", self.key))
                    .body(Full::new(Bytes::from(self.body.to_string())))
                    .unwrap();
                let outcome = match sender.send_request(request).await {
                    Ok(answer) => {
                        let status = answer.status().as_u16();
                        let body = answer.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                        body.map_err(|error| format!("body: {error}")).and_then(|body| checked(status, &body))
                    }
                    Err(error) => Err(format!("on a kept connection: {error}")),
                };
                tally.note(&tally.whole, outcome);
            }
        }
    }
}

fn checked(status: u16, body: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(body);
    if status == 200 && text.contains("Good day!") { Ok(()) } else { Err(format!("{status}: {text}")) }
}

/// Asks at a steady pace, however long answers take, until it is over; returns when all answers are there.
async fn load(caller: Caller, tally: Arc<Tally>) {
    let mut kept = JoinSet::new();
    for _ in 0..KEPT {
        kept.spawn(caller.clone().keep_asking(tally.clone()));
    }
    let paced = |every, streamed: bool| {
        let (caller, tally) = (caller.clone(), tally.clone());
        async move {
            let (mut tick, mut asked) = (interval(every), JoinSet::new());
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !tally.is_over() {
                tick.tick().await;
                while asked.try_join_next().is_some() {}
                if asked.len() >= AT_ONCE {
                    asked.join_next().await;
                }
                let (caller, tally) = (caller.clone(), tally.clone());
                asked.spawn(async move {
                    match streamed {
                        true => tally.note(&tally.streamed, caller.stream().await),
                        false => tally.note(&tally.whole, caller.whole().await),
                    }
                });
            }
            asked.join_all().await;
        }
    };
    tokio::join!(paced(FRESH_EVERY, false), paced(STREAMS_EVERY, true));
    kept.join_all().await;
}

/// A control plane with a router, and a key that may use it.
struct Scene {
    admin: Admin,
    control: Ready,
    database: Database,
    upstream: Upstream,
    router: String,
    key: String,
    _process: Process,
}

impl Scene {
    async fn set() -> Self {
        let database = Database::migrated().await;
        let process = control_plane_launch(&database, &paths::folder("rolling-control"), None).start();
        let control = process.ready().await;
        let admin = Admin::new(&control.public, MASTER_KEY);
        let upstream = Upstream::start().await;
        let slow = Answer::stream(&WORDS, Some((11, 8))).paced(WORD_EVERY);
        upstream.decides(move |seen| match seen.method == "POST" && seen.json()["stream"] == true {
            true => slow.clone(),
            false => Answer::proper(seen),
        });
        let router = unique("router");
        let body = json!({"name": router, "type": "text-generation"});
        let router_id = number(&admin.create("routers", &body).await);
        admin.create("providers", &provider_body(router_id, upstream.url())).await;
        let user = admin.user(admin.role(&[], &unlimited(router_id)).await, None).await;
        let (_, key) = admin.key(user).await;
        Self { admin, control, database, upstream, router, key, _process: process }
    }

    fn caller(&self, url: &str) -> Caller {
        Caller {
            client: Client::new(url).bearer(&self.key),
            address: url.trim_start_matches("http://").to_owned(),
            key: self.key.clone(),
            body: json!({"model": self.router, "messages": [{"role": "user", "content": "Good day?"}]}),
        }
    }
}

#[test]
fn no_request_is_lost_while_every_node_is_replaced() {
    run(async {
        let scene = Scene::set().await;
        let grpc = scene.control.grpc.as_deref().unwrap().replace("http://", "https://");
        let token = join_token(&scene.control.public).await;
        let places: Vec<Place> = (0..NODES).map(|_| Place::new()).collect();
        let mut processes = Vec::new();
        for place in &places {
            let process = place.launch(&grpc, &token).start();
            process.ready().await;
            processes.push(process);
        }
        let data: Vec<Ready> = places.iter().map(Place::ready).collect();
        let Some(balancer) = Balancer::start(&data, std::slice::from_ref(&scene.control)).await else {
            harness::skip::skipped("rolling replacement", "haproxy is not installed; ./check sets it up");
            return;
        };
        let through = Admin::new(balancer.url(), MASTER_KEY);
        assert_eq!(through.read("fleet").await["data"].as_array().map(Vec::len), Some(NODES));

        let caller = scene.caller(balancer.url());
        eventually("the caller is let in", Duration::from_secs(10), || async { caller.whole().await.ok() }).await;
        let tally = Arc::new(Tally::default());
        let loading = tokio::spawn(load(caller, tally.clone()));
        tokio::time::sleep(Duration::from_secs(2)).await;
        for (place, process) in places.iter().zip(&mut processes) {
            let status = process.terminate(Duration::from_secs(60)).await;
            assert_eq!(status.code(), Some(0), "{}", process.said());
            // It comes back as who it was, without the token.
            *process = place.launch(&grpc, "").start();
            process.ready().await;
            place.until_used().await;
        }
        tally.over.store(true, Ordering::Relaxed);
        loading.await.unwrap();

        let lost = std::mem::take(&mut *tally.lost.lock());
        let (whole, streamed) = (tally.whole.load(Ordering::Relaxed), tally.streamed.load(Ordering::Relaxed));
        assert!(lost.is_empty(), "{} of {} lost: {:#?}\n{}", lost.len(), whole + streamed, lost, balancer.said());
        assert!(whole > 500 && streamed > 50, "{whole} whole answers, {streamed} streams");
        // One of them before the tally began.
        let answered = i64::try_from(whole + streamed).unwrap() + 1;
        assert!(i64::try_from(scene.upstream.calls()).unwrap() >= answered);
        let pool = scene.database.pool().await;
        eventually("every answer has its record", Duration::from_secs(20), || async {
            let count = "SELECT count(*) FROM gatewright.usage_records WHERE outcome = 'completed'";
            let records: i64 = sqlx::query_scalar(count).fetch_one(&pool).await.unwrap();
            assert!(records <= answered, "{records} records of {answered} answers");
            (records == answered).then_some(())
        })
        .await;
        drop(scene.admin);
    });
}
