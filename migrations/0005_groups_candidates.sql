-- Which data planes are told what: routers of some Groups alone, and staged changes for nodes with certain labels.

-- Empty: every Group.
ALTER TABLE routers ADD COLUMN node_groups text[] NOT NULL DEFAULT '{}';

CREATE SEQUENCE candidate_number;
-- Versions of candidates, apart from those of the rows: a bit above all of them is set in each.
CREATE SEQUENCE candidate_version;

-- A change that only some nodes are told, until it is promoted or withdrawn.
CREATE TABLE candidates (
    id       uuid PRIMARY KEY,
    number   bigint NOT NULL UNIQUE DEFAULT nextval('candidate_number'),
    version  bigint NOT NULL,
    -- What a node's labels must hold.
    labels   jsonb NOT NULL,
    -- What was asked for, as it may be shown: without credentials.
    changes  jsonb NOT NULL,
    -- The revision that published it, or its present selector.
    revision bigint NOT NULL,
    author   text NOT NULL,
    created  timestamptz NOT NULL DEFAULT now(),
    updated  timestamptz NOT NULL DEFAULT now()
);

-- The rows as they will be; each row is part of one candidate at most.
CREATE TABLE candidate_resources (
    candidate_id uuid NOT NULL REFERENCES candidates ON DELETE CASCADE,
    kind         text NOT NULL,
    id           uuid NOT NULL,
    -- Of the row when it was staged; null: there was none.
    base_version bigint,
    -- What nodes are told as its version.
    version      bigint NOT NULL,
    -- As in the table `changes`; null: the row will be gone.
    content      jsonb,
    PRIMARY KEY (kind, id)
);
CREATE INDEX candidate_resources_candidate ON candidate_resources (candidate_id);
