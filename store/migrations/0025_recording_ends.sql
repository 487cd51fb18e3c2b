-- Those that end first go first where there are too many.
CREATE INDEX recordings_by_end  ON recordings (node, ended_ms, id) WHERE condemned = 0;
-- Which files of a node are listed.
CREATE INDEX recordings_by_file ON recordings (node, file);
