//! The keys of `models[]` and of their `providers[]`.

use shared::catalog::{BalanceStrategy, RouterKind};

use crate::dialect::schema::{CALL, Key, Kind, NOT_BUILT, honoured, without_effect};

pub(super) const ROUTER: &[Key] = &[
    honoured("name", Kind::Text, "", "The public name of the router.").required(),
    honoured(
        "type",
        Kind::Word(|| RouterKind::ALL.iter().map(|kind| kind.as_str()).collect()),
        "",
        "What the router serves.",
    )
    .required(),
    honoured("aliases", Kind::Texts, "none", "Other names for it."),
    honoured("owned_by", Kind::Text, "the app title", "Shown as owner in the list of models."),
    honoured(
        "load_balancing_strategy",
        Kind::Word(|| BalanceStrategy::ALL.iter().map(|strategy| strategy.as_str()).collect()),
        "shuffle",
        "How a provider is picked.",
    )
    .older(&["routing_strategy"]),
    honoured("cost_prompt_tokens", Kind::Price, "0", "Price of a million prompt tokens."),
    honoured("cost_completion_tokens", Kind::Price, "0", "Price of a million completion tokens."),
    honoured("groups", Kind::Texts, "all", "The Groups of data planes that serve it and hold its credentials."),
    honoured("providers", Kind::Maps(PROVIDER), "", "Its upstreams, at least one.").required(),
];

pub(super) const PROVIDER: &[Key] = &[
    // Checked by hand: a kind that is known elsewhere deserves another answer than a typing error.
    honoured("type", Kind::Text, "", "The dialect that the upstream speaks.").required(),
    honoured("url", Kind::Text, "that of the kind, where it has one", "Scheme, host and port; without `/v1`."),
    honoured(
        "key",
        Kind::Secret,
        "none",
        "Credential, or `env:NAME` or `file:/path` for a reference that data planes resolve.",
    ),
    honoured("model_name", Kind::Text, "", "The name that the upstream knows.").required(),
    honoured("timeout", CALL, "300", "For one attempt."),
    honoured(
        "model_carbon_footprint_zone",
        Kind::Word(|| shared::catalog::zones::all().collect()),
        "WOR",
        "Where it runs, for the carbon estimate.",
    )
    .older(&["model_hosting_zone"]),
    honoured(
        "model_carbon_footprint_total_params",
        Kind::Number { zero: false },
        "none",
        "Billions of parameters in all.",
    )
    .older(&["model_total_params"]),
    honoured(
        "model_carbon_footprint_active_params",
        Kind::Number { zero: false },
        "none",
        "Billions of parameters active for one token.",
    )
    .older(&["model_active_params"]),
    without_effect(
        "qos_metric",
        Kind::Word(|| vec!["ttft", "latency", "inflight", "performance"]),
        NOT_BUILT,
        "What quality of service looks at.",
    ),
    without_effect("qos_limit", Kind::Number { zero: true }, NOT_BUILT, "The value that it may not exceed."),
];
