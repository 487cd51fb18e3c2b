-- PostgreSQL refuses a record whose places in an index are too long together: what is looked for by an index is
-- no longer than 255 octets from now on.
UPDATE cdrs SET call_id = substr(call_id, 1, 63) WHERE octet_length(call_id) > 255;
UPDATE cdrs SET from_user = substr(from_user, 1, 63) WHERE octet_length(from_user) > 255;
UPDATE cdrs SET to_user = substr(to_user, 1, 63) WHERE octet_length(to_user) > 255;
UPDATE cdrs SET origin = substr(origin, 1, 63) WHERE octet_length(origin) > 255;
UPDATE cdrs SET callee_user = substr(callee_user, 1, 63) WHERE octet_length(callee_user) > 255;

-- A tenant's search has the tenant and what is looked for: what other filters need is in the same index, so
-- that records that do not match are not read, however many of them the tenant has.
DROP INDEX cdrs_by_tenant;
CREATE INDEX cdrs_by_tenant ON cdrs (tenant, started_ms, status, trunk, origin, callee_user, from_user, to_user)
    WHERE tenant IS NOT NULL;

-- Failures are what people look for, and are few.
CREATE INDEX cdrs_by_status ON cdrs (status, started_ms);
