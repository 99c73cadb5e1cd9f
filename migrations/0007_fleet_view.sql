-- The fleet as all control planes see it together. Nothing of this is part of the catalog: nothing here makes a revision.

-- Which control planes there are. What a crash of the database loses of these two is written again within seconds.
CREATE UNLOGGED TABLE control_planes (
    id      uuid PRIMARY KEY,
    build   text NOT NULL,
    started timestamptz NOT NULL,
    seen    timestamptz NOT NULL DEFAULT now(),
    -- It ended in order.
    ended   timestamptz
);

-- What each of them knows of the nodes that are, or were, connected to it.
CREATE UNLOGGED TABLE node_standings (
    node          uuid NOT NULL,
    control_plane uuid NOT NULL,
    connected     boolean NOT NULL,
    last_seen     timestamptz NOT NULL,
    standing      jsonb NOT NULL,
    PRIMARY KEY (node, control_plane)
);
CREATE INDEX node_standings_control_plane ON node_standings (control_plane);

-- What operators ask of nodes that are connected to another control plane than the one they asked.
CREATE TABLE node_orders (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node      uuid NOT NULL,
    command   jsonb NOT NULL,
    made      timestamptz NOT NULL DEFAULT now(),
    delivered timestamptz
);
CREATE INDEX node_orders_node ON node_orders (node) WHERE delivered IS NULL;

-- One row: the highest revision that may take away more than half of all routers or keys.
CREATE TABLE fleet_confirmation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch    uuid   NOT NULL,
    revision bigint NOT NULL
);
