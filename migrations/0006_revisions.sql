-- Looking back: from where the log is whole, in which lineage a revision was made, and how a resource stood before.

-- Every revision after this one is in the log. Of what is older only the last content of each resource is kept (and of
-- users and keys not even that), so that a difference can begin there.
ALTER TABLE catalog_head ADD COLUMN log_start bigint NOT NULL DEFAULT 0;
UPDATE catalog_head SET log_start = coalesce((SELECT min(revision) - 1 FROM changes), revision);

-- Null: not known any more.
ALTER TABLE changes ADD COLUMN epoch uuid;
CREATE INDEX changes_resource ON changes (kind, id, revision);
CREATE INDEX audit_revision ON audit (revision) WHERE revision IS NOT NULL;
