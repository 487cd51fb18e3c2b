-- People who sign in to the API with a name and a password.
-- Times are milliseconds since 1970-01-01 UTC.
CREATE TABLE operators (
    -- In lower case.
    name        TEXT    NOT NULL PRIMARY KEY,
    -- NULL: the whole node's.
    tenant      TEXT    REFERENCES tenants (id),
    role        TEXT    NOT NULL,
    -- argon2id, as a PHC string.
    password    TEXT    NOT NULL,
    -- 1 or 0.
    disabled    INTEGER NOT NULL,
    created_ms  BIGINT  NOT NULL,
    updated_ms  BIGINT  NOT NULL
);

CREATE INDEX operators_by_tenant ON operators (tenant);

-- Who signed in for a key, and when that operator had been changed last: after another change it opens
-- nothing. NULL: a key of its own.
ALTER TABLE api_keys ADD COLUMN operator TEXT;
ALTER TABLE api_keys ADD COLUMN operator_ms BIGINT;

CREATE INDEX api_keys_by_operator ON api_keys (operator) WHERE operator IS NOT NULL;
