//! The harness does what the other tests believe it does.

use std::time::{Duration, Instant};

use harness::client::Client;
use harness::postgres::Database;
use harness::upstream::{Answer, End, Upstream};
use harness::{eventually, run};
use serde_json::json;

#[test]
fn the_upstream_speaks_and_remembers() {
    run(async {
        let upstream = Upstream::start().await;
        let client = Client::new(upstream.url()).bearer("sk-x");
        let reply = client.post("/v1/chat/completions", &json!({"model": "m"})).send().await;
        assert_eq!(reply.expect(200).json()["usage"]["total_tokens"], 14);
        let seen = upstream.only();
        assert_eq!(
            (seen.json()["model"].as_str(), seen.headers["authorization"].to_str().unwrap()),
            (Some("m"), "Bearer sk-x")
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(upstream.only().abandoned.is_none(), "a whole answer is no disconnect");

        let open = client.post("/v1/chat/completions", &json!({"stream": true})).open().await;
        let events = open.events().await;
        assert_eq!((events.len(), events.last().unwrap().as_str()), (5, "data: [DONE]"), "{events:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(upstream.seen()[1].abandoned.is_none(), "a whole stream is no disconnect");
    });
}

#[test]
fn the_upstream_dies_as_told() {
    run(async {
        let upstream = Upstream::start().await;
        let client = Client::new(upstream.url());
        upstream.says(Answer::stream(&["one", "two"], None).only(2).ending(End::Die));
        let open = client.post("/x", &json!({})).open().await;
        let error = open.collect().await.unwrap_err();
        assert!(error.contains("body"), "{error}");
        upstream.says(Answer::stream(&["one", "two"], None).only(2).ending(End::Die));
        let mut open = client.post("/x", &json!({})).open().await;
        assert!(open.event().await.unwrap().contains("one"));
        assert!(open.event().await.unwrap().contains("two"));
        assert!(open.event().await.is_none());
        upstream.says(Answer::dead());
        assert!(client.post("/x", &json!({})).try_send().await.is_err());
    });
}

#[test]
fn a_disconnect_is_seen_at_once() {
    run(async {
        let upstream = Upstream::start().await;
        let client = Client::new(upstream.url());
        upstream.says(Answer::stream(&["one", "two"], None).only(2).ending(End::Hang));
        let mut open = client.post("/x", &json!({})).open().await;
        open.event().await.unwrap();
        drop(open);
        let left = Instant::now();
        let noticed = eventually("noticed", Duration::from_secs(1), || async { upstream.only().abandoned }).await;
        assert!(noticed.saturating_duration_since(left) < Duration::from_millis(100));

        upstream.says(Answer::chat("late", 1, 1).after(Duration::from_secs(3600)));
        let waiting = tokio::spawn(client.post("/y", &json!({})).try_send());
        eventually("asked", Duration::from_secs(1), || async { (upstream.calls() == 2).then_some(()) }).await;
        waiting.abort();
        eventually("noticed", Duration::from_secs(1), || async { upstream.seen()[1].abandoned }).await;
    });
}

#[test]
fn every_test_has_a_database_of_its_own() {
    run(async {
        let (one, two) = (Database::empty().await, Database::empty().await);
        assert_ne!(one.url(), two.url());
        let pool = one.pool().await;
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(tables, 0);
    });
}
