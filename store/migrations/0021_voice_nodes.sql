-- Which node has a programmable call and what is of it: what a node has left behind it ends at its next start.
-- NULL: the API has written the row, and no node yet.
ALTER TABLE voice_calls      ADD COLUMN node TEXT;
ALTER TABLE voice_streams    ADD COLUMN node TEXT;
ALTER TABLE voice_recordings ADD COLUMN node TEXT;
ALTER TABLE voice_messages   ADD COLUMN node TEXT;

-- Of what is under way alone.
CREATE INDEX voice_calls_under_way      ON voice_calls (node)      WHERE ended_ms IS NULL;
CREATE INDEX voice_streams_under_way    ON voice_streams (node)    WHERE status = 'in-progress';
CREATE INDEX voice_recordings_under_way ON voice_recordings (node) WHERE status NOT IN ('completed', 'absent');
CREATE INDEX voice_messages_under_way   ON voice_messages (node)   WHERE status IN ('queued', 'sending');
