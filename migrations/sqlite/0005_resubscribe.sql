-- Requests to set a subscriber active again in the gate (R47). A subscriber key is an id, or empty where
-- the address itself is the key: addresses stand in one table only (R55).
CREATE TABLE resubscribe_requests (
    id              INTEGER PRIMARY KEY,
    subject         INTEGER NOT NULL REFERENCES subjects (id),
    subscriber      TEXT    NOT NULL,
    unit            TEXT    NOT NULL,
    unit_name       TEXT    NOT NULL,
    status          TEXT    NOT NULL,
    unsubscribed_at INTEGER,
    urgent          INTEGER NOT NULL CHECK (urgent IN (0, 1)),
    cause           TEXT    NOT NULL,
    evidence        TEXT    NOT NULL,
    opened_at       INTEGER NOT NULL,
    seen_at         INTEGER NOT NULL,
    note            TEXT,
    closed_at       INTEGER,
    closing         TEXT,
    closed_by       TEXT
) STRICT;

CREATE INDEX resubscribe_open ON resubscribe_requests (subject) WHERE closed_at IS NULL;

-- Subjects whose verdict has turned, until the gate was asked about them.
CREATE TABLE gate_due (
    subject INTEGER PRIMARY KEY REFERENCES subjects (id),
    since   INTEGER NOT NULL
) STRICT;

CREATE INDEX gate_due_since ON gate_due (since);

-- When everybody was last asked about, how far the round under way has come, and when the sheet was
-- last written.
CREATE TABLE gate_round (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    ended_at INTEGER NOT NULL,
    after    INTEGER,
    sheet_at INTEGER NOT NULL
) STRICT;

INSERT INTO gate_round (only_row, ended_at, after, sheet_at) VALUES (1, 0, NULL, 0);
