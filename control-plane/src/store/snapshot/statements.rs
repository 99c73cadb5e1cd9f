//! The statements that read the catalog, two for each kind.

/// For every row, and for those with the ids `$1`.
pub(super) type Statements = (&'static str, &'static str);

/// The statement for every row, and the one for some: two, so that the second is always planned by its index.
macro_rules! statements {
    ($name:ident, $id:literal, $sql:literal) => {
        pub(super) const $name: Statements = ($sql, concat!($sql, " WHERE ", $id, " = ANY($1)"));
    };
}

statements!(ORGANIZATIONS, "id", "SELECT id, version, blocked, name FROM organizations");
statements!(ROLES, "id", "SELECT id, version, name, permissions, all_routers FROM roles");
statements!(
    USERS,
    "id",
    "SELECT id, version, blocked, expires, email, name, priority, number, role_id, organization_id FROM users"
);
statements!(
    KEYS,
    "k.id",
    "SELECT k.id, k.version, k.blocked, k.expires, k.public_id, k.name, k.number, k.user_id, k.allowed_routers,
            v.schemes, v.peppers, v.digests, v.ends
     FROM keys k LEFT JOIN LATERAL (
         SELECT array_agg(scheme ORDER BY created, digest) AS schemes,
                array_agg(pepper_version ORDER BY created, digest) AS peppers,
                array_agg(digest ORDER BY created, digest) AS digests,
                array_agg(not_after ORDER BY created, digest) AS ends
         FROM key_verifiers WHERE key_id = k.id) v ON true"
);
statements!(
    ROUTERS,
    "r.id",
    "SELECT r.*, ARRAY(SELECT n.name FROM router_names n WHERE n.router_id = r.id AND n.alias ORDER BY n.position) AS aliases
     FROM routers r"
);
statements!(ROUTER_GROUPS, "id", "SELECT id, node_groups FROM routers");
statements!(PROVIDERS, "id", "SELECT * FROM providers");
statements!(LIMITS, "id", "SELECT * FROM limits");
statements!(
    SECRETS,
    "s.id",
    "SELECT s.id, s.version, s.purpose, s.generation, s.sealed, p.id AS provider_id, p.url
     FROM secrets s JOIN providers p ON p.secret_id = s.id"
);
statements!(SETTINGS, "id", "SELECT id, version, name, value FROM settings");
