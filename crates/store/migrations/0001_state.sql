-- The state of Skin Assist, first edition.
--
-- Conventions
--   * Every time is an integer: milliseconds since the Unix epoch, UTC.
--   * Every row belongs to a firm and goes with it (ON DELETE CASCADE), except the audit trail, which outlives the firm,
--     and the quota, which firms share.
--   * `available_at` is the one column that says when an item may be acquired: its due time while it is free, the end of
--     its lease while it is leased, NULL when it waits for nobody.
--   * `fence` is the number of the item's latest lease; it only grows. A new row starts at the floor below, which lies at
--     or above the fence of every row that was ever deleted: a lease on a deleted row fits no later row of the same name.
--   * `waited_since` is what `available_at` was when the item was last acquired: the order of a batch.
--   * `parked` is 1 while the firm is paused, and keeps the row out of the index that `acquire` reads.
--   * Small columns come first: SQLite need not follow a row's overflow pages to read them.

CREATE TABLE fence_floor (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    floor INTEGER NOT NULL
) STRICT;
INSERT INTO fence_floor (one, floor) VALUES (1, 0);

CREATE TABLE firms (
    firm         TEXT    NOT NULL PRIMARY KEY,
    -- Unique: two firms on one chart would each write a draft into it.
    url_prefix   TEXT    NOT NULL UNIQUE,
    status       TEXT    NOT NULL,
    mode         TEXT    NOT NULL,
    intended_use TEXT,
    categories   TEXT    NOT NULL,
    api_key      TEXT,
    connected_at INTEGER NOT NULL,
    photos_since INTEGER NOT NULL
) STRICT;

CREATE TABLE credentials (
    firm          TEXT    NOT NULL PRIMARY KEY REFERENCES firms (firm) ON DELETE CASCADE,
    client_id     TEXT    NOT NULL,
    -- The proof, of whichever kind the EHR takes: a secret, a password, a private key as PEM.
    client_secret TEXT    NOT NULL,
    key_id        TEXT,
    token         TEXT,
    refresh_token TEXT,
    issued_at     INTEGER,
    expires_at    INTEGER,
    refused_code  TEXT,
    refused_hint  TEXT,
    retry_at      INTEGER,
    fence         INTEGER NOT NULL,
    attempt       INTEGER NOT NULL DEFAULT 0,
    available_at  INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE cursors (
    firm   TEXT    NOT NULL PRIMARY KEY REFERENCES firms (firm) ON DELETE CASCADE,
    cursor INTEGER NOT NULL
) STRICT;

CREATE TABLE encounter_watch (
    firm          TEXT    NOT NULL REFERENCES firms (firm) ON DELETE CASCADE,
    encounter     TEXT    NOT NULL,
    patient       TEXT    NOT NULL,
    practitioner  TEXT,
    status        TEXT    NOT NULL,
    last_updated  INTEGER,
    first_seen_at INTEGER NOT NULL,
    looked_at     INTEGER,
    expires_at    INTEGER NOT NULL,
    fence         INTEGER NOT NULL,
    attempt       INTEGER NOT NULL DEFAULT 0,
    available_at  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (firm, encounter)
) STRICT;
CREATE INDEX encounter_expiry ON encounter_watch (expires_at);

CREATE TABLE document_watch (
    firm          TEXT    NOT NULL REFERENCES firms (firm) ON DELETE CASCADE,
    document      TEXT    NOT NULL,
    -- What it waits for (download, infer), or where it ended (done, retracted, dead).
    step          TEXT    NOT NULL CHECK (step IN ('download', 'infer', 'done', 'retracted', 'dead')),
    parked        INTEGER NOT NULL DEFAULT 0,
    available_at  INTEGER,
    waited_since  INTEGER,
    fence         INTEGER NOT NULL,
    attempt       INTEGER NOT NULL DEFAULT 0,
    -- Looks of the models that were begun, since it was found or replayed.
    looks         INTEGER NOT NULL DEFAULT 0,
    encounter     TEXT    NOT NULL,
    patient       TEXT    NOT NULL,
    practitioner  TEXT,
    category      TEXT    NOT NULL,
    route         TEXT    NOT NULL,
    assessment    TEXT    NOT NULL,
    attached_at   INTEGER,
    detected_at   INTEGER NOT NULL,
    photo_digest  TEXT,
    photo_bytes   INTEGER,
    downloaded_at INTEGER,
    PRIMARY KEY (firm, document),
    CHECK ((available_at IS NOT NULL) = (step IN ('download', 'infer')))
) STRICT;
CREATE INDEX document_due ON document_watch (step, available_at) WHERE parked = 0 AND available_at IS NOT NULL;
CREATE INDEX document_step ON document_watch (firm, step);
CREATE INDEX document_detected ON document_watch (detected_at);

CREATE TABLE findings (
    firm        TEXT    NOT NULL REFERENCES firms (firm) ON DELETE CASCADE,
    result_key  TEXT    NOT NULL,
    recorded_at INTEGER NOT NULL,
    findings    TEXT    NOT NULL,
    PRIMARY KEY (firm, result_key)
) STRICT;
CREATE INDEX findings_age ON findings (recorded_at);

CREATE TABLE assist_results (
    firm           TEXT    NOT NULL REFERENCES firms (firm) ON DELETE CASCADE,
    assessment     TEXT    NOT NULL,
    -- How the draft stands; `cancelled` is a result whose photo was retracted before delivery.
    delivery       TEXT    NOT NULL CHECK (delivery IN
                       ('pending', 'intended', 'delivered', 'uncertain', 'withheld', 'buried', 'cancelled')),
    delivery_at    INTEGER,
    reference      TEXT,
    reason_code    TEXT,
    reason_hint    TEXT,
    -- 1 when a photo of it was retracted: it must not become pending again.
    retracted      INTEGER NOT NULL DEFAULT 0,
    -- Which photo and when it was noticed, where the draft was posted by then; and when an operator took note.
    retracted_document TEXT,
    retracted_at       INTEGER,
    acknowledged_at    INTEGER,
    parked         INTEGER NOT NULL DEFAULT 0,
    available_at   INTEGER,
    waited_since   INTEGER,
    fence          INTEGER NOT NULL,
    attempt        INTEGER NOT NULL DEFAULT 0,
    result_key     TEXT    NOT NULL,
    assessed_at    INTEGER NOT NULL,
    top_finding    TEXT,
    subject        TEXT    NOT NULL,
    photos         TEXT    NOT NULL,
    versions       TEXT    NOT NULL,
    findings       TEXT    NOT NULL,
    note           TEXT    NOT NULL,
    PRIMARY KEY (firm, assessment),
    CHECK ((available_at IS NOT NULL) = (delivery IN ('pending', 'intended')))
) STRICT;
CREATE INDEX result_due ON assist_results (available_at) WHERE parked = 0 AND available_at IS NOT NULL;
CREATE INDEX result_delivery ON assist_results (firm, delivery);
CREATE INDEX result_uncertain ON assist_results (delivery_at) WHERE delivery = 'uncertain';
CREATE INDEX result_retracted ON assist_results (retracted_at) WHERE retracted_at IS NOT NULL AND acknowledged_at IS NULL;

CREATE TABLE dead_letters (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    firm        TEXT    NOT NULL REFERENCES firms (firm) ON DELETE CASCADE,
    kind        TEXT    NOT NULL CHECK (kind IN ('document', 'result')),
    subject     TEXT    NOT NULL,
    -- The document's step when it was given up: where a replay puts it back.
    step        TEXT,
    stage       TEXT    NOT NULL,
    reason_code TEXT    NOT NULL,
    reason_hint TEXT    NOT NULL,
    attempts    INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    UNIQUE (firm, kind, subject)
) STRICT;

-- Quotas are of API keys, which firms share.
CREATE TABLE call_grants (
    quota      TEXT    NOT NULL PRIMARY KEY,
    tokens     REAL    NOT NULL,
    at         INTEGER NOT NULL,
    held_until INTEGER NOT NULL
) STRICT;

-- Append-only, and no reference to firms: the record that a firm was removed outlives the firm.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    firm    TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;
