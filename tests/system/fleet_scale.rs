//! A fleet of a hundred nodes: how soon a change is everywhere, everybody coming back at once, and one that cannot follow.

use std::time::{Duration, Instant};

use harness::by_hand::{ByHand, Talk};
use harness::client::Client;
use harness::gateway::join_token;
use harness::run;
use harness::simulator::{Fleet, Plan, add_keys};
use harness::skip::is_full;
use serde_json::json;
use shared::proto::{Ack, Begin, Commit, ControlMessage, NodeMessage, SyncMode, control_message, node_message};
use sqlx::PgPool;

/// What is promised of a hundred nodes on machines of their own, times ten: what hangs is found, what is slow is measured
/// by the benchmark.
const HALF_WITHIN: Duration = Duration::from_secs(2);
const NEARLY_ALL_WITHIN: Duration = Duration::from_secs(10);
/// What a control plane may grow while nodes do what they like.
const GROWTH: u64 = 64 * 1024 * 1024;

fn plan(control_planes: usize, simulated: usize, real: usize) -> Plan {
    Plan { control_planes, simulated, real }
}

#[test]
fn a_change_is_soon_everywhere() {
    run(async {
        let (plan, rounds) = if is_full() { (plan(2, 96, 4), 30) } else { (plan(2, 24, 2), 6) };
        let fleet = Fleet::start(plan).await;
        let (changes, revocations) = fleet.measure(rounds).await;
        for (what, spread) in [("changes", changes), ("revocations", revocations)] {
            assert_eq!(spread.count(), rounds * (plan.simulated + plan.real), "{what}");
            assert!(spread.percentile(50) < HALF_WITHIN, "{what}: {spread}");
            assert!(spread.percentile(99) < NEARLY_ALL_WITHIN, "{what}: {spread}");
        }
        // Each replica knows its own nodes, and both have some: they begin at different addresses.
        for replica in 0..plan.control_planes {
            assert!(sample(&fleet, replica, "gatewright_fleet_nodes").await > 0.0, "replica {replica} has no node");
        }
    });
}

/// Transactions of a fleet's database so far. Backends tell what they did within about a second.
async fn transactions(pool: &PgPool) -> i64 {
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let statement = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    sqlx::query_scalar(statement).fetch_one(pool).await.expect("what the database did")
}

async fn connections(pool: &PgPool) -> i64 {
    let statement =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'";
    sqlx::query_scalar(statement).fetch_one(pool).await.expect("who is connected")
}

/// The sum of a family's series that contain this text.
async fn sample(fleet: &Fleet, replica: usize, series: &str) -> f64 {
    let text = Client::new(&fleet.ready(replica).operations).get("/metrics").send().await.expect(200).text();
    let values = text.lines().filter(|line| line.starts_with(series)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().expect("a number")).sum()
}

#[test]
fn fifty_nodes_coming_back_at_once_are_no_stampede() {
    const NODES: usize = 50;
    run(async {
        let mut fleet = Fleet::start(plan(1, NODES, 1)).await;
        let pool = fleet.database().pool().await;
        // Something to be sent whole, if it were.
        for _ in 0..50 {
            fleet.admin(0).router("text-generation").await;
        }
        let newest = fleet.admin(0).read("fleet").await["revision"].as_u64().expect("a revision");
        fleet.simulator.until("the routers", Duration::from_secs(10), |node| node.revision() >= newest).await;
        let quiet = fleet.control(0).resident();

        fleet.kill_control(0);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = transactions(&pool).await;
        fleet.restart_control(0).await;
        let back = Instant::now();
        let peak = tokio::spawn({
            let pool = pool.clone();
            async move {
                let mut peak = 0;
                while back.elapsed() < Duration::from_secs(6) {
                    peak = peak.max(connections(&pool).await);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                peak
            }
        });
        // A node that has this is back.
        let reached = fleet.change(0).await;
        assert_eq!(reached.len(), NODES + 1);
        let (first, last) = (reached.iter().min().unwrap(), reached.iter().max().unwrap());
        assert!(*last < Duration::from_secs(15), "the last node came back after {last:?}");
        assert!(*last - *first > Duration::from_millis(300), "they came as one, from {first:?} to {last:?}");
        // Each is told what it missed and no more. (The change itself may come apart from what was missed.)
        let (full, delta) =
            ("gatewright_catalog_sent_total{mode=\"full\"}", "gatewright_catalog_sent_total{mode=\"delta\"}");
        assert_eq!(sample(&fleet, 0, full).await, 0.0, "somebody was sent everything again");
        assert!(sample(&fleet, 0, delta).await >= NODES as f64);
        // The database hears a word or two for each node, over the connections of one pool.
        let peak = peak.await.unwrap();
        let spent = transactions(&pool).await - before;
        let seconds = i64::try_from(back.elapsed().as_secs()).unwrap();
        assert!(spent < 6 * NODES as i64 + 150 + 20 * seconds, "{spent} transactions in {seconds} s");
        assert!(peak < 40, "{peak} connections to the database");
        let grown = fleet.control(0).resident().saturating_sub(quiet);
        assert!(grown < GROWTH, "{} MiB more than before", grown / 1024 / 1024);
        assert!(!fleet.said().contains("panicked"));
    });
}

type Stream = Talk<NodeMessage, ControlMessage>;

/// Begins a stream as a node that holds nothing.
async fn follow(node: &ByHand) -> Stream {
    let talk = node.sync().await.expect("a stream");
    assert!(talk.tell(node_message::Message::Hello(node.hello(None))).await);
    talk
}

/// Reads one revision and answers it truthfully.
async fn take(talk: &mut Stream) -> (Begin, Commit) {
    let mut begun = None;
    loop {
        match talk.told().await.expect("an open stream") {
            control_message::Message::Begin(begin) => begun = Some(begin),
            control_message::Message::Commit(commit) => {
                let begin: Begin = begun.expect("a begin before the commit");
                let ack = Ack {
                    revision: commit.revision,
                    digest: commit.digest.clone(),
                    rejected: Vec::new(),
                    applied_unix_ms: 0,
                    epoch: begin.epoch.clone(),
                };
                assert!(talk.tell(node_message::Message::Ack(ack)).await);
                return (begin, commit);
            }
            _ => {}
        }
    }
}

#[test]
fn a_slow_node_is_brought_to_the_newest_state_and_holds_up_nobody() {
    run(async {
        let fleet = Fleet::start(plan(1, 4, 1)).await;
        let token = join_token(&fleet.ready(0).public).await;
        let slow = ByHand::enrolled(fleet.ready(0).grpc.as_ref().unwrap(), &token).await;
        let mut talk = follow(&slow).await;
        take(&mut talk).await;
        let before = fleet.control(0).resident();
        // From here on it reads nothing, while the others get a change and a revocation every time.
        let (changes, revocations) = fleet.measure(20).await;
        for (what, spread) in [("changes", changes), ("revocations", revocations)] {
            assert!(spread.percentile(99) < HALF_WITHIN, "{what} beside a slow node: {spread}");
        }
        assert!(fleet.control(0).resident().saturating_sub(before) < GROWTH);
        // When it reads again, it finds one state that it was sent when it stopped, and after that the newest: two steps
        // for sixty revisions.
        let newest = fleet.admin(0).read("fleet").await["revision"].as_u64().expect("a revision");
        let mut steps = 0;
        loop {
            let (begin, commit) = take(&mut talk).await;
            assert_eq!(begin.mode(), SyncMode::Delta);
            steps += 1;
            if commit.revision == newest {
                break;
            }
        }
        assert!(steps <= 2, "it was led through {steps} states");
        let shown = fleet.admin(0).read("fleet?limit=100").await;
        let own = shown["data"].as_array().unwrap().iter().find(|node| node["id"] == json!(slow.id.uuid())).unwrap();
        assert_eq!((&own["acknowledged_revision"], &own["current"]), (&json!(newest), &json!(true)), "{own}");
    });
}

/// Nodes that never read are closed after half a minute, however many; meanwhile others are served.
#[test]
fn nodes_that_never_read_are_closed() {
    const STUCK: usize = 24;
    if !is_full() {
        return;
    }
    run(async {
        let database = harness::postgres::Database::migrated().await;
        // Far more than connections and queues hold.
        add_keys(&database, 50_000).await;
        let fleet = Fleet::over(database, plan(1, 2, 1)).await;
        let before = fleet.control(0).resident();
        let token = join_token(&fleet.ready(0).public).await;
        let mut stuck = Vec::new();
        for _ in 0..STUCK {
            let node = ByHand::enrolled(fleet.ready(0).grpc.as_ref().unwrap(), &token).await;
            stuck.push(follow(&node).await);
        }
        // More of them than may be sent everything at the same time: a new node still gets it.
        let began = Instant::now();
        let newcomer = ByHand::enrolled(fleet.ready(0).grpc.as_ref().unwrap(), &token).await;
        let mut talk = follow(&newcomer).await;
        let (begin, _) = take(&mut talk).await;
        assert_eq!(begin.mode(), SyncMode::Full);
        assert!(began.elapsed() < Duration::from_secs(25), "a new node waited {:?}", began.elapsed());
        fleet.measure(3).await;
        let grown = fleet.control(0).resident().saturating_sub(before);
        assert!(grown < 4 * GROWTH, "{} MiB for {STUCK} nodes that do not read", grown / 1024 / 1024);
        let left = tokio::time::timeout(Duration::from_secs(60), async {
            while sample(&fleet, 0, "gatewright_fleet_nodes").await > 4.0 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        left.await.expect("they are closed");
        drop(stuck);
    });
}

#[test]
fn a_node_with_many_keys_is_soon_ready_from_disk() {
    if !is_full() {
        return;
    }
    run(async {
        let database = harness::postgres::Database::migrated().await;
        // A quarter of what the benchmark takes: this build is not optimised.
        add_keys(&database, 25_000).await;
        let mut fleet = Fleet::over(database, plan(1, 0, 1)).await;
        let took = fleet.restart_from_disk(0).await;
        // Ten times what is promised of a build for production.
        assert!(took < Duration::from_secs(20), "ready from disk after {took:?}");
    });
}
