-- The state of Skin Assist, fourth edition: assessments of several photos. The conventions are those of the first.

-- A photo may wait in a closed assessment (`gathered`): under the lease of the photo that leads it. The table is made anew, because
-- a step that no row could have is not added to a check.
CREATE TABLE document_watch_of_assessments (
    firm          TEXT    NOT NULL REFERENCES firms (firm) ON DELETE CASCADE,
    document      TEXT    NOT NULL,
    -- What it waits for (download, infer, gathered), or where it ended (done, retracted, dead).
    step          TEXT    NOT NULL CHECK (step IN ('download', 'infer', 'gathered', 'done', 'retracted', 'dead')),
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
    -- Until when further photos are waited for; NULL where it is assessed by itself.
    gathers_until INTEGER,
    -- Of a closed assessment: on the photo that leads it what it is (JSON), on the others which photo leads.
    closed        TEXT,
    lead          TEXT,
    -- 1 when it was retracted after the draft about it and others may have been posted.
    withdrawn     INTEGER NOT NULL DEFAULT 0,
    photo_digest  TEXT,
    photo_bytes   INTEGER,
    downloaded_at INTEGER,
    PRIMARY KEY (firm, document),
    CHECK ((available_at IS NOT NULL) = (step IN ('download', 'infer'))),
    CHECK (step <> 'gathered' OR lead IS NOT NULL),
    CHECK (closed IS NULL OR lead IS NULL)
) STRICT;
INSERT INTO document_watch_of_assessments (firm, document, step, parked, available_at, waited_since, fence, attempt, looks,
        encounter, patient, practitioner, category, route, assessment, attached_at, detected_at, photo_digest, photo_bytes,
        downloaded_at)
    SELECT firm, document, step, parked, available_at, waited_since, fence, attempt, looks,
        encounter, patient, practitioner, category, route, assessment, attached_at, detected_at, photo_digest, photo_bytes,
        downloaded_at
    FROM document_watch ORDER BY rowid;
DROP TABLE document_watch;
ALTER TABLE document_watch_of_assessments RENAME TO document_watch;
CREATE INDEX document_due ON document_watch (step, available_at) WHERE parked = 0 AND available_at IS NOT NULL;
CREATE INDEX document_step ON document_watch (firm, step);
CREATE INDEX document_detected ON document_watch (detected_at);
CREATE INDEX document_encounter ON document_watch (firm, encounter, attached_at, detected_at);

-- What the models saw on each photo (JSON), where there are several.
ALTER TABLE assist_results ADD COLUMN photo_findings TEXT;
