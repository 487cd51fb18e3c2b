-- What calls are routed by: trunks, routes, numbers, groups, blocks and limits, each as the JSON document
-- that the configuration file would have as a table.
CREATE TABLE routing (
    kind      TEXT NOT NULL,
    id        TEXT NOT NULL,
    document  TEXT NOT NULL,
    PRIMARY KEY (kind, id)
);

-- Counts the changes of what nodes keep in memory, so that each node sees that it has to read again.
CREATE TABLE revisions (
    name      TEXT   NOT NULL PRIMARY KEY,
    revision  BIGINT NOT NULL
);

INSERT INTO revisions (name, revision) VALUES ('routing', 0);
