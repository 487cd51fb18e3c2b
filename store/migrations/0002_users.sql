-- Who may register, call and be called. Passwords are kept only as HA1, the hash of
-- name:domain:password that each digest algorithm has; NULL where it is not known.
CREATE TABLE users (
    domain        TEXT     NOT NULL,
    name          TEXT     NOT NULL,
    ha1_md5       TEXT,
    ha1_sha256    TEXT,
    ha1_sha512    TEXT,
    display       TEXT,
    enabled       INTEGER  NOT NULL,
    -- A JSON document: forwards, limits and the like.
    profile       TEXT     NOT NULL,
    created_ms    BIGINT   NOT NULL,
    updated_ms    BIGINT   NOT NULL,
    PRIMARY KEY (domain, name)
);

-- What is registered, by node; written behind the memory that each node works with, and read when
-- it starts.
CREATE TABLE bindings (
    node          TEXT     NOT NULL,
    domain        TEXT     NOT NULL,
    name          TEXT     NOT NULL,
    position      INTEGER  NOT NULL,
    contact       TEXT     NOT NULL,
    call_id       TEXT     NOT NULL,
    cseq          BIGINT   NOT NULL,
    q             INTEGER,
    path          TEXT     NOT NULL,
    instance      TEXT,
    reg_id        BIGINT,
    user_agent    TEXT     NOT NULL,
    transport     TEXT     NOT NULL,
    local         TEXT     NOT NULL,
    remote        TEXT     NOT NULL,
    renewed_ms    BIGINT   NOT NULL,
    expires_ms    BIGINT   NOT NULL,
    PRIMARY KEY (node, domain, name, position)
);

CREATE INDEX bindings_by_expiry ON bindings (expires_ms);
