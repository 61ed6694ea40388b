-- The state store. Times are UTC microseconds; packed columns are JSON text, stored byte for byte.

-- The one row that every transaction reads first.
CREATE TABLE counters (
    only_row      INTEGER PRIMARY KEY CHECK (only_row = 1),
    next_subject  INTEGER NOT NULL,
    next_sequence INTEGER NOT NULL,
    probed_at     INTEGER NOT NULL
) STRICT;

INSERT INTO counters (only_row, next_subject, next_sequence, probed_at) VALUES (1, 1, 1, 0);

-- A system's number, where its feed stands, and counts of its live contacts, kept by every
-- transaction that changes contacts.
CREATE TABLE systems (
    id          INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 32767),
    name        TEXT    NOT NULL UNIQUE,
    cursor      TEXT,
    drained     INTEGER,
    polled_at   INTEGER,
    loaded      INTEGER NOT NULL DEFAULT 0 CHECK (loaded IN (0, 1)),
    paused      INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    halted      TEXT,
    switched_at INTEGER,
    live        INTEGER NOT NULL DEFAULT 0,
    unmatched   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The only table that holds addresses (R55).
CREATE TABLE subjects (
    id         INTEGER PRIMARY KEY,
    ref        BLOB NOT NULL CHECK (length(ref) = 16),
    address    TEXT NOT NULL,
    verdicts   TEXT NOT NULL,
    remembered TEXT NOT NULL,
    findings   TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX subjects_ref ON subjects (ref);
CREATE INDEX subjects_findings ON subjects (id) WHERE findings <> '';

-- With a rowid: rows are appended in whatever order a feed gives its ids, and only the small entries
-- of the primary key's index land on pages all over the file.
-- Contacts are stored while the verdicts of their subjects, and so these rows, are still worked out.
CREATE TABLE contacts (
    system      INTEGER NOT NULL REFERENCES systems (id),
    external    TEXT    NOT NULL,
    subject     INTEGER REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    own_subject INTEGER,
    link        TEXT,
    created     INTEGER,
    modified    INTEGER,
    read_at     INTEGER,
    life        INTEGER NOT NULL CHECK (life IN (0, 1, 2)),
    merged_into TEXT,
    written_seq INTEGER NOT NULL,
    record      TEXT    NOT NULL,
    PRIMARY KEY (system, external)
) STRICT;

CREATE INDEX contacts_subject ON contacts (subject);
CREATE INDEX contacts_link ON contacts (link) WHERE link IS NOT NULL;

-- At most one live write per contact and lane (R32).
CREATE TABLE outbox (
    system        INTEGER NOT NULL,
    external      TEXT    NOT NULL,
    lane          INTEGER NOT NULL CHECK (lane IN (0, 1)),
    subject       INTEGER NOT NULL REFERENCES subjects (id),
    version       INTEGER NOT NULL,
    changes       TEXT    NOT NULL,
    state         INTEGER NOT NULL CHECK (state IN (0, 1, 2, 3, 4)),
    in_flight     TEXT    NOT NULL,
    decided_at    INTEGER NOT NULL,
    not_before    INTEGER NOT NULL,
    attempts      INTEGER NOT NULL,
    claimed_until INTEGER NOT NULL,
    last_error    TEXT,
    PRIMARY KEY (system, external, lane),
    FOREIGN KEY (system, external) REFERENCES contacts (system, external)
) STRICT, WITHOUT ROWID;

-- In the order of claiming: withdrawals first, then by age (R34). The two times let a claim, the
-- next due instant and the figures be read from the index alone.
CREATE INDEX outbox_queue
    ON outbox (system, state, lane, decided_at, external, not_before, claimed_until);

-- Grants of one actor in one minute (R25), and the contacts they were given to.
CREATE TABLE loads (
    id       INTEGER PRIMARY KEY,
    system   INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    minute   INTEGER NOT NULL,
    contacts INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX loads_key ON loads (system, minute, actor);

CREATE TABLE load_members (
    load     INTEGER NOT NULL,
    external TEXT    NOT NULL,
    PRIMARY KEY (load, external)
) STRICT, WITHOUT ROWID;

-- Changes of status, for the guards (R26, R28).
CREATE TABLE flips (
    id        INTEGER PRIMARY KEY,
    subject   INTEGER NOT NULL,
    purpose   TEXT    NOT NULL,
    withdrawn INTEGER NOT NULL CHECK (withdrawn IN (0, 1)),
    system    INTEGER NOT NULL,
    at        INTEGER NOT NULL
) STRICT;

CREATE INDEX flips_subject ON flips (subject, at);

-- Records that could not be understood (R40).
CREATE TABLE quarantine (
    system   INTEGER NOT NULL REFERENCES systems (id),
    external TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    raw      BLOB    NOT NULL,
    seen_at  INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX quarantine_key ON quarantine (system, external);

-- Append-only, numbered from 1 without gaps (R52); one block a transaction, with all its entries in
-- one value; each digest covers the block before it. It names subjects by number and keyed hash only.
-- `newest_subject` is the highest number given to a subject in the same transaction, if there is any:
-- the first entries of a subject are in the first block whose number is not lower than its own.
-- `marks` are four bytes of a digest of `entries`, and four of each entry's: they tell where an
-- alteration is.
CREATE TABLE ledger_blocks (
    last           INTEGER PRIMARY KEY,
    first          INTEGER NOT NULL,
    digest         BLOB    NOT NULL CHECK (length(digest) = 32),
    at             INTEGER NOT NULL,
    newest_subject INTEGER,
    entries        BLOB    NOT NULL,
    marks          BLOB    NOT NULL
) STRICT;

CREATE INDEX ledger_blocks_subject ON ledger_blocks (newest_subject)
    WHERE newest_subject IS NOT NULL;

-- The further blocks that hold entries about a subject.
CREATE TABLE ledger_subjects (
    subject INTEGER NOT NULL,
    block   INTEGER NOT NULL REFERENCES ledger_blocks (last),
    PRIMARY KEY (subject, block)
) STRICT, WITHOUT ROWID;
