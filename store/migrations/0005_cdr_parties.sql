-- Who called, as this node found out: the trunk's name, or the user's address (alice@example.test).
ALTER TABLE cdrs ADD COLUMN origin TEXT;
-- The user whose phone answered, or was rung last.
ALTER TABLE cdrs ADD COLUMN callee_user TEXT;

CREATE INDEX cdrs_by_origin      ON cdrs (origin, started_ms, id);
CREATE INDEX cdrs_by_callee_user ON cdrs (callee_user, started_ms, id);
