-- Messages (RFC 3428) for users who were away, until they are delivered.
-- Times are milliseconds since 1970-01-01 UTC.
CREATE TABLE messages (
    id            TEXT    NOT NULL PRIMARY KEY,
    -- Whom it is for, as in alice@example.test.
    recipient     TEXT    NOT NULL,
    from_header   TEXT    NOT NULL,
    to_header     TEXT    NOT NULL,
    content_type  TEXT    NOT NULL,
    -- In hex digits: it may be anything.
    body          TEXT    NOT NULL,
    received_ms   BIGINT  NOT NULL
);

CREATE INDEX messages_by_recipient ON messages (recipient, received_ms, id);
CREATE INDEX messages_by_time      ON messages (received_ms);
