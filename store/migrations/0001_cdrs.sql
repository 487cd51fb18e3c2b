-- One row for each call that reached routing, written when it is over.
-- Times are milliseconds since 1970-01-01 UTC.
CREATE TABLE cdrs (
    id                     TEXT             NOT NULL PRIMARY KEY,
    call_id                TEXT             NOT NULL,
    from_uri               TEXT             NOT NULL,
    from_user              TEXT             NOT NULL,
    to_uri                 TEXT             NOT NULL,
    to_user                TEXT             NOT NULL,
    request_uri            TEXT             NOT NULL,
    source                 TEXT             NOT NULL,
    transport              TEXT             NOT NULL,
    trunk                  TEXT,
    route                  TEXT,
    started_ms             BIGINT           NOT NULL,
    ringing_ms             BIGINT,
    answered_ms            BIGINT,
    ended_ms               BIGINT           NOT NULL,
    status                 INTEGER          NOT NULL,
    reason                 TEXT             NOT NULL,
    ended_by               TEXT             NOT NULL,
    cause                  TEXT             NOT NULL,
    datapath               TEXT,
    from_caller_packets    BIGINT,
    from_caller_bytes      BIGINT,
    from_caller_lost       BIGINT,
    from_caller_jitter_ms  DOUBLE PRECISION,
    from_caller_mos        DOUBLE PRECISION,
    from_callee_packets    BIGINT,
    from_callee_bytes      BIGINT,
    from_callee_lost       BIGINT,
    from_callee_jitter_ms  DOUBLE PRECISION,
    from_callee_mos        DOUBLE PRECISION
);

-- Every list is newest first, so each filter that people use has its index end in that order.
CREATE INDEX cdrs_by_time      ON cdrs (started_ms, id);
CREATE INDEX cdrs_by_call_id   ON cdrs (call_id);
CREATE INDEX cdrs_by_from_user ON cdrs (from_user, started_ms, id);
CREATE INDEX cdrs_by_to_user   ON cdrs (to_user, started_ms, id);
CREATE INDEX cdrs_by_trunk     ON cdrs (trunk, started_ms, id);
