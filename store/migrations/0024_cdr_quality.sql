-- What was measured of each direction, beside what was there. NULL in records that an older Tandem wrote.
ALTER TABLE cdrs ADD COLUMN from_caller_rtt_ms DOUBLE PRECISION;
ALTER TABLE cdrs ADD COLUMN from_caller_burst_ratio DOUBLE PRECISION;
ALTER TABLE cdrs ADD COLUMN from_caller_late BIGINT;
ALTER TABLE cdrs ADD COLUMN from_caller_longest_gap_ms BIGINT;
ALTER TABLE cdrs ADD COLUMN from_caller_duplicates BIGINT;
ALTER TABLE cdrs ADD COLUMN from_caller_reordered BIGINT;
ALTER TABLE cdrs ADD COLUMN from_caller_sources BIGINT;
ALTER TABLE cdrs ADD COLUMN from_callee_rtt_ms DOUBLE PRECISION;
ALTER TABLE cdrs ADD COLUMN from_callee_burst_ratio DOUBLE PRECISION;
ALTER TABLE cdrs ADD COLUMN from_callee_late BIGINT;
ALTER TABLE cdrs ADD COLUMN from_callee_longest_gap_ms BIGINT;
ALTER TABLE cdrs ADD COLUMN from_callee_duplicates BIGINT;
ALTER TABLE cdrs ADD COLUMN from_callee_reordered BIGINT;
ALTER TABLE cdrs ADD COLUMN from_callee_sources BIGINT;
