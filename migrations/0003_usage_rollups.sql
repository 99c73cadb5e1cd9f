-- Sums of the ledger, kept in the transaction that takes a batch in; they outlive the records.

CREATE TABLE usage_rollups (
    grain             text NOT NULL CHECK (grain IN ('minute', 'hour', 'day')),
    -- Start of the minute, hour or day (UTC) in which the call was admitted.
    bucket            timestamptz NOT NULL,
    -- The nil id stands for none, so that all of them can be part of the key.
    organization_id   uuid NOT NULL,
    user_id           uuid NOT NULL,
    key_id            uuid NOT NULL,
    router_id         uuid NOT NULL,
    -- The provider of the last attempt.
    provider_id       uuid NOT NULL,
    requests          bigint NOT NULL,
    -- Those answered with a status of 2xx.
    successes         bigint NOT NULL,
    prompt_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cached_tokens     bigint NOT NULL,
    reasoning_tokens  bigint NOT NULL,
    -- Billionths; wider than one record's, because it sums.
    cost              numeric(30, 0) NOT NULL,
    latency_us        bigint NOT NULL,
    ttft_us           bigint NOT NULL,
    -- How many calls had a first token.
    ttft_count        bigint NOT NULL,
    energy_kwh        double precision NOT NULL,
    carbon_kg_co2eq   double precision NOT NULL,
    PRIMARY KEY (grain, bucket, organization_id, user_id, key_id, router_id, provider_id)
) PARTITION BY LIST (grain);
CREATE TABLE usage_rollups_minute PARTITION OF usage_rollups FOR VALUES IN ('minute');
CREATE TABLE usage_rollups_hour PARTITION OF usage_rollups FOR VALUES IN ('hour');
CREATE TABLE usage_rollups_day PARTITION OF usage_rollups FOR VALUES IN ('day');

-- The last name under which something was metered, for sums over what is gone from the catalog.
CREATE TABLE usage_names (
    id   uuid PRIMARY KEY,
    name text NOT NULL
);

CREATE INDEX usage_records_key ON usage_records (key_id, started DESC);
