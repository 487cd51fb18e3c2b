-- Programmable voice: whose calls are, and what there was of them, by SIDs as Twilio's are.
-- Times are milliseconds since 1970-01-01 UTC.
CREATE TABLE accounts (
    -- AC and 32 hex digits.
    sid               TEXT    NOT NULL PRIMARY KEY,
    -- NULL: the node's own.
    tenant            TEXT    REFERENCES tenants (id),
    -- For people.
    name              TEXT    NOT NULL,
    -- Not a hash: it signs webhooks.
    token             TEXT    NOT NULL,
    -- Calls that are begun by the REST API.
    calls_per_second  INTEGER NOT NULL,
    created_ms        BIGINT  NOT NULL,
    updated_ms        BIGINT  NOT NULL
);

CREATE INDEX accounts_by_tenant ON accounts (tenant);

-- What opens an account beside its token.
CREATE TABLE account_keys (
    -- SK and 32 hex digits.
    sid            TEXT    NOT NULL PRIMARY KEY,
    account        TEXT    NOT NULL REFERENCES accounts (sid) ON DELETE CASCADE,
    name           TEXT    NOT NULL,
    -- In hex digits.
    secret_sha256  TEXT    NOT NULL,
    created_ms     BIGINT  NOT NULL,
    updated_ms     BIGINT  NOT NULL
);

CREATE INDEX account_keys_by_account ON account_keys (account, sid);

CREATE TABLE voice_calls (
    -- CA and 32 hex digits.
    sid             TEXT    NOT NULL PRIMARY KEY,
    account         TEXT    NOT NULL,
    tenant          TEXT,
    -- The call that dialled it.
    parent          TEXT,
    from_party      TEXT    NOT NULL,
    to_party        TEXT    NOT NULL,
    direction       TEXT    NOT NULL,
    status          TEXT    NOT NULL,
    created_ms      BIGINT  NOT NULL,
    updated_ms      BIGINT  NOT NULL,
    -- When it was answered, or where it never is, when it began to ring.
    started_ms      BIGINT,
    ended_ms        BIGINT,
    -- From the answer on, in seconds.
    duration        BIGINT,
    queue_ms        BIGINT  NOT NULL,
    answered_by     TEXT,
    number_sid      TEXT,
    caller_name     TEXT,
    forwarded_from  TEXT,
    -- Its record in cdrs.
    cdr             TEXT,
    -- Of two states of a call that one counts which has the larger number.
    sequence        BIGINT  NOT NULL
);

CREATE INDEX voice_calls_by_account ON voice_calls (account, created_ms, sid);
CREATE INDEX voice_calls_by_parent  ON voice_calls (parent) WHERE parent IS NOT NULL;
CREATE INDEX voice_calls_by_status  ON voice_calls (account, status, created_ms);
CREATE INDEX voice_calls_by_time    ON voice_calls (created_ms);
CREATE INDEX voice_calls_by_from    ON voice_calls (from_party);
CREATE INDEX voice_calls_by_to      ON voice_calls (to_party);

CREATE TABLE voice_streams (
    -- MZ and 32 hex digits.
    sid         TEXT    NOT NULL PRIMARY KEY,
    account     TEXT    NOT NULL,
    call        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    created_ms  BIGINT  NOT NULL,
    updated_ms  BIGINT  NOT NULL,
    sequence    BIGINT  NOT NULL
);

CREATE INDEX voice_streams_by_call ON voice_streams (call);
CREATE INDEX voice_streams_by_time ON voice_streams (created_ms);

-- What there is to say of a recording beside its row in recordings, whose id are the digits of its SID. Before the
-- file is whole there is no such row yet.
CREATE TABLE voice_recordings (
    -- RE and 32 hex digits.
    sid          TEXT    NOT NULL PRIMARY KEY,
    account      TEXT    NOT NULL,
    call         TEXT    NOT NULL,
    channels     INTEGER NOT NULL,
    source       TEXT    NOT NULL,
    track        TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    started_ms   BIGINT  NOT NULL,
    duration_ms  BIGINT,
    error        INTEGER,
    created_ms   BIGINT  NOT NULL,
    updated_ms   BIGINT  NOT NULL,
    sequence     BIGINT  NOT NULL
);

CREATE INDEX voice_recordings_by_account ON voice_recordings (account, created_ms, sid);
CREATE INDEX voice_recordings_by_call    ON voice_recordings (call);
CREATE INDEX voice_recordings_by_time    ON voice_recordings (created_ms);
