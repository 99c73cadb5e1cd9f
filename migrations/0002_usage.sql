-- The ledger of metered work. No foreign keys: records outlive what they name.

CREATE TABLE usage_records (
    id                  uuid NOT NULL,
    node_id             uuid NOT NULL,
    started             timestamptz NOT NULL,
    latency_us          bigint NOT NULL CHECK (latency_us >= 0),
    ttft_us             bigint CHECK (ttft_us >= 0),
    request_id          text NOT NULL,
    trace_id            text NOT NULL,
    endpoint            text NOT NULL,
    method              text NOT NULL,
    streamed            boolean NOT NULL,
    status              integer NOT NULL,
    outcome             text NOT NULL,
    fault               text,
    phase               text NOT NULL,
    parent              uuid,
    key_id              uuid,
    key_name            text NOT NULL,
    user_id             uuid,
    user_email          text NOT NULL,
    organization_id     uuid,
    project_id          uuid,
    requested           text NOT NULL,
    router_id           uuid,
    router_name         text NOT NULL,
    attempts            jsonb NOT NULL,
    prompt_tokens       bigint CHECK (prompt_tokens >= 0),
    completion_tokens   bigint CHECK (completion_tokens >= 0),
    cached_tokens       bigint CHECK (cached_tokens >= 0),
    reasoning_tokens    bigint CHECK (reasoning_tokens >= 0),
    estimated           boolean NOT NULL,
    cost                bigint NOT NULL CHECK (cost >= 0),
    price_revision      bigint NOT NULL,
    leases              jsonb NOT NULL DEFAULT '[]',
    energy_kwh          double precision,
    carbon_kg_co2eq     double precision,
    config_revision     bigint NOT NULL,
    count               bigint NOT NULL DEFAULT 1 CHECK (count > 0),
    received            timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

-- Ids are UUID v7, so a range of ids is a range of time; months are cut out of this one as they come.
CREATE TABLE usage_records_default PARTITION OF usage_records DEFAULT;

CREATE INDEX usage_records_user ON usage_records (user_id, started DESC);
CREATE INDEX usage_records_started ON usage_records (started DESC);

-- The second guard against counting twice: how far each boot of each node has been taken in.
CREATE TABLE usage_watermarks (
    node_id uuid NOT NULL,
    boot_id uuid NOT NULL,
    seq     bigint NOT NULL,
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node_id, boot_id)
);
