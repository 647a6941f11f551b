-- The state of Skin Assist, sixth edition: the audit trail as chains. The conventions are those of the first.

-- What is in it is put into chains by the program, which then drops it (store::audit::chain_earlier).
DROP TRIGGER audit_is_not_changed;
DROP TRIGGER audit_is_not_deleted;
ALTER TABLE audit RENAME TO audit_before;

-- Append-only, and no reference to firms: the record that a firm was removed outlives the firm. `number` counts from 1 in each firm's
-- chain; `hash` is of all other columns but `id`, `previous` the hash of the entry before (core::audit has the encoding).
CREATE TABLE audit (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    firm     TEXT    NOT NULL,
    number   INTEGER NOT NULL CHECK (number >= 1),
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    previous TEXT    NOT NULL,
    hash     TEXT    NOT NULL,
    UNIQUE (firm, number)
) STRICT;
-- With the row's id in it: a chain in the order in which it was written.
CREATE INDEX audit_chain ON audit (firm);

-- Up to where entries of a chain were removed after their time, with the hash of the last of them.
CREATE TABLE audit_bases (
    firm   TEXT    NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL,
    hash   TEXT    NOT NULL
) STRICT;

-- These keep mistakes and careless hands off. Who can write the file can drop them: then the chain tells.
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    WHEN NOT EXISTS (SELECT 1 FROM audit_bases WHERE firm = OLD.firm AND number >= OLD.number) BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;
-- Also against `INSERT OR REPLACE`, which deletes without asking the trigger above.
CREATE TRIGGER audit_is_appended BEFORE INSERT ON audit
    WHEN NEW.number <> 1 + max(
             coalesce((SELECT max(number) FROM audit WHERE firm = NEW.firm), 0),
             coalesce((SELECT number FROM audit_bases WHERE firm = NEW.firm), 0))
        OR EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;
CREATE TRIGGER audit_base_is_of_an_entry BEFORE INSERT ON audit_bases
    WHEN NOT EXISTS (SELECT 1 FROM audit WHERE firm = NEW.firm AND number = NEW.number AND hash = NEW.hash) BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;
CREATE TRIGGER audit_base_grows BEFORE UPDATE ON audit_bases
    WHEN NEW.firm <> OLD.firm OR NEW.number < OLD.number BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;
CREATE TRIGGER audit_base_stays BEFORE DELETE ON audit_bases BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;

-- Results by age, for retention; those that may go.
CREATE INDEX result_age ON assist_results (assessed_at) WHERE delivery IN ('delivered', 'withheld', 'cancelled');
