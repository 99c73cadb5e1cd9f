//! A catalog with many keys, put into the database directly: through the API a hundred thousand would take an hour.

use sqlx::Executor as _;

use crate::postgres::Database;

/// Adds so many keys of one user. For a database that no control plane reads yet: what is written here is no change of the
/// catalog that any log knows.
pub async fn add_keys(database: &Database, keys: u32) {
    let pool = database.pool().await;
    for statement in [
        "INSERT INTO gatewright.roles (id, version, name) VALUES ('00000000-0000-7000-8000-00000000000a', 1, 'crowd')",
        "INSERT INTO gatewright.users (id, version, email, role_id) VALUES
         ('00000000-0000-7000-8000-00000000000b', 1, 'crowd@example.test', '00000000-0000-7000-8000-00000000000a')",
    ] {
        pool.execute(statement).await.expect("somebody who has many keys");
    }
    let all = "WITH numbered AS (
             SELECT number, lpad(number::text, 12, '0') AS text,
                    ('00000000-0000-7000-8001-' || lpad(to_hex(number), 12, '0'))::uuid AS id
             FROM generate_series(1, $1) AS number
         ), made AS (
             INSERT INTO gatewright.keys (id, version, public_id, name, masked, user_id)
             SELECT id, 1, text, 'key ' || text, 'sk-gw-' || text, '00000000-0000-7000-8000-00000000000b' FROM numbered
         )
         INSERT INTO gatewright.key_verifiers (key_id, scheme, digest)
         SELECT id, 'hmac-sha256', sha256(convert_to(text, 'UTF8')) FROM numbered";
    sqlx::query(all).bind(i32::try_from(keys).expect("a number of keys")).execute(&pool).await.expect("many keys");
    pool.close().await;
}
