-- Decisions that wait for a person (R24 to R29). A hold gathers all that waits for one cause; what waits
-- of whom stands in `held`. Its number is that of the ledger entry that tells of its opening.
CREATE TABLE holds (
    id        INTEGER PRIMARY KEY,
    kind      TEXT    NOT NULL,
    system    INTEGER NOT NULL,
    purpose   TEXT    NOT NULL,
    withdrawn INTEGER NOT NULL CHECK (withdrawn IN (0, 1)),
    actor     TEXT    NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER
) STRICT;

-- One open hold for each cause.
CREATE UNIQUE INDEX holds_open ON holds (kind, system, purpose, withdrawn, actor)
    WHERE closed_at IS NULL;

-- What was approved while the hold is still open for others is released and stays until it closes.
CREATE TABLE held (
    subject  INTEGER NOT NULL REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    hold     INTEGER NOT NULL REFERENCES holds (id),
    purpose  TEXT    NOT NULL,
    since    INTEGER NOT NULL,
    released INTEGER NOT NULL CHECK (released IN (0, 1)),
    PRIMARY KEY (subject, hold, purpose)
) STRICT, WITHOUT ROWID;

CREATE INDEX held_hold ON held (hold, released, subject);

-- How many flips there were in each minute, for the guard against mass changes (R26).
CREATE TABLE flip_minutes (
    system    INTEGER NOT NULL,
    purpose   TEXT    NOT NULL,
    withdrawn INTEGER NOT NULL CHECK (withdrawn IN (0, 1)),
    minute    INTEGER NOT NULL,
    flips     INTEGER NOT NULL,
    PRIMARY KEY (system, purpose, withdrawn, minute)
) STRICT, WITHOUT ROWID;

CREATE INDEX flips_cause ON flips (system, purpose, withdrawn, at);
