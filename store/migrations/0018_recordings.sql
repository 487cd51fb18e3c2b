-- Recordings of calls: the files are in a folder of the node that made them.
-- Times are milliseconds since 1970-01-01 UTC.
CREATE TABLE recordings (
    id          TEXT    NOT NULL PRIMARY KEY,
    -- The call's record may come later, and go earlier.
    call        TEXT    NOT NULL,
    -- Whose call it was; NULL: the node's.
    tenant      TEXT,
    started_ms  BIGINT  NOT NULL,
    ended_ms    BIGINT  NOT NULL,
    channels    INTEGER NOT NULL,
    bytes       BIGINT  NOT NULL,
    -- Who has the file: several nodes may share a database.
    node        TEXT    NOT NULL,
    -- Its name in the folder.
    file        TEXT    NOT NULL,
    -- 1 where it is to go: it is shown to nobody, and the row stays until its file is gone.
    condemned   INTEGER NOT NULL
);

CREATE INDEX recordings_by_time   ON recordings (started_ms, id);
CREATE INDEX recordings_by_tenant ON recordings (tenant, started_ms) WHERE tenant IS NOT NULL;
CREATE INDEX recordings_by_call   ON recordings (call);
CREATE INDEX recordings_condemned ON recordings (node, id) WHERE condemned = 1;
