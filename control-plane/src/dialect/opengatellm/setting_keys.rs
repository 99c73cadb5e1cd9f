//! The keys of `settings`: OpenGateLLM's, its playground's, and our own.

use shared::catalog::{Compatibility, RouteGroup, UsageTokenizer};

use crate::dialect::schema::{CALL, Key, Kind, NOT_BUILT, honoured, mapped, without_effect};

const PLAYGROUND: &str = "not built yet: playground";
const SEARCH: &str = "not built yet: web search";
const QUEUE: &str = "not built yet: routing queues";
const BOOTSTRAP: &str = "not built yet: create the first administrator with the master key";

/// How long a phase of the end may take; none at all is fine in a test.
const DRAIN: Kind = Kind::Duration { min: 0, max: 86_400 };

pub(super) const SETTINGS: &[Key] = &[
    // How the API shows itself.
    honoured("app_title", Kind::Text, "Gatewright", "Title of the API; owner of routers that nobody owns."),
    honoured("swagger_version", Kind::Text, "that of the program", "Version shown in /openapi.json."),
    honoured("swagger_summary", Kind::Text, "none", "One line shown in /openapi.json."),
    honoured("swagger_description", Kind::Text, "none", "Markdown shown in /openapi.json."),
    honoured("swagger_terms_of_service", Kind::Text, "none", "URL shown in /openapi.json."),
    honoured("swagger_contact", Kind::Map(CONTACT), "none", "Contact shown in /openapi.json."),
    mapped("swagger_contact_url", Kind::Text, "settings.swagger_contact.url", "Older form."),
    mapped("swagger_contact_email", Kind::Text, "settings.swagger_contact.email", "Older form."),
    mapped("swagger_contact_name", Kind::Text, "settings.swagger_contact.name", "Older form."),
    honoured("swagger_license_info", Kind::Map(LICENSE), "none", "Licence shown in /openapi.json."),
    honoured(
        "swagger_openapi_url",
        Kind::Text,
        "/openapi.json",
        "Path of the document; empty: neither it nor the pages are served.",
    ),
    honoured("swagger_openapi_tags", Kind::Maps(TAG), "none", "Tags described in /openapi.json."),
    honoured("swagger_docs_url", Kind::Text, "/docs", "Path of the Swagger page; empty: not served."),
    honoured("swagger_redoc_url", Kind::Text, "/redoc", "Path of the ReDoc page; empty: not served."),
    honoured("disabled_routers", GROUPS, "none", "Route groups to switch off: their routes answer 404."),
    honoured("hidden_routers", GROUPS, "none", "Route groups to leave out of /openapi.json."),
    without_effect("front_url", Kind::Text, PLAYGROUND, "Address of the web pages."),
    // Who may come in.
    honoured(
        "auth_master_key",
        Kind::Secret,
        "master.key of the secrets directory",
        "Bootstrap and break-glass administration.",
    ),
    honoured("auth_master_username", Kind::Text, "master", "How the master is called."),
    honoured("auth_master_key_inference", Kind::Bool, "true", "Whether the master key may call inference."),
    honoured(
        "auth_key_max_expiration_days",
        Kind::Integer { min: 1, max: 36_500 },
        "none",
        "How long a new key may be valid.",
    )
    .older(&["auth_max_token_expiration_days"]),
    honoured(
        "auth_playground_session_duration",
        Kind::Integer { min: 1, max: 31_536_000 },
        "3600",
        "Seconds that a session lasts.",
    ),
    honoured("session_secret_key", Kind::Secret, "session.key of the secrets directory", "Signs sessions."),
    without_effect(
        "auth_secret_key",
        Kind::Secret,
        "not built yet: import of existing keys",
        "Signed the keys of the system before.",
    ),
    without_effect("auth_bootstrap_admin_username", Kind::Text, BOOTSTRAP, "First administrator.")
        .older(&["auth_bootsrap_admin_username"]),
    without_effect("auth_bootstrap_admin_password", Kind::Secret, BOOTSTRAP, "First administrator.")
        .older(&["auth_bootsrap_admin_password"]),
    // How requests are handled.
    honoured(
        "usage_tokenizer",
        Kind::Word(|| UsageTokenizer::ALL.iter().map(|word| word.as_str()).collect()),
        "tiktoken_gpt2",
        "Counts tokens when a provider reports none.",
    ),
    honoured(
        "compatibility",
        Kind::Word(|| Compatibility::ALL.iter().map(|word| word.as_str()).collect()),
        "opengatellm",
        "How answers are rendered.",
    ),
    without_effect(
        "rate_limiting_strategy",
        Kind::Word(|| vec!["moving_window", "fixed_window", "sliding_window"]),
        "not built yet: rate limits",
        "How fast windows count.",
    ),
    without_effect("routing_max_priority", Kind::Integer { min: 0, max: 255 }, QUEUE, "Highest priority."),
    without_effect("routing_max_retries", Kind::Integer { min: 0, max: 1000 }, QUEUE, "Attempts."),
    without_effect(
        "routing_retry_countdown",
        Kind::Integer { min: 0, max: 86_400 },
        QUEUE,
        "Seconds between attempts.",
    ),
    honoured(
        "models_ownership",
        Kind::Word(|| vec!["file", "seed"]),
        "file",
        "Whether the file owns its models or only adds what is missing.",
    ),
    without_effect("relay", Kind::Map(RELAY), NOT_BUILT, "What a data plane passes on."),
    honoured("egress", Kind::Map(EGRESS), "the system's store", "How upstreams are met."),
    without_effect("vector_store_model", Kind::Text, "not built yet: retrieval", "Embeds documents."),
    without_effect("search_web_query_model", Kind::Text, SEARCH, "Writes queries."),
    without_effect("search_web_limited_domains", Kind::Texts, SEARCH, "Only these domains."),
    without_effect("search_web_user_agent", Kind::Text, SEARCH, "How pages are fetched."),
    without_effect("search_multi_agents_synthesis_model", Kind::Text, "OpenGateLLM removed this feature", "Older key."),
    without_effect("search_multi_agents_reranker_model", Kind::Text, "OpenGateLLM removed this feature", "Older key."),
    // What is told, and where.
    honoured(
        "log_level",
        Kind::Text,
        "INFO",
        "DEBUG, INFO, WARNING, ERROR, CRITICAL, or a filter such as `info,data_plane=debug`.",
    ),
    honoured("log_format", Kind::Text, "text", "`text` or `json`; a Python format string means `text`."),
    honoured("monitoring_prometheus_enabled", Kind::Bool, "true", "Whether /metrics is served on the operations port."),
    honoured("monitoring_postgres_enabled", Kind::Bool, "true", "Whether usage is written to the database."),
    honoured("monitoring_sentry_enabled", Kind::Bool, "true", "Whether reports go to dependencies.sentry. Older key."),
    without_effect("usage_source", Kind::Text, "usage is always kept in Postgres", "Where usage is kept."),
    // Where the process listens, and how it ends; flags win over these.
    honoured("listen", Kind::Address, "127.0.0.1:8000", "The public port (`--listen` wins)."),
    honoured("operations_listen", Kind::Address, "127.0.0.1:9464", "The operations port (`--operations-listen` wins)."),
    honoured("min_drain", DRAIN, "10", "How long listeners stay open after SIGTERM."),
    honoured("drain_timeout", DRAIN, "that of the plane", "How long work in flight may take after that."),
    // Where the gateway stands; flags win over these.
    honoured("tls", Kind::Map(TLS), "plain HTTP", "HTTPS on the public port."),
    honoured("cors", Kind::Texts, "none", "Origins whose web pages may call (`*`: all of them, without cookies)."),
    honoured("path_prefix", Kind::Text, "none", "The path that everything is served below (`--path-prefix` wins)."),
    honoured(
        "trusted_proxies",
        Kind::Texts,
        "none",
        "Blocks of addresses whose X-Forwarded-For is believed (`--trusted-proxies` wins).",
    ),
    // The playground's.
    without_effect("playground_opengatellm_url", Kind::Text, PLAYGROUND, "Where the API is."),
    without_effect("playground_opengatellm_timeout", CALL, PLAYGROUND, "For one call."),
    without_effect("playground_default_model", Kind::Text, PLAYGROUND, "Selected at first."),
    without_effect("playground_disabled_pages", Kind::Texts, PLAYGROUND, "Pages to leave out."),
    without_effect("playground_theme_has_background", Kind::Bool, PLAYGROUND, "Look."),
    without_effect("playground_theme_accent_color", Kind::Text, PLAYGROUND, "Look."),
    without_effect("playground_theme_appearance", Kind::Text, PLAYGROUND, "Look."),
    without_effect("playground_theme_gray_color", Kind::Text, PLAYGROUND, "Look."),
    without_effect("playground_theme_panel_background", Kind::Text, PLAYGROUND, "Look."),
    without_effect("playground_theme_radius", Kind::Text, PLAYGROUND, "Look."),
    without_effect("playground_theme_scaling", Kind::Text, PLAYGROUND, "Look."),
];

const CONTACT: &[Key] = &[
    honoured("name", Kind::Text, "none", "Who."),
    honoured("url", Kind::Text, "none", "Where."),
    honoured("email", Kind::Text, "none", "Where."),
];

const GROUPS: Kind = Kind::Words(|| RouteGroup::ALL.iter().map(|group| group.as_str()).collect());

const TAG: &[Key] = &[
    honoured("name", Kind::Text, "none", "Which.").required(),
    honoured("description", Kind::Text, "none", "Markdown."),
    honoured("externalDocs", Kind::Map(TAG_DOCS), "none", "Where more is written."),
];

const TAG_DOCS: &[Key] =
    &[honoured("url", Kind::Text, "none", "Where.").required(), honoured("description", Kind::Text, "none", "What.")];

const EGRESS: &[Key] = &[
    honoured(
        "ca_bundle",
        Kind::Text,
        "none",
        "PEM file of certificate authorities to trust beside the system's (`--upstream-ca-bundle` wins).",
    ),
    honoured(
        "client_certificate",
        Kind::Text,
        "none",
        "PEM file shown to upstreams that ask for one (`--upstream-client-certificate` wins).",
    ),
    honoured("client_key", Kind::Text, "none", "PEM file of its private key (`--upstream-client-key` wins)."),
    without_effect(
        "allow",
        Kind::Texts,
        "not built yet: providers made by tenants",
        "Blocks of addresses that providers made by tenants may point to.",
    ),
];

const TLS: &[Key] = &[
    honoured("certificate", Kind::Text, "none", "PEM file, intermediates after it; taken anew when it changes.")
        .required(),
    honoured("key", Kind::Text, "none", "PEM file of its private key.").required(),
];

const LICENSE: &[Key] = &[
    honoured("name", Kind::Text, "none", "Its name."),
    honoured("identifier", Kind::Text, "none", "Its SPDX identifier."),
    honoured("url", Kind::Text, "none", "Its text."),
];

const RELAY: &[Key] =
    &[without_effect("control_plane", Kind::Bool, NOT_BUILT, "Management paths on the data plane's port.")];
