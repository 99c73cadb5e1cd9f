//! The bench does what scenarios believe it does: proxies misbehave as told, and the checker finds what was falsified.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::checker::{Rule, check};
use super::evidence::{AdminAnswer, Evidence, Incident, Record, Revocation, Sighting, Sum};
use super::load::{Entry, request_id, tokens};
use super::proxy::{Cut, Door, Flap, TcpFaultProxy, Way, Weather};
use super::scenario::Scenario;
use super::watch::gauge;
use crate::run;

/// Says everything back.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

async fn through(proxy: &TcpFaultProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// Says `word` and waits for its echo.
async fn ask(stream: &mut TcpStream, word: &str) -> std::io::Result<String> {
    stream.write_all(word.as_bytes()).await?;
    let mut heard = vec![0; word.len()];
    stream.read_exact(&mut heard).await?;
    Ok(String::from_utf8(heard).unwrap())
}

/// Says `word` on a connection of its own; a reset may come before the connection is known to be there.
async fn ask_anew(proxy: &TcpFaultProxy, word: &str) -> std::io::Result<String> {
    ask(&mut TcpStream::connect(proxy.address()).await?, word).await
}

const SOON: Duration = Duration::from_millis(150);

#[test]
fn a_proxy_carries_delays_and_slows() {
    run(async {
        let proxy = TcpFaultProxy::start(&echo().await).await;
        let mut stream = through(&proxy).await;
        assert_eq!(ask(&mut stream, "fair").await.unwrap(), "fair");

        let delayed = Way { delay: Duration::from_millis(120), ..Way::default() };
        proxy.set(Weather { there: delayed, ..Weather::default() });
        let begun = Instant::now();
        ask(&mut stream, "late").await.unwrap();
        assert!((120..1000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());

        let slow = Way { bytes_per_second: Some(1000), ..Way::default() };
        proxy.set(Weather { back: slow, ..Weather::default() });
        let begun = Instant::now();
        ask(&mut stream, &"x".repeat(400)).await.unwrap();
        assert!((300..3000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
        proxy.heal();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the end is carried too");
    });
}

#[test]
fn silence_loses_nothing_and_strandedness_lasts() {
    run(async {
        let proxy = TcpFaultProxy::start(&echo().await).await;
        let mut stream = through(&proxy).await;
        ask(&mut stream, "before").await.unwrap();
        for weather in [
            Weather { there: Way { silent: true, ..Way::default() }, ..Weather::default() },
            Weather { back: Way { silent: true, ..Way::default() }, ..Weather::default() },
        ] {
            proxy.set(weather);
            stream.write_all(b"word").await.unwrap();
            let mut heard = [0; 4];
            assert!(timeout(SOON, stream.read_exact(&mut heard)).await.is_err(), "it is silent");
            proxy.heal();
            timeout(SOON * 10, stream.read_exact(&mut heard)).await.expect("it arrives late").unwrap();
            assert_eq!(&heard, b"word");
        }
        proxy.strand();
        proxy.heal();
        stream.write_all(b"lost").await.unwrap();
        assert!(timeout(SOON, stream.read(&mut [0; 4])).await.is_err());
        assert_eq!(ask_anew(&proxy, "new").await.unwrap(), "new", "a new connection works");
    });
}

#[test]
fn doors_hold_and_shut() {
    run(async {
        let proxy = TcpFaultProxy::start(&echo().await).await;
        proxy.set(Weather { door: Door::Hold, ..Weather::default() });
        let mut held = through(&proxy).await;
        held.write_all(b"held").await.unwrap();
        assert!(timeout(SOON, held.read(&mut [0; 4])).await.is_err(), "nothing is said");
        proxy.set(Weather { door: Door::Shut, ..Weather::default() });
        assert!(held.read(&mut [0; 4]).await.is_err(), "it is reset");
        assert!(ask_anew(&proxy, "word").await.is_err());
        proxy.heal();
        assert_eq!(ask_anew(&proxy, "open").await.unwrap(), "open");
    });
}

#[test]
fn cuts_come_after_so_many_bytes_or_at_once() {
    run(async {
        let proxy = TcpFaultProxy::start(&echo().await).await;
        for cut in [Cut::Reset, Cut::Finish] {
            proxy.set(Weather { back: Way { cut_after: Some(6), cut, ..Way::default() }, ..Weather::default() });
            let mut stream = through(&proxy).await;
            assert_eq!(ask(&mut stream, "four").await.unwrap(), "four");
            stream.write_all(b"four").await.unwrap();
            let (mut heard, mut end) = (Vec::new(), stream.read_u8().await);
            while let Ok(byte) = end {
                heard.push(byte);
                end = stream.read_u8().await;
            }
            // RST may overtake what was sent before it.
            assert!(heard.len() <= 2 && (cut == Cut::Reset || heard == b"fo"), "{cut:?}: {heard:?}");
            let reset = end.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset;
            assert_eq!(reset, cut == Cut::Reset);
        }
        proxy.heal();
        let mut stream = through(&proxy).await;
        ask(&mut stream, "whole").await.unwrap();
        proxy.cut(Cut::Reset);
        assert!(timeout(SOON * 10, stream.read_u8()).await.unwrap().is_err());
        assert_eq!(ask_anew(&proxy, "again").await.unwrap(), "again");
    });
}

#[test]
fn a_link_flaps() {
    run(async {
        let proxy = TcpFaultProxy::start(&echo().await).await;
        let wait = Duration::from_millis(200);
        proxy.set(Weather { flap: Some(Flap { up: wait, down: wait }), ..Weather::default() });
        let (mut good, mut bad) = (0, 0);
        let begun = Instant::now();
        while begun.elapsed() < wait * 6 {
            match ask_anew(&proxy, "word").await {
                Ok(_) => good += 1,
                Err(_) => bad += 1,
            }
            tokio::time::sleep(wait / 10).await;
        }
        assert!(good > 5 && bad > 5, "{good} and {bad}");
        proxy.heal();
        tokio::time::sleep(wait * 2).await;
        assert_eq!(ask_anew(&proxy, "word").await.unwrap(), "word");
    });
}

#[test]
fn a_new_place_is_for_new_connections() {
    run(async {
        let proxy = TcpFaultProxy::start(&echo().await).await;
        let mut old = through(&proxy).await;
        ask(&mut old, "old").await.unwrap();
        proxy.retarget("127.0.0.1:9");
        ask(&mut old, "old").await.unwrap();
        assert!(ask_anew(&proxy, "new").await.is_err());
        assert_eq!(proxy.connections(), 1);
    });
}

#[test]
fn scenarios_are_read_strictly() {
    let good = "about = \"x\"\n[[step]]\ndo = \"kill\"\nat = \"1.5s\"\nwhom = \"node-0\"\n";
    let read = Scenario::parse(good).unwrap();
    assert_eq!(read.steps[0].at(), Duration::from_millis(1500));
    for (bad, reason) in [
        ("about = 1", "about"),
        ("about = \"x\"\nabuot = 1", "abuot"),
        ("about = \"x\"\n[load]\nrates = 5", "rates"),
        ("about = \"x\"\n[[step]]\ndo = \"kill\"\nat = \"1\"\nwhom = \"node-0\"", "no time"),
        ("about = \"x\"\n[[step]]\ndo = \"kill\"\nat = \"1s\"\nwhom = \"node-0\"\nwhen = 1", "when"),
        ("about = \"x\"\n[[step]]\ndo = \"pray\"\nat = \"1s\"", "pray"),
        ("about = \"x\"\n[[step]]\ndo = \"promote\"\nat = \"1m\"", "after the end"),
        ("about = \"x\"\n[[step]]\ndo = \"promote\"\nat = \"2s\"\n[[step]]\ndo = \"promote\"\nat = \"1s\"", "order"),
    ] {
        let error = Scenario::parse(bad).unwrap_err();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn sums_of_families_are_read() {
    let text = "# TYPE a gauge\na{x=\"{1} 2\"} 2\na{x=\"2\"} 3\na_b 7\nc 1\n";
    assert_eq!(gauge(text, "a"), Some(5.0));
    assert_eq!((gauge(text, "c"), gauge(text, "d")), (Some(1.0), None));
}

/// A request that was served by node 0 with key 0, and its record.
fn served(number: u64) -> (Entry, Record) {
    let (prompt, completion) = tokens(number);
    let begun = number * 1000;
    let entry = Entry {
        number,
        node: Some(0),
        due: begun,
        sent: begun,
        head: Some(begun + 10),
        ended: begun + 20,
        status: 200,
        whole: true,
        prompt: Some(prompt),
        completion: Some(completion),
        call: format!("call-{number}"),
        ..Entry::default()
    };
    let (prompt, completion) = (i64::try_from(prompt).unwrap(), i64::try_from(completion).unwrap());
    let record = Record {
        id: entry.call.clone(),
        request_id: request_id(number),
        outcome: "completed".into(),
        status: 200,
        prompt: Some(prompt),
        completion: Some(completion),
        cost: prompt * 2500 + completion * 10_000,
        attempts: 1,
        key: "key".into(),
        count: 1,
        ..Record::default()
    };
    (entry, record)
}

/// What a run without a fault leaves.
fn flawless() -> Evidence {
    let mut evidence = Evidence::default();
    for number in 0..20 {
        let (entry, record) = served(number);
        evidence.history.push(entry);
        evidence.records.push(record);
        evidence.calls.push(number);
    }
    evidence.sums = sums_of(&evidence.records);
    for revision in [3, 3, 4, 9] {
        evidence.revisions.push(Sighting { node: 0, boot: 1, revision });
    }
    // Another start may begin with an older copy.
    evidence.revisions.push(Sighting { node: 0, boot: 2, revision: 5 });
    evidence.at_rest = vec![("in flight".into(), 0.0)];
    evidence.admin = vec![
        AdminAnswer { status: 200, took: 900, ..AdminAnswer::default() },
        AdminAnswer { status: 503, retry_after: true, took: 1_900_000, ..AdminAnswer::default() },
    ];
    evidence
}

fn sums_of(records: &[Record]) -> Vec<Sum> {
    let sum = |count: fn(&Record) -> i64| records.iter().map(count).sum();
    let grains = ["minute", "hour", "day"].map(|grain| Sum {
        grain: grain.into(),
        key: "key".into(),
        requests: sum(|record| record.count),
        prompt: sum(|record| record.prompt.unwrap_or(0)),
        completion: sum(|record| record.completion.unwrap_or(0)),
        cost: sum(|record| record.cost),
    });
    grains.into()
}

fn rules(evidence: &Evidence) -> Vec<Rule> {
    let mut rules: Vec<Rule> = check(evidence).into_iter().map(|violation| violation.rule).collect();
    rules.sort();
    rules.dedup();
    rules
}

#[test]
fn what_is_right_is_not_found_fault_with() {
    assert_eq!(check(&flawless()), []);
    // A call in flight on a killed node, which began and was recorded as such; another that got nowhere.
    let mut evidence = flawless();
    evidence.history[7] = Entry { whole: false, error: "reset".into(), ..evidence.history[7].clone() };
    evidence.records[7] = Record {
        outcome: "interrupted".into(),
        status: 0,
        prompt: None,
        completion: None,
        cost: 0,
        attempts: 0,
        ..evidence.records[7].clone()
    };
    evidence.history[8] = Entry { status: 0, whole: false, call: String::new(), ..evidence.history[8].clone() };
    evidence.records.remove(8);
    evidence.calls.remove(8);
    evidence.sums = sums_of(&evidence.records);
    assert_eq!(rules(&evidence), [Rule::Served]);
    evidence.incidents.push(Incident { node: Some(0), from: 7015, until: 8005 });
    assert_eq!(check(&evidence), []);
    // A key that was removed is refused.
    let mut evidence = flawless();
    let refused = Entry { key: 3, status: 401, whole: false, ..served(30).0 };
    evidence.history.push(refused);
    evidence.revocations.push(Revocation { key: 3, asked: 29_000, enforced: 31_000 });
    assert_eq!(check(&evidence), []);
}

type Falsified = (&'static str, Rule, fn(&mut Evidence));

#[test]
fn what_is_falsified_is_found() {
    let falsified: [Falsified; 24] = [
        ("a failure", Rule::Served, |all| all.history[3].status = 502),
        ("an answer cut short", Rule::Served, |all| all.history[3].whole = false),
        ("a failure elsewhere than on the killed node", Rule::Served, |all| {
            all.history[3].whole = false;
            all.incidents.push(Incident { node: Some(1), from: 0, until: u64::MAX });
        }),
        ("a failure before anything was killed", Rule::Served, |all| {
            all.history[3].whole = false;
            all.incidents.push(Incident { node: Some(0), from: 4000, until: 4001 });
        }),
        ("a refusal before the key was removed", Rule::Served, |all| {
            all.history[3].status = 401;
            all.revocations.push(Revocation { key: 0, asked: 4000, enforced: u64::MAX });
        }),
        ("a record that is missing", Rule::OneRecord, |all| {
            all.records.remove(5);
            all.sums = sums_of(&all.records);
        }),
        ("more missing than may be", Rule::OneRecord, |all| {
            all.records.drain(5..7);
            all.sums = sums_of(&all.records);
            all.may_be_lost = 1;
        }),
        ("a record twice, under another id", Rule::OneRecord, |all| {
            let twice = Record { id: "call-other".into(), ..all.records[5].clone() };
            all.records.push(twice);
            all.sums = sums_of(&all.records);
        }),
        ("a record of a request that nobody made", Rule::OneRecord, |all| {
            all.records.push(served(77).1);
            all.calls.push(77);
            all.sums = sums_of(&all.records);
        }),
        ("a record of nothing", Rule::OneRecord, |all| {
            all.records.push(Record { request_id: "other".into(), ..served(77).1 });
            all.sums = sums_of(&all.records);
        }),
        ("a call upstream without a record", Rule::OneRecord, |all| {
            all.history.push(Entry { status: 401, whole: false, key: 3, ..served(30).0 });
            all.revocations.push(Revocation { key: 3, asked: 29_000, enforced: 31_000 });
            all.calls.push(30);
        }),
        ("a wrong count", Rule::Counted, |all| {
            all.records[9].completion = Some(1);
            all.sums = sums_of(&all.records);
        }),
        ("a wrong cost", Rule::Counted, |all| {
            all.records[9].cost += 1;
            all.sums = sums_of(&all.records);
        }),
        ("an estimate where the upstream counted", Rule::Counted, |all| all.records[9].estimated = true),
        ("a served call recorded as interrupted", Rule::Counted, |all| all.records[9].outcome = "interrupted".into()),
        ("the record of another call", Rule::Counted, |all| all.records[9].id = "call-other".into()),
        ("a client that was told of other tokens", Rule::Counted, |all| all.history[9].prompt = Some(1)),
        ("a second call upstream that no attempt tells of", Rule::Attempts, |all| all.calls.push(4)),
        ("an answer that no upstream gave", Rule::Attempts, |all| {
            all.calls.remove(4);
        }),
        ("a sum that lacks something", Rule::Sums, |all| all.sums[1].prompt -= 1),
        ("a sum of nothing", Rule::Sums, |all| {
            all.sums.push(Sum { grain: "hour".into(), key: "other".into(), requests: 1, ..Sum::default() });
        }),
        ("a revision that falls", Rule::Revisions, |all| {
            all.revisions.push(Sighting { node: 0, boot: 2, revision: 4 });
        }),
        ("a removed key that is let in", Rule::Revoked, |all| {
            all.revocations.push(Revocation { key: 0, asked: 9000, enforced: 15_500 });
        }),
        ("a permit that was not given back", Rule::AtRest, |all| all.at_rest[0].1 = 1.0),
    ];
    for (what, rule, falsify) in falsified {
        let mut evidence = flawless();
        falsify(&mut evidence);
        assert_eq!(rules(&evidence), [rule], "{what}: {:?}", check(&evidence));
    }
    let bad = [
        AdminAnswer { status: 500, ..AdminAnswer::default() },
        AdminAnswer { status: 503, ..AdminAnswer::default() },
        AdminAnswer { status: 200, took: 30_000_000, ..AdminAnswer::default() },
    ];
    for answer in bad {
        let what = || vec!["seen".to_owned()];
        let evidence = Evidence { admin: vec![answer], leaks: what(), crashes: what(), unsaid: what(), ..flawless() };
        assert_eq!(rules(&evidence), [Rule::Admin, Rule::Secrets, Rule::Alive, Rule::Said]);
    }
}
