-- Who is told of events over HTTP, and what they have not been told yet.
-- Times are milliseconds since 1970-01-01 UTC.
CREATE TABLE webhooks (
    id          TEXT    NOT NULL PRIMARY KEY,
    url         TEXT    NOT NULL,
    -- With commas between them; empty for all.
    types       TEXT    NOT NULL,
    -- As its owner knows it: what is sent is signed with it.
    secret      TEXT    NOT NULL,
    -- 1 or 0.
    enabled     INTEGER NOT NULL,
    created_ms  BIGINT  NOT NULL,
    updated_ms  BIGINT  NOT NULL
);

CREATE TABLE webhook_deliveries (
    id          TEXT    NOT NULL PRIMARY KEY,
    -- Of one that is gone, nothing is told any more.
    webhook     TEXT    NOT NULL,
    -- Which node's: no other one sends it.
    node        TEXT    NOT NULL,
    -- JSON: the event.
    body        TEXT    NOT NULL,
    created_ms  BIGINT  NOT NULL,
    attempts    INTEGER NOT NULL,
    -- When it is to be tried; NULL: it is given up until somebody says to try it again.
    next_ms     BIGINT,
    -- What went wrong with the last attempt.
    error       TEXT    NOT NULL
);

CREATE INDEX webhook_deliveries_due  ON webhook_deliveries (node, webhook, next_ms)
    WHERE next_ms IS NOT NULL;
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (webhook, id) WHERE next_ms IS NULL;
CREATE INDEX webhook_deliveries_of   ON webhook_deliveries (webhook);
