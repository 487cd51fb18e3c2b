-- Messages of applications and of the REST API, by SIDs as Twilio's are.
-- Times are milliseconds since 1970-01-01 UTC.
CREATE TABLE voice_messages (
    -- SM and 32 hex digits.
    sid         TEXT    NOT NULL PRIMARY KEY,
    account     TEXT    NOT NULL,
    tenant      TEXT,
    from_party  TEXT    NOT NULL,
    to_party    TEXT    NOT NULL,
    -- Empty once it is redacted.
    body        TEXT    NOT NULL,
    segments    INTEGER NOT NULL,
    direction   TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    -- Of Twilio's dictionary, where it was not delivered.
    error       INTEGER,
    created_ms  BIGINT  NOT NULL,
    updated_ms  BIGINT  NOT NULL,
    -- When it went out, or came in.
    sent_ms     BIGINT,
    -- Of two states of a message that one counts which has the larger number.
    sequence    BIGINT  NOT NULL
);

CREATE INDEX voice_messages_by_account ON voice_messages (account, created_ms, sid);
CREATE INDEX voice_messages_by_time    ON voice_messages (created_ms);
CREATE INDEX voice_messages_by_from    ON voice_messages (from_party);
CREATE INDEX voice_messages_by_to      ON voice_messages (to_party);
