-- Who may speak for a data plane: the authority that issues certificates, and the nodes that it issued them to.

-- One row: made at the first start, its key sealed by the key ring.
CREATE TABLE node_authority (
    only_one    boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    certificate bytea NOT NULL,
    sealed_key  bytea NOT NULL,
    created     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE nodes (
    id         uuid PRIMARY KEY,
    node_group text NOT NULL,
    -- Host name, build and what else the node says of itself.
    facts      jsonb NOT NULL DEFAULT '{}',
    -- Of the certificate that it was issued last.
    serial     bytea NOT NULL,
    not_after  timestamptz NOT NULL,
    -- The token that it enrolled with, and the digest of the key it had then: an answer that was lost is given again.
    join_token uuid,
    first_key  bytea,
    enrolled   timestamptz NOT NULL DEFAULT now(),
    renewed    timestamptz,
    last_seen  timestamptz NOT NULL DEFAULT now(),
    revoked    timestamptz
);

CREATE INDEX nodes_revoked ON nodes (revoked) WHERE revoked IS NOT NULL;
