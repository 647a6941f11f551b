-- The state of Skin Assist, second edition: polling by several pollers, and what polling learns. The conventions are those
-- of the first; and what is leased to pollers is a firm's watch list.

-- What a quota was used for: calls granted by kind (JSON), and calls that the EHR refused. `share` is the share of the
-- allowed rate that is used.
ALTER TABLE call_grants ADD COLUMN share   REAL    NOT NULL DEFAULT 1.0;
ALTER TABLE call_grants ADD COLUMN granted TEXT    NOT NULL DEFAULT '{}';
ALTER TABLE call_grants ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;

-- One row for each firm, made with it.
CREATE TABLE watch_lists (
    firm         TEXT    NOT NULL PRIMARY KEY REFERENCES firms (firm) ON DELETE CASCADE,
    parked       INTEGER NOT NULL DEFAULT 0,
    fence        INTEGER NOT NULL,
    attempt      INTEGER NOT NULL DEFAULT 0,
    available_at INTEGER NOT NULL DEFAULT 0,
    waited_since INTEGER
) STRICT;
CREATE INDEX watch_list_due ON watch_lists (available_at) WHERE parked = 0;
INSERT INTO watch_lists (firm, parked, fence)
    SELECT firm, status = 'paused', floor FROM firms, fence_floor;

-- Of no firm: processes that poll, each by its own account.
CREATE TABLE pollers (
    poller  TEXT    NOT NULL PRIMARY KEY,
    until   INTEGER NOT NULL,
    figures TEXT    NOT NULL
) STRICT;

-- What polling learned as of `as_of`, as JSON: of all firms together (of no firm, and without an id in it) and of each.
CREATE TABLE learned_of_all (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    as_of  INTEGER NOT NULL,
    tables TEXT    NOT NULL
) STRICT;
CREATE TABLE learned_of_firms (
    firm   TEXT    NOT NULL PRIMARY KEY REFERENCES firms (firm) ON DELETE CASCADE,
    as_of  INTEGER NOT NULL,
    counts TEXT    NOT NULL
) STRICT;

-- How far all documents of each firm have been read by searches for what changed, as photos of the firm's categories (JSON) at
-- that time, and of when the last of these searches is.
CREATE TABLE document_cursors (
    firm       TEXT    NOT NULL PRIMARY KEY REFERENCES firms (firm) ON DELETE CASCADE,
    cursor     INTEGER NOT NULL,
    looked_at  INTEGER NOT NULL,
    categories TEXT    NOT NULL
) STRICT;

-- The photos of each encounter, with the times of which a watch list tells the latest.
CREATE INDEX document_encounter ON document_watch (firm, encounter, attached_at, detected_at);
