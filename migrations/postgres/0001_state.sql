-- The state store. Times are UTC microseconds; packed columns are JSON text, stored byte for byte.
-- Keys that are texts are compared byte by byte, as in SQLite.

-- The one row that every transaction locks first, so that several daemons take turns.
CREATE TABLE counters (
    only_row      SMALLINT PRIMARY KEY CHECK (only_row = 1),
    next_subject  BIGINT NOT NULL,
    next_sequence BIGINT NOT NULL
);

INSERT INTO counters (only_row, next_subject, next_sequence) VALUES (1, 1, 1);

-- Written to prove that the store can be written; apart, so that it waits for no transaction.
CREATE TABLE probes (
    only_row  SMALLINT PRIMARY KEY CHECK (only_row = 1),
    probed_at BIGINT NOT NULL
);

INSERT INTO probes (only_row, probed_at) VALUES (1, 0);

-- A system's number, where its feed stands, and counts of its live contacts, kept by every
-- transaction that changes contacts.
CREATE TABLE systems (
    id          SMALLINT PRIMARY KEY CHECK (id > 0),
    name        TEXT COLLATE "C" NOT NULL UNIQUE,
    cursor      TEXT,
    drained     BIGINT,
    polled_at   BIGINT,
    loaded      BOOLEAN NOT NULL DEFAULT FALSE,
    paused      BOOLEAN NOT NULL DEFAULT FALSE,
    halted      TEXT,
    switched_at BIGINT,
    live        BIGINT NOT NULL DEFAULT 0,
    unmatched   BIGINT NOT NULL DEFAULT 0
);

-- The only table that holds addresses (R55).
CREATE TABLE subjects (
    id         BIGINT PRIMARY KEY,
    ref        BYTEA NOT NULL CHECK (length(ref) = 16),
    address    TEXT NOT NULL,
    verdicts   TEXT NOT NULL,
    remembered TEXT NOT NULL,
    findings   TEXT NOT NULL
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX subjects_ref ON subjects (ref);
CREATE INDEX subjects_findings ON subjects (id) WHERE findings <> '';

-- Contacts are stored while the verdicts of their subjects, and so these rows, are still worked out.
CREATE TABLE contacts (
    system      SMALLINT NOT NULL REFERENCES systems (id),
    external    TEXT COLLATE "C" NOT NULL,
    subject     BIGINT REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    own_subject BIGINT,
    link        TEXT COLLATE "C",
    created     BIGINT,
    modified    BIGINT,
    read_at     BIGINT,
    life        SMALLINT NOT NULL CHECK (life IN (0, 1, 2)),
    merged_into TEXT,
    written_seq BIGINT NOT NULL,
    record      TEXT NOT NULL,
    PRIMARY KEY (system, external)
) WITH (fillfactor = 80);

CREATE INDEX contacts_subject ON contacts (subject);
CREATE INDEX contacts_link ON contacts (link) WHERE link IS NOT NULL;

-- At most one live write per contact and lane (R32).
CREATE TABLE outbox (
    system        SMALLINT NOT NULL,
    external      TEXT COLLATE "C" NOT NULL,
    lane          SMALLINT NOT NULL CHECK (lane IN (0, 1)),
    subject       BIGINT NOT NULL REFERENCES subjects (id),
    version       BIGINT NOT NULL,
    changes       TEXT NOT NULL,
    state         SMALLINT NOT NULL CHECK (state IN (0, 1, 2, 3, 4)),
    in_flight     TEXT NOT NULL,
    decided_at    BIGINT NOT NULL,
    not_before    BIGINT NOT NULL,
    attempts      INTEGER NOT NULL,
    claimed_until BIGINT NOT NULL,
    last_error    TEXT,
    PRIMARY KEY (system, external, lane),
    FOREIGN KEY (system, external) REFERENCES contacts (system, external)
);

-- In the order of claiming: withdrawals first, then by age (R34). The two times let a claim, the
-- next due instant and the figures be read from the index alone.
CREATE INDEX outbox_queue
    ON outbox (system, state, lane, decided_at, external, not_before, claimed_until);

-- Grants of one actor in one minute (R25), and the contacts they were given to.
CREATE TABLE loads (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system   SMALLINT NOT NULL,
    actor    TEXT COLLATE "C" NOT NULL,
    minute   BIGINT NOT NULL,
    contacts BIGINT NOT NULL
);

CREATE UNIQUE INDEX loads_key ON loads (system, minute, actor);

CREATE TABLE load_members (
    load     BIGINT NOT NULL,
    external TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (load, external)
);

-- Changes of status, for the guards (R26, R28).
CREATE TABLE flips (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject   BIGINT NOT NULL,
    purpose   TEXT COLLATE "C" NOT NULL,
    withdrawn BOOLEAN NOT NULL,
    system    SMALLINT NOT NULL,
    at        BIGINT NOT NULL
);

CREATE INDEX flips_subject ON flips (subject, at);

-- Records that could not be understood (R40).
CREATE TABLE quarantine (
    system   SMALLINT NOT NULL REFERENCES systems (id),
    external TEXT COLLATE "C" NOT NULL,
    reason   TEXT NOT NULL,
    raw      BYTEA NOT NULL,
    seen_at  BIGINT NOT NULL
);

CREATE UNIQUE INDEX quarantine_key ON quarantine (system, external);

-- Append-only, numbered from 1 without gaps (R52); one block a transaction, with all its entries in
-- one value; each digest covers the block before it. It names subjects by number and keyed hash only.
-- `newest_subject` is the highest number given to a subject in the same transaction, if there is any:
-- the first entries of a subject are in the first block whose number is not lower than its own.
-- `marks` are four bytes of a digest of `entries`, and four of each entry's: they tell where an
-- alteration is.
CREATE TABLE ledger_blocks (
    last           BIGINT PRIMARY KEY,
    first          BIGINT NOT NULL,
    digest         BYTEA  NOT NULL CHECK (length(digest) = 32),
    at             BIGINT NOT NULL,
    newest_subject BIGINT,
    entries        BYTEA  NOT NULL,
    marks          BYTEA  NOT NULL
);

-- They are compressed already, or cannot be.
ALTER TABLE ledger_blocks ALTER COLUMN entries SET STORAGE EXTERNAL;
ALTER TABLE ledger_blocks ALTER COLUMN marks SET STORAGE EXTERNAL;

CREATE INDEX ledger_blocks_subject ON ledger_blocks (newest_subject)
    WHERE newest_subject IS NOT NULL;

-- The further blocks that hold entries about a subject.
CREATE TABLE ledger_subjects (
    subject BIGINT NOT NULL,
    block   BIGINT NOT NULL REFERENCES ledger_blocks (last),
    PRIMARY KEY (subject, block)
);
