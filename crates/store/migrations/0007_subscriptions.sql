-- The state of Skin Assist, seventh edition: events of charts, and who is told of them. The conventions are those of the first.

-- The number of the firm's latest event.
ALTER TABLE firms ADD COLUMN events INTEGER NOT NULL DEFAULT 0;

-- What happened, written by the transition that made it happen. `focus` and `context` name resources of the EHR and are sealed.
CREATE TABLE events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    firm    TEXT    NOT NULL REFERENCES firms (firm) ON DELETE CASCADE,
    number  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    focus   TEXT    NOT NULL,
    context TEXT    NOT NULL,
    UNIQUE (firm, number)
) STRICT;
CREATE INDEX event_age ON events (at);

-- Of no firm: who made one sees all of them. `firms` and `kinds` are lists (JSON), empty for all. `events` is the number of the latest
-- notification. `available_at` is NULL while nothing is to be sent: with status `error` and `off`.
CREATE TABLE subscriptions (
    subscription      TEXT    NOT NULL PRIMARY KEY,
    status            TEXT    NOT NULL CHECK (status IN ('requested', 'active', 'error', 'off')),
    available_at      INTEGER,
    fence             INTEGER NOT NULL,
    attempt           INTEGER NOT NULL DEFAULT 0,
    events            INTEGER NOT NULL DEFAULT 0,
    format            TEXT    NOT NULL,
    firms             TEXT    NOT NULL,
    kinds             TEXT    NOT NULL,
    heartbeat_seconds INTEGER NOT NULL,
    created_at        INTEGER NOT NULL,
    answered_at       INTEGER,
    failing_since     INTEGER,
    reason_code       TEXT,
    reason_hint       TEXT,
    token_digest      TEXT    NOT NULL,
    signing_key       TEXT    NOT NULL,
    endpoint          TEXT    NOT NULL,
    CHECK ((available_at IS NOT NULL) = (status IN ('requested', 'active')))
) STRICT;

-- An event as a subscription numbers it; goes with the event when its time has come.
CREATE TABLE notifications (
    subscription TEXT    NOT NULL REFERENCES subscriptions (subscription) ON DELETE CASCADE,
    number       INTEGER NOT NULL,
    event        INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    state        TEXT    NOT NULL CHECK (state IN ('waiting', 'told', 'given-up')),
    given_up_at  INTEGER,
    reason_code  TEXT,
    reason_hint  TEXT,
    PRIMARY KEY (subscription, number)
) STRICT;
CREATE INDEX notification_waiting ON notifications (subscription, number) WHERE state = 'waiting';
CREATE INDEX notification_given_up ON notifications (given_up_at) WHERE state = 'given-up';
CREATE INDEX notification_event ON notifications (event);
