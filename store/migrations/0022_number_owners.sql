-- Whom a number leads to: the account that its document names, else the application, by name or id.
ALTER TABLE routing ADD COLUMN owner TEXT;

CREATE INDEX routing_by_owner ON routing (owner, id) WHERE owner IS NOT NULL;
CREATE INDEX applications_by_name ON applications (name);

-- 1 once it is known of the numbers that were there before.
INSERT INTO revisions (name, revision) VALUES ('number_owners', 0);
