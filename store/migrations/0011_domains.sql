-- Whose users those of a SIP domain are. A domain that is not here is the tenant's 'default'.
-- Times are milliseconds since 1970-01-01 UTC.
CREATE TABLE domains (
    name        TEXT    NOT NULL PRIMARY KEY,
    tenant      TEXT    NOT NULL REFERENCES tenants (id),
    created_ms  BIGINT  NOT NULL,
    updated_ms  BIGINT  NOT NULL
);

CREATE INDEX domains_by_tenant ON domains (tenant);
