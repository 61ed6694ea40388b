-- Decisions that wait for a person (R24 to R29). A hold gathers all that waits for one cause; what waits
-- of whom stands in `held`. Its number is that of the ledger entry that tells of its opening.
CREATE TABLE holds (
    id        BIGINT   PRIMARY KEY,
    kind      TEXT COLLATE "C" NOT NULL,
    system    SMALLINT NOT NULL,
    purpose   TEXT COLLATE "C" NOT NULL,
    withdrawn BOOLEAN  NOT NULL,
    actor     TEXT COLLATE "C" NOT NULL,
    opened_at BIGINT   NOT NULL,
    closed_at BIGINT
);

-- One open hold for each cause.
CREATE UNIQUE INDEX holds_open ON holds (kind, system, purpose, withdrawn, actor)
    WHERE closed_at IS NULL;

-- What was approved while the hold is still open for others is released and stays until it closes.
CREATE TABLE held (
    subject  BIGINT  NOT NULL REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    hold     BIGINT  NOT NULL REFERENCES holds (id),
    purpose  TEXT COLLATE "C" NOT NULL,
    since    BIGINT  NOT NULL,
    released BOOLEAN NOT NULL,
    PRIMARY KEY (subject, hold, purpose)
);

CREATE INDEX held_hold ON held (hold, released, subject);

-- How many flips there were in each minute, for the guard against mass changes (R26).
CREATE TABLE flip_minutes (
    system    SMALLINT NOT NULL,
    purpose   TEXT COLLATE "C" NOT NULL,
    withdrawn BOOLEAN  NOT NULL,
    minute    BIGINT   NOT NULL,
    flips     BIGINT   NOT NULL,
    PRIMARY KEY (system, purpose, withdrawn, minute)
);

CREATE INDEX flips_cause ON flips (system, purpose, withdrawn, at);
