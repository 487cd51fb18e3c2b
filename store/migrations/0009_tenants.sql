-- Who shares a node without seeing each other, and who may do what through the API.
-- Times are milliseconds since 1970-01-01 UTC.
CREATE TABLE tenants (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    created_ms  BIGINT  NOT NULL,
    updated_ms  BIGINT  NOT NULL
);

-- Whose everything is where nobody says otherwise.
INSERT INTO tenants (id, name, created_ms, updated_ms) VALUES ('default', 'Default', 0, 0);

CREATE TABLE api_keys (
    id             TEXT    NOT NULL PRIMARY KEY,
    -- NULL: the whole node's.
    tenant         TEXT    REFERENCES tenants (id),
    name           TEXT    NOT NULL,
    role           TEXT    NOT NULL,
    -- In hex digits. A secret is 192 random bits: there is nothing to guess that a slow hash would protect.
    secret_sha256  TEXT    NOT NULL,
    created_ms     BIGINT  NOT NULL,
    expires_ms     BIGINT
);

CREATE INDEX api_keys_by_tenant ON api_keys (tenant);

-- What was changed, by whom.
CREATE TABLE audit (
    id          TEXT    NOT NULL PRIMARY KEY,
    time_ms     BIGINT  NOT NULL,
    -- Whose thing it was; NULL: the node's.
    tenant      TEXT,
    actor       TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    target      TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    request_id  TEXT    NOT NULL,
    -- JSON: what was changed, without secrets.
    detail      TEXT    NOT NULL
);

CREATE INDEX audit_by_time   ON audit (time_ms);
CREATE INDEX audit_by_tenant ON audit (tenant, time_ms) WHERE tenant IS NOT NULL;

-- POSTs that a client may send again (Idempotency-Key), for a day.
CREATE TABLE idempotency (
    owner       TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    -- Of method, path and body.
    request     TEXT    NOT NULL,
    -- NULL while it is being answered.
    status      INTEGER,
    answer      TEXT,
    created_ms  BIGINT  NOT NULL,
    PRIMARY KEY (owner, name)
);

CREATE INDEX idempotency_by_time ON idempotency (created_ms);
