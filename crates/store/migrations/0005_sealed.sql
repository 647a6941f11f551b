-- The state of Skin Assist, fifth edition: what comes from a firm's EHR is sealed with the firm's own key. The conventions are those of
-- the first, and: what `SEALED` in the program lists is text that only that key opens, the same for the same value.

-- The name of the key in the file of firm keys that this firm's rows are sealed with.
ALTER TABLE firms ADD COLUMN data_key TEXT;

-- The program seals the rows that are there, with those of the audit trail, before this edition is recorded, and puts this back.
DROP TRIGGER audit_is_not_changed;
