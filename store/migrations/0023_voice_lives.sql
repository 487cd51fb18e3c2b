-- Until when each node is known to have lived that has programmable calls: what it has left behind was over then.
-- 'node' is what the rows of calls, streams, recordings and messages name, and 'name' is for people.
CREATE TABLE voice_nodes (
    node     TEXT   NOT NULL PRIMARY KEY,
    name     TEXT   NOT NULL,
    lived_ms BIGINT NOT NULL
);
