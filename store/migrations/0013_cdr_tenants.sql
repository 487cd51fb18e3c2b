-- Whose call it was, as the node found out when it was routed; NULL: the node's. Records outlast tenants, and
-- stay theirs whoever a domain or a number is given to afterwards.
ALTER TABLE cdrs ADD COLUMN tenant TEXT;

CREATE INDEX cdrs_by_tenant ON cdrs (tenant, started_ms) WHERE tenant IS NOT NULL;

-- Whose events it is told; NULL: all of the node's.
ALTER TABLE webhooks ADD COLUMN tenant TEXT REFERENCES tenants (id);

CREATE INDEX webhooks_by_tenant ON webhooks (tenant, id) WHERE tenant IS NOT NULL;
