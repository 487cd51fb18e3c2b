-- Who edits a document says which state of it was seen.
ALTER TABLE routing ADD COLUMN updated_ms BIGINT NOT NULL DEFAULT 0;
-- Whose it is; NULL: the node's.
ALTER TABLE routing ADD COLUMN tenant TEXT REFERENCES tenants (id);

CREATE INDEX routing_by_tenant ON routing (tenant, kind, id) WHERE tenant IS NOT NULL;
