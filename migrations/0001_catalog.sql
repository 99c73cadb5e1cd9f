-- The catalog: what operators manage. `version` counts the changes of a row (and of the rows that travel inside it). Everything lives in the schema `gatewright`, which the migrator
-- creates and sets as the search_path of each connection.

-- One row: the revision of the catalog and the lineage of this database.
CREATE TABLE catalog_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch    uuid   NOT NULL DEFAULT gen_random_uuid(),
    revision bigint NOT NULL DEFAULT 0 CHECK (revision >= 0)
);
INSERT INTO catalog_head DEFAULT VALUES;

-- The API's integer ids, one sequence for each noun so that imported numbers can be kept.
CREATE SEQUENCE organization_number;
CREATE SEQUENCE role_number;
CREATE SEQUENCE user_number;
CREATE SEQUENCE key_number;
CREATE SEQUENCE router_number;
CREATE SEQUENCE provider_number;

CREATE TABLE organizations (
    id          uuid PRIMARY KEY,
    number      bigint NOT NULL UNIQUE DEFAULT nextval('organization_number'),
    external_id text UNIQUE,
    version     bigint NOT NULL,
    name        text NOT NULL UNIQUE CHECK (name <> ''),
    blocked     boolean NOT NULL DEFAULT false,
    created     timestamptz NOT NULL DEFAULT now(),
    updated     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE roles (
    id          uuid PRIMARY KEY,
    number      bigint NOT NULL UNIQUE DEFAULT nextval('role_number'),
    external_id text UNIQUE,
    version     bigint NOT NULL,
    name        text NOT NULL UNIQUE CHECK (name <> ''),
    permissions text[] NOT NULL DEFAULT '{}',
    all_routers boolean NOT NULL DEFAULT false,
    created     timestamptz NOT NULL DEFAULT now(),
    updated     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    id              uuid PRIMARY KEY,
    number          bigint NOT NULL UNIQUE DEFAULT nextval('user_number'),
    external_id     text UNIQUE,
    version         bigint NOT NULL,
    email           text NOT NULL CHECK (email <> ''),
    name            text NOT NULL DEFAULT '',
    password        text,
    sub             text,
    iss             text,
    role_id         uuid NOT NULL REFERENCES roles ON DELETE RESTRICT,
    organization_id uuid REFERENCES organizations ON DELETE RESTRICT,
    budget          bigint CHECK (budget >= 0),
    priority        integer NOT NULL DEFAULT 0 CHECK (priority >= 0),
    blocked         boolean NOT NULL DEFAULT false,
    expires         timestamptz,
    created         timestamptz NOT NULL DEFAULT now(),
    updated         timestamptz NOT NULL DEFAULT now(),
    UNIQUE (iss, sub)
);
CREATE UNIQUE INDEX users_email ON users (lower(email));
CREATE INDEX users_role ON users (role_id);
CREATE INDEX users_organization ON users (organization_id);

CREATE TABLE routers (
    id                      uuid PRIMARY KEY,
    number                  bigint NOT NULL UNIQUE DEFAULT nextval('router_number'),
    external_id             text UNIQUE,
    version                 bigint NOT NULL,
    name                    text NOT NULL CHECK (name <> ''),
    kind                    text NOT NULL,
    -- Who made it; null is the master or the configuration file.
    user_id                 uuid REFERENCES users ON DELETE RESTRICT,
    -- Whose name it is; null is global.
    organization_id         uuid REFERENCES organizations ON DELETE RESTRICT,
    owned_by                text NOT NULL DEFAULT '',
    strategy                text NOT NULL DEFAULT 'shuffle',
    prompt_price            bigint CHECK (prompt_price >= 0),
    completion_price        bigint CHECK (completion_price >= 0),
    cached_prompt_price     bigint CHECK (cached_prompt_price >= 0),
    price_revision          bigint NOT NULL DEFAULT 0,
    max_context_length      bigint CHECK (max_context_length > 0),
    max_output_tokens       bigint CHECK (max_output_tokens > 0),
    vector_size             bigint CHECK (vector_size > 0),
    -- Null: made through the API. Otherwise the configuration file that owns it.
    owner_file              text,
    blocked                 boolean NOT NULL DEFAULT false,
    created                 timestamptz NOT NULL DEFAULT now(),
    updated                 timestamptz NOT NULL DEFAULT now()
);

-- Names and aliases share one space per owner; the router's own name is a row here too.
CREATE TABLE router_names (
    name            text NOT NULL CHECK (name <> ''),
    organization_id uuid REFERENCES organizations ON DELETE RESTRICT,
    router_id       uuid NOT NULL REFERENCES routers ON DELETE CASCADE,
    alias           boolean NOT NULL,
    position        integer NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX router_names_owned ON router_names (organization_id, name) WHERE organization_id IS NOT NULL;
CREATE UNIQUE INDEX router_names_global ON router_names (name) WHERE organization_id IS NULL;
CREATE INDEX router_names_router ON router_names (router_id);

CREATE TABLE secrets (
    id         uuid PRIMARY KEY,
    version    bigint NOT NULL,
    purpose    text NOT NULL,
    generation integer NOT NULL DEFAULT 1,
    -- AEAD envelope: key id, nonce, ciphertext. The row and what it belongs to are bound in.
    sealed     bytea NOT NULL,
    created    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE providers (
    id                   uuid PRIMARY KEY,
    number               bigint NOT NULL UNIQUE DEFAULT nextval('provider_number'),
    external_id          text UNIQUE,
    version              bigint NOT NULL,
    router_id            uuid NOT NULL REFERENCES routers ON DELETE CASCADE,
    user_id              uuid REFERENCES users ON DELETE RESTRICT,
    kind                 text NOT NULL,
    url                  text NOT NULL,
    upstream_model       text NOT NULL,
    timeout_ms           bigint NOT NULL CHECK (timeout_ms BETWEEN 1 AND 3600000),
    secret_id            uuid REFERENCES secrets ON DELETE RESTRICT,
    credential_reference text,
    carbon_zone          text NOT NULL DEFAULT 'WOR',
    total_params         double precision CHECK (total_params >= 0),
    active_params        double precision CHECK (active_params >= 0),
    weight               integer CHECK (weight > 0),
    drain_on_disconnect  boolean NOT NULL DEFAULT false,
    blocked              boolean NOT NULL DEFAULT false,
    created              timestamptz NOT NULL DEFAULT now(),
    updated              timestamptz NOT NULL DEFAULT now(),
    CHECK (secret_id IS NULL OR credential_reference IS NULL),
    UNIQUE (router_id, url, upstream_model)
);

CREATE TABLE limits (
    id               uuid PRIMARY KEY,
    version          bigint NOT NULL,
    role_id          uuid NOT NULL REFERENCES roles ON DELETE CASCADE,
    router_id        uuid NOT NULL REFERENCES routers ON DELETE CASCADE,
    unit             text NOT NULL,
    period           text NOT NULL,
    -- Null is unlimited, 0 is no access.
    amount           bigint CHECK (amount >= 0),
    mode             text NOT NULL DEFAULT 'enforce',
    on_store_failure text NOT NULL DEFAULT 'local_share',
    UNIQUE (role_id, router_id, unit, period)
);
CREATE INDEX limits_router ON limits (router_id);

CREATE TABLE keys (
    id              uuid PRIMARY KEY,
    number          bigint NOT NULL UNIQUE DEFAULT nextval('key_number'),
    external_id     text UNIQUE,
    version         bigint NOT NULL,
    public_id       text UNIQUE CHECK (public_id <> ''),
    name            text NOT NULL,
    -- What may be shown of it, such as `sk-gw-abc…wxyz`.
    masked          text NOT NULL,
    user_id         uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    -- Null: all that the user may use.
    allowed_routers uuid[],
    -- Made by a login and replaced by the next one.
    session         boolean NOT NULL DEFAULT false,
    blocked         boolean NOT NULL DEFAULT false,
    expires         timestamptz,
    created         timestamptz NOT NULL DEFAULT now(),
    updated         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX keys_user ON keys (user_id);

CREATE TABLE key_verifiers (
    key_id         uuid NOT NULL REFERENCES keys ON DELETE CASCADE,
    scheme         text NOT NULL,
    pepper_version integer NOT NULL DEFAULT 1,
    digest         bytea NOT NULL CHECK (octet_length(digest) = 32),
    not_after      timestamptz,
    created        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (key_id, scheme, digest)
);
-- Keys of other systems carry no public id and are found by their digest.
CREATE INDEX key_verifiers_digest ON key_verifiers (digest);

CREATE TABLE settings (
    id      uuid PRIMARY KEY,
    version bigint NOT NULL,
    name    text NOT NULL UNIQUE,
    value   jsonb NOT NULL
);

-- Outbox, diff and rollback source: full content of each change, secrets sealed. Pruned.
CREATE TABLE changes (
    revision bigint NOT NULL,
    kind     text NOT NULL,
    id       uuid NOT NULL,
    -- Null: deleted.
    content  jsonb,
    made     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (revision, kind, id)
);

-- Every mutation and login, redacted. Append-only.
CREATE TABLE audit (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    revision    bigint,
    actor_kind  text NOT NULL,
    actor_id    uuid,
    actor_name  text NOT NULL,
    operation   text NOT NULL,
    kind        text NOT NULL,
    subject_id  uuid,
    subject     text NOT NULL DEFAULT '',
    before      jsonb,
    after       jsonb,
    request_id  text NOT NULL DEFAULT '',
    address     text NOT NULL DEFAULT ''
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_subject ON audit (kind, subject_id);
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit table is append-only';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();

-- Which configuration files have been reconciled, and with what content.
CREATE TABLE owner_files (
    path       text PRIMARY KEY,
    digest     bytea NOT NULL,
    reconciled timestamptz NOT NULL DEFAULT now()
);

-- Answers of creates that carried an `Idempotency-Key`.
CREATE TABLE idempotency_keys (
    actor   text NOT NULL,
    key     text NOT NULL,
    request bytea NOT NULL,
    status  integer NOT NULL,
    body    bytea NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (actor, key)
);

-- What lets a data plane in before it has an identity of its own.
CREATE TABLE join_tokens (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    digest     bytea NOT NULL UNIQUE,
    node_group text NOT NULL DEFAULT 'default',
    single_use boolean NOT NULL DEFAULT false,
    used       timestamptz,
    expires    timestamptz NOT NULL,
    revoked    timestamptz,
    created    timestamptz NOT NULL DEFAULT now()
);
