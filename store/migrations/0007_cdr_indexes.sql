-- A record costs as much as its places in the indexes: each is a page to change, mostly another one
-- for each record. So they hold no more than they must. Without the id at the end they are half as
-- large; the few calls of one millisecond are put in order when they are read. What a record does
-- not have needs no place.
DROP INDEX cdrs_by_time;
DROP INDEX cdrs_by_from_user;
DROP INDEX cdrs_by_to_user;
DROP INDEX cdrs_by_trunk;
DROP INDEX cdrs_by_origin;
DROP INDEX cdrs_by_callee_user;

CREATE INDEX cdrs_by_time        ON cdrs (started_ms);
CREATE INDEX cdrs_by_from_user   ON cdrs (from_user, started_ms);
CREATE INDEX cdrs_by_to_user     ON cdrs (to_user, started_ms);
CREATE INDEX cdrs_by_trunk       ON cdrs (trunk, started_ms)       WHERE trunk IS NOT NULL;
CREATE INDEX cdrs_by_origin      ON cdrs (origin, started_ms)      WHERE origin IS NOT NULL;
CREATE INDEX cdrs_by_callee_user ON cdrs (callee_user, started_ms) WHERE callee_user IS NOT NULL;
