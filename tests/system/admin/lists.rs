//! Lists of nouns: pages, order, searches.

use harness::admin::number;
use harness::run;
use serde_json::{Value, json};

use super::gateway;

#[test]
fn lists_are_paged_and_sorted() {
    run(async {
        let admin = gateway().await.admin();
        let role_id = admin.role(&[], &[]).await;
        let mut users = Vec::new();
        for _ in 0..5 {
            users.push(admin.user(role_id, None).await);
        }
        let ids = |list: Value| -> Vec<i64> { list["data"].as_array().unwrap().iter().map(number).collect() };
        let place = format!("users?role={role_id}");
        let first = admin.read(&format!("{place}&limit=2")).await;
        assert_eq!((&first["total"], &first["limit"], &first["offset"]), (&json!(5), &json!(2), &json!(0)), "{first}");
        assert_eq!(ids(first), users[..2]);
        assert_eq!(ids(admin.read(&format!("{place}&offset=4&limit=2")).await), users[4..]);
        let descending: Vec<i64> = users.iter().rev().copied().collect();
        assert_eq!(ids(admin.read(&format!("{place}&sort_by=id&sort_order=desc")).await), descending);
        assert_eq!(
            ids(admin.read(&format!("{place}&order_by=id&order_direction=desc")).await),
            descending,
            "the older words"
        );
        for bad in ["limit=0", "limit=101", "limit=x", "offset=-1", "sort_by=password", "sort_order=up"] {
            let reply = admin.get(&format!("users?{bad}")).await;
            assert!(matches!(reply.status, 400 | 422), "{bad}: {} {}", reply.status, reply.text());
        }
    });
}

#[test]
fn searches_are_literal() {
    run(async {
        let admin = gateway().await.admin();
        let role_id = admin.role(&[], &[]).await;
        admin.user(role_id, None).await;
        for needle in ["%25%25%25%25", "%5C", "%25_%25", &"x".repeat(10_000), "'%3B--"] {
            let start = std::time::Instant::now();
            let reply = admin.get(&format!("users?email={needle}")).await;
            assert!(matches!(reply.status, 200 | 400 | 414 | 422 | 431), "{}: {}", reply.status, reply.text());
            if reply.status == 200 {
                assert_eq!(reply.json()["total"], 0, "{needle} is no pattern: {}", reply.text());
            }
            assert!(start.elapsed() < std::time::Duration::from_secs(1));
        }
    });
}
