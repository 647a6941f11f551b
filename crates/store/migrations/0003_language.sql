-- The state of Skin Assist, third edition: what language models cost. The conventions are those of the first.

-- One row for each firm and day (UTC, YYYY-MM-DD): assessments that a language model was asked about, how often it was asked,
-- tokens, and millionths of the currency of the configured prices.
CREATE TABLE language_spending (
    firm          TEXT    NOT NULL REFERENCES firms (firm) ON DELETE CASCADE,
    day           TEXT    NOT NULL,
    assessments   INTEGER NOT NULL,
    calls         INTEGER NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_micros   INTEGER NOT NULL,
    PRIMARY KEY (firm, day)
) STRICT;
