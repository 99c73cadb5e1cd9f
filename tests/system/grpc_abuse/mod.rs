//! Hostile and broken words on the port for data planes: rows of `tests/abuse/grpc.json`, and what no table can say.
//!
//! Each input is played by a node of its own, a `member` with a certificate unless said. Beside the answer the runner checks
//! for every input: a change reaches the honest node in time, a good request works, nothing panicked, memory comes back.

mod play;
mod row;
mod words;

use std::time::{Duration, Instant};

use harness::gateway::Gateway;
use harness::{eventually, raw, run};
use serde_json::json;
use shared::proto::{Ack, SyncMode, UsageBatch, node_message};
use tokio::io::AsyncWriteExt as _;
use tonic::Code;

use self::play::{Play, value};
use self::row::{RecordOf, Row};
use self::words::whole;

#[test]
fn rows() {
    run(async {
        let gateway = Gateway::split().await;
        let play = Play::begin(&gateway).await;
        let text = std::fs::read_to_string(harness::paths::root().join("tests/abuse/grpc.json")).unwrap();
        let rows: Vec<Row> = serde_json::from_str(&text).unwrap();
        // What first comers leave behind for good is no leak of the others.
        play.honest().await.unwrap();
        let mut failures = Vec::new();
        for row in &rows {
            for (number, input) in row.inputs.iter().enumerate() {
                if let Err(what) = play.input(row, input).await {
                    failures.push(format!("{} input {number} ({}): {what}", row.id, row.title));
                }
            }
        }
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    });
}

/// One that says half a word, one that says nothing, one that says hello and never makes a call.
#[test]
fn connections_that_lead_to_nothing_end() {
    run(async {
        let gateway = Gateway::split().await;
        let play = Play::begin(&gateway).await;
        const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
        let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let mut waiting = Vec::new();
        for (bytes, within) in [
            (b"PRI * HT".to_vec(), 12),
            (Vec::new(), 12),
            (vec![0x16, 3, 1], 12),
            ([preface, SETTINGS].concat(), 23),
            (preface.to_vec(), 23),
        ] {
            for _ in 0..8 {
                let mut stream = raw::connect(&play.grpc).await;
                stream.write_all(&bytes).await.unwrap();
                waiting.push((stream, within));
            }
        }
        play.honest().await.unwrap();
        let start = Instant::now();
        let ends = waiting.into_iter().map(|(mut stream, within)| {
            tokio::spawn(async move {
                let heard = raw::listen(&mut stream, Duration::from_secs(25)).await;
                let took = start.elapsed();
                assert!(heard.closed && took < Duration::from_secs(within), "it ended after {took:?}");
            })
        });
        for end in ends {
            end.await.unwrap();
        }
        let series = play.series().await;
        for (reason, count) in [("silent", 24.0), ("stranger", 16.0)] {
            let name = format!("gatewright_node_connections_refused_total{{reason=\"{reason}\"}}");
            assert_eq!(value(&series, &name), count, "{reason}");
        }
        // Known ones stay.
        play.honest().await.unwrap();
    });
}

/// HTTP/2 by hand: a settings frame, then as many calls as fit, none of which is ever read.
fn calls(token: &str, count: u32) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in [
        (":path", "/gatewright.v1.ConfigSync/Sync"),
        (":authority", "control-plane"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", &format!("Bearer {token}")),
    ] {
        // Literal, never indexed, no Huffman code; lengths above 126 take more bytes.
        block.push(0x10);
        block.push(name.len() as u8);
        block.extend(name.bytes());
        match value.len() {
            length @ 0..127 => block.push(length as u8),
            length => block.extend([0x7f, ((length - 127) % 128) as u8 | if length >= 255 { 0x80 } else { 0 }]),
        }
        if value.len() >= 255 {
            block.push(((value.len() - 127) / 128) as u8);
        }
        block.extend(value.bytes());
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for call in 0..count {
        bytes.extend(&(block.len() as u32).to_be_bytes()[1..]);
        bytes.extend([0x01, 0x04]);
        bytes.extend((1 + 2 * call).to_be_bytes());
        bytes.extend(&block);
    }
    bytes
}

/// Frames of one type in what was heard.
fn frames(bytes: &[u8], kind: u8) -> usize {
    let (mut at, mut found) = (0, 0);
    while let Some(head) = bytes.get(at..at + 9) {
        found += usize::from(head[3] == kind);
        at += 9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    }
    found
}

#[test]
fn thousands_of_streams_on_one_connection_are_refused() {
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    run(async {
        let gateway = Gateway::split().await;
        let play = Play::begin(&gateway).await;
        let before = gateway.resident();
        let mut stream = raw::connect(&play.grpc).await;
        let bytes = calls(&play.token, 5_000);
        let (mut reader, mut writer) = stream.split();
        let mut heard = Vec::new();
        let reading = tokio::time::timeout(Duration::from_secs(3), tokio::io::copy(&mut reader, &mut heard));
        // It may be cut off in the middle.
        let (_, _) = tokio::join!(writer.write_all(&bytes), reading);
        let (refused, ended) = (frames(&heard, RST_STREAM), frames(&heard, GOAWAY));
        assert!(refused > 4_000 || ended > 0, "{refused} streams refused, {ended} ends of the connection");
        play.honest().await.unwrap();
        drop(stream);
        play.quiet(before).await.unwrap();
    });
}

/// Usage is taken in as fast as the ledger takes it: who never listens is not listened to for ever.
#[test]
fn a_node_that_never_hears_its_acknowledgements_holds_up_nobody() {
    run(async {
        let gateway = Gateway::split().await;
        let play = Play::begin(&gateway).await;
        let before = gateway.resident();
        let record = RecordOf { times: Some(200), ..RecordOf::default() };
        let mut held = Vec::new();
        for _ in 0..4 {
            let node = play.node("member").await;
            for _ in 0..4 {
                let talk = node.report().await.unwrap();
                for seq in 0..10 {
                    let records = play.records(&record, &[]);
                    let batch = UsageBatch { node_id: node.id.to_bytes(), boot_id: node.boot.to_bytes(), seq, records };
                    talk.say(batch).await;
                }
                held.push((node.clone(), talk));
            }
        }
        play.honest().await.unwrap();
        // Four are enough for one node.
        for (_, talk) in &mut held {
            talk.hear().await.unwrap().expect("an acknowledgement");
        }
        let node = &held[0].0;
        let mut fifth = node.report().await.unwrap();
        let batch =
            UsageBatch { node_id: node.id.to_bytes(), boot_id: node.boot.to_bytes(), seq: 99, records: Vec::new() };
        fifth.say(batch).await;
        assert_eq!(fifth.end().await.code(), Code::ResourceExhausted);
        play.stage.usage(1).await;
        drop(held);
        play.quiet(before).await.unwrap();
    });
}

/// What is shown of a node is not what it says but what it proved.
#[test]
fn a_second_node_cannot_take_the_place_of_another() {
    run(async {
        let gateway = Gateway::split().await;
        let play = Play::begin(&gateway).await;
        let (one, other) = (play.node("member").await, play.node("member").await);
        let mut talk = one.sync().await.unwrap();
        talk.tell(node_message::Message::Hello(one.hello(None))).await;
        let told = whole(&mut talk).await.unwrap();
        assert_eq!(told.begin.mode(), SyncMode::Full);
        let mut forged = other.sync().await.unwrap();
        forged.tell(node_message::Message::Hello(one.hello(None))).await;
        assert_eq!(forged.end().await.code(), Code::PermissionDenied);
        // The one that it is goes on.
        let ack = Ack {
            revision: told.commit.revision,
            digest: told.commit.digest.clone(),
            epoch: told.begin.epoch.clone(),
            ..Ack::default()
        };
        talk.tell(node_message::Message::Ack(ack)).await;
        eventually("its answer counts", Duration::from_secs(5), || async {
            let own = play.shown(&json!(one.id.uuid())).await;
            (own["acknowledged_revision"] == json!(told.commit.revision)).then_some(())
        })
        .await;
    });
}
