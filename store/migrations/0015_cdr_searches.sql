-- A tenant's search has the tenant and what is looked for: what other filters need is in the same index, so
-- that records that do not match are not read, however many of them the tenant has.
DROP INDEX cdrs_by_tenant;
CREATE INDEX cdrs_by_tenant ON cdrs (tenant, started_ms, status, trunk, origin, callee_user, from_user, to_user)
    WHERE tenant IS NOT NULL;

-- Failures are what people look for, and are few.
CREATE INDEX cdrs_by_status ON cdrs (status, started_ms);
