-- One batch, one statement, one transaction: records, their sums, the names they carry, and how far the node has come.
-- $1 records as JSON, $2 node, $3 boot, $4 seq, $5 the smallest id that is kept.
WITH batch AS MATERIALIZED (
    SELECT * FROM json_populate_recordset(NULL::usage_records, $1::json)
    -- A batch that was taken in before is tried again by id, except for what retention may have removed since.
    WHERE id >= $5
       OR NOT EXISTS (SELECT 1 FROM usage_watermarks WHERE node_id = $2 AND boot_id = $3 AND seq >= $4)
), fresh AS (
    INSERT INTO usage_records (
        id, node_id, started, latency_us, ttft_us, request_id, trace_id, endpoint, method, streamed, status, outcome,
        fault, phase, parent, key_id, key_name, user_id, user_email, organization_id, project_id, requested, router_id,
        router_name, attempts, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, estimated, cost,
        price_revision, leases, energy_kwh, carbon_kg_co2eq, config_revision, count)
    SELECT
        id, $2, started, latency_us, ttft_us, request_id, trace_id, endpoint, method, streamed, status, outcome,
        fault, phase, parent, key_id, key_name, user_id, user_email, organization_id, project_id, requested, router_id,
        router_name, attempts, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, estimated, cost,
        price_revision, leases, energy_kwh, carbon_kg_co2eq, config_revision, count
    FROM batch ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), rolled AS (
    INSERT INTO usage_rollups AS held (
        grain, bucket, organization_id, user_id, key_id, router_id, provider_id, requests, successes, prompt_tokens,
        completion_tokens, cached_tokens, reasoning_tokens, cost, latency_us, ttft_us, ttft_count, energy_kwh,
        carbon_kg_co2eq)
    SELECT
        grain,
        date_trunc(grain, started, 'UTC'),
        coalesce(organization_id, '00000000-0000-0000-0000-000000000000'),
        coalesce(user_id, '00000000-0000-0000-0000-000000000000'),
        coalesce(key_id, '00000000-0000-0000-0000-000000000000'),
        coalesce(router_id, '00000000-0000-0000-0000-000000000000'),
        coalesce((attempts -> -1 ->> 'provider_id')::uuid, '00000000-0000-0000-0000-000000000000'),
        sum(count),
        coalesce(sum(count) FILTER (WHERE status BETWEEN 200 AND 299), 0),
        coalesce(sum(prompt_tokens), 0),
        coalesce(sum(completion_tokens), 0),
        coalesce(sum(cached_tokens), 0),
        coalesce(sum(reasoning_tokens), 0),
        sum(cost),
        sum(latency_us),
        coalesce(sum(ttft_us), 0),
        count(ttft_us),
        coalesce(sum(energy_kwh), 0),
        coalesce(sum(carbon_kg_co2eq), 0)
    FROM fresh CROSS JOIN (VALUES ('minute'), ('hour'), ('day')) AS grains (grain)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
    -- The same order for everybody, so that two batches cannot wait for each other.
    ORDER BY 1, 2, 3, 4, 5, 6, 7
    ON CONFLICT (grain, bucket, organization_id, user_id, key_id, router_id, provider_id) DO UPDATE SET
        requests = held.requests + excluded.requests,
        successes = held.successes + excluded.successes,
        prompt_tokens = held.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = held.completion_tokens + excluded.completion_tokens,
        cached_tokens = held.cached_tokens + excluded.cached_tokens,
        reasoning_tokens = held.reasoning_tokens + excluded.reasoning_tokens,
        cost = held.cost + excluded.cost,
        latency_us = held.latency_us + excluded.latency_us,
        ttft_us = held.ttft_us + excluded.ttft_us,
        ttft_count = held.ttft_count + excluded.ttft_count,
        energy_kwh = held.energy_kwh + excluded.energy_kwh,
        carbon_kg_co2eq = held.carbon_kg_co2eq + excluded.carbon_kg_co2eq
), named AS (
    INSERT INTO usage_names AS held (id, name)
    SELECT DISTINCT ON (seen.id) seen.id, seen.name
    FROM fresh CROSS JOIN LATERAL (VALUES (key_id, key_name), (user_id, user_email), (router_id, router_name)) AS seen (id, name)
    WHERE seen.id IS NOT NULL
      -- Most names are known already, and an upsert would lock their rows for nothing.
      AND NOT EXISTS (SELECT 1 FROM usage_names AS known WHERE known.id = seen.id AND known.name = seen.name)
    ORDER BY seen.id, started DESC
    ON CONFLICT (id) DO UPDATE SET name = excluded.name
), marked AS (
    INSERT INTO usage_watermarks AS held (node_id, boot_id, seq) VALUES ($2, $3, $4)
    ON CONFLICT (node_id, boot_id) DO UPDATE SET seq = greatest(held.seq, excluded.seq), updated = now()
)
SELECT count(*) FROM fresh
