-- What a call or a message that comes to a number is given to.
-- Times are milliseconds since 1970-01-01 UTC.
CREATE TABLE applications (
    id                      TEXT    NOT NULL PRIMARY KEY,
    tenant                  TEXT    NOT NULL REFERENCES tenants (id),
    -- For people.
    name                    TEXT    NOT NULL,
    voice_url               TEXT,
    -- GET or POST, as all methods here.
    voice_method            TEXT    NOT NULL,
    fallback_url            TEXT,
    fallback_method         TEXT    NOT NULL,
    status_callback         TEXT,
    status_callback_method  TEXT    NOT NULL,
    message_url             TEXT,
    message_method          TEXT    NOT NULL,
    created_ms              BIGINT  NOT NULL,
    updated_ms              BIGINT  NOT NULL,
    UNIQUE (tenant, name)
);
