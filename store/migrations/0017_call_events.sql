-- What happened to a call that is over, as far as its record has no column for it. It goes with the record.
-- Times are milliseconds since 1970-01-01 UTC.
CREATE TABLE call_events (
    call    TEXT    NOT NULL REFERENCES cdrs (id) ON DELETE CASCADE,
    -- In the order in which they happened, from 0.
    number  INTEGER NOT NULL,
    at_ms   BIGINT  NOT NULL,
    kind    TEXT    NOT NULL,
    -- JSON.
    data    TEXT    NOT NULL,
    PRIMARY KEY (call, number)
);

-- Who somebody was transferred to is a person's, and is erased; the rest names nobody.
CREATE INDEX call_events_of_transfers ON call_events (call) WHERE kind = 'transfer';
