//! The keys of `dependencies`.

use crate::dialect::schema::{CALL, Key, Kind, NOT_BUILT, honoured, mapped, without_effect};

const RETRIEVAL: &str = "not built yet: retrieval";
const SEARCH: &str = "not built yet: web search";
const PARSING: &str = "not built yet: document parsing";
const SIGN_ON: &str = "not built yet: single sign-on";
const REDIS: &str = "not built yet: limits are counted in the processes themselves";
const QUEUE: &str = "not built yet: queues are part of the data plane and need no broker";

pub(super) const DEPENDENCIES: &[Key] = &[
    honoured(
        "postgres",
        Kind::Open(POSTGRES),
        "standalone starts one of its own",
        "The database of the control plane.",
    ),
    without_effect("redis", Kind::Open(REDIS_KEYS), REDIS, "Shared counters of limits."),
    without_effect("elasticsearch", Kind::Open(ELASTICSEARCH), RETRIEVAL, "Vector store."),
    without_effect("qdrant", Kind::Open(&[]), RETRIEVAL, "Vector store."),
    honoured("sentry", Kind::Open(SENTRY), "SENTRY_DSN, or none", "Reports of log lines of level error."),
    without_effect("brave", Kind::Open(BRAVE), SEARCH, "Web search."),
    without_effect("duckduckgo", Kind::Open(DUCKDUCKGO), SEARCH, "Web search."),
    without_effect("albert", Kind::Map(ALBERT), PARSING, "Parses documents."),
    without_effect("marker", Kind::Map(MARKER), PARSING, "Parses documents."),
    without_effect("celery", Kind::Map(CELERY), QUEUE, "Queues of routing tasks."),
    without_effect("proconnect", Kind::Map(PROCONNECT), SIGN_ON, "Single sign-on."),
];

const POSTGRES: &[Key] = &[
    honoured("url", Kind::Secret, "", "`postgresql://…`; a driver's name such as `+asyncpg` is dropped.").required(),
    honoured("pool_size", Kind::Integer { min: 1, max: 10_000 }, "10", "Connections of one replica."),
    mapped(
        "max_overflow",
        Kind::Integer { min: 0, max: 10_000 },
        "the pool holds at most pool_size + max_overflow",
        "Further connections under load.",
    ),
    mapped("pool_pre_ping", Kind::Bool, "connections are always checked before use", "Checks connections before use."),
    without_effect("echo", Kind::Bool, "statements are logged by the log level of `sqlx`", "Logs every statement."),
    honoured("connect_args", Kind::Open(CONNECT_ARGS), "none", "Arguments of each connection."),
];

const CONNECT_ARGS: &[Key] = &[
    honoured("server_settings", Kind::Open(SERVER_SETTINGS), "none", "Settings of each session."),
    mapped("command_timeout", CALL, "statement_timeout, the shorter of both", "After which a statement is given up."),
];

const SERVER_SETTINGS: &[Key] = &[
    honoured("statement_timeout", Kind::PostgresTime, "30s", "After which Postgres ends a statement."),
    honoured("application_name", Kind::Text, "gatewright", "How connections are called in Postgres."),
];

const REDIS_KEYS: &[Key] = &[without_effect("url", Kind::Secret, REDIS, "`redis://…`").required()];

const ELASTICSEARCH: &[Key] = &[
    without_effect("hosts", Kind::Any, RETRIEVAL, "Its nodes."),
    without_effect("basic_auth", Kind::Any, RETRIEVAL, "User and password."),
    without_effect("index_name", Kind::Text, RETRIEVAL, "Name of the index."),
    without_effect("index_language", Kind::Text, RETRIEVAL, "Language of the index."),
    without_effect("number_of_shards", Kind::Integer { min: 1, max: 10_000 }, RETRIEVAL, "Shards of the index."),
    without_effect("number_of_replicas", Kind::Integer { min: 0, max: 10_000 }, RETRIEVAL, "Replicas of the index."),
];

const SENTRY: &[Key] = &[
    honoured("dsn", Kind::Secret, "none", "Where reports go; empty: nowhere."),
    honoured("environment", Kind::Text, "none", "Shown with each report."),
    honoured("release", Kind::Text, "that of the program", "Shown with each report."),
    without_effect(
        "traces_sample_rate",
        Kind::Any,
        "spans go out over OTLP (OTEL_EXPORTER_OTLP_ENDPOINT)",
        "Share of traces.",
    ),
];

const BRAVE: &[Key] = &[
    without_effect("url", Kind::Text, SEARCH, "Address of the service."),
    without_effect("headers", Kind::Open(&[]), SEARCH, "Headers of each request.").required(),
    without_effect("timeout", CALL, SEARCH, "For one request."),
];

const DUCKDUCKGO: &[Key] = &[
    without_effect("url", Kind::Text, SEARCH, "Address of the service."),
    without_effect("headers", Kind::Open(&[]), SEARCH, "Headers of each request."),
    without_effect("timeout", CALL, SEARCH, "For one request."),
];

const ALBERT: &[Key] = &[
    without_effect("url", Kind::Text, PARSING, "Address of the service."),
    without_effect("headers", Kind::Open(&[]), PARSING, "Headers of each request."),
    without_effect("timeout", CALL, PARSING, "For one request."),
];

const MARKER: &[Key] = &[
    without_effect("url", Kind::Text, PARSING, "Address of the service."),
    without_effect("headers", Kind::Open(&[]), PARSING, "Headers of each request."),
    without_effect("timeout", CALL, PARSING, "For one request."),
];

const CELERY: &[Key] = &[
    without_effect("broker_url", Kind::Secret, QUEUE, "Broker."),
    without_effect("result_backend", Kind::Secret, QUEUE, "Store of results."),
    without_effect("timezone", Kind::Text, QUEUE, "Time zone."),
    without_effect("enable_utc", Kind::Bool, QUEUE, "Counts in UTC."),
];

const PROCONNECT: &[Key] = &[
    without_effect("client_id", Kind::Text, SIGN_ON, "Our identifier."),
    without_effect("client_secret", Kind::Secret, SIGN_ON, "Our secret."),
    without_effect("server_metadata_url", Kind::Text, SIGN_ON, "Discovery document."),
    without_effect("redirect_uri", Kind::Text, SIGN_ON, "Where users come back."),
    without_effect("scope", Kind::Text, SIGN_ON, "What is asked for."),
    without_effect("allowed_domains", Kind::Text, SIGN_ON, "Whose users may come."),
    without_effect("default_role", Kind::Text, NOT_BUILT, "Role of new users."),
];
