-- Requests to set a subscriber active again in the gate (R47). A subscriber key is an id, or empty where
-- the address itself is the key: addresses stand in one table only (R55).
CREATE TABLE resubscribe_requests (
    id              BIGINT PRIMARY KEY,
    subject         BIGINT NOT NULL REFERENCES subjects (id),
    subscriber      TEXT    NOT NULL,
    unit            TEXT    NOT NULL,
    unit_name       TEXT    NOT NULL,
    status          TEXT    NOT NULL,
    unsubscribed_at BIGINT,
    urgent          BOOLEAN NOT NULL,
    cause           TEXT    NOT NULL,
    evidence        TEXT    NOT NULL,
    opened_at       BIGINT NOT NULL,
    seen_at         BIGINT NOT NULL,
    note            TEXT,
    closed_at       BIGINT,
    closing         TEXT,
    closed_by       TEXT
);

CREATE INDEX resubscribe_open ON resubscribe_requests (subject) WHERE closed_at IS NULL;

-- Subjects whose verdict has turned, until the gate was asked about them.
CREATE TABLE gate_due (
    subject BIGINT PRIMARY KEY REFERENCES subjects (id),
    since   BIGINT NOT NULL
);

CREATE INDEX gate_due_since ON gate_due (since);

-- When everybody was last asked about, how far the round under way has come, and when the sheet was
-- last written.
CREATE TABLE gate_round (
    only_row SMALLINT PRIMARY KEY CHECK (only_row = 1),
    ended_at BIGINT NOT NULL,
    after    BIGINT,
    sheet_at BIGINT NOT NULL
);

INSERT INTO gate_round (only_row, ended_at, after, sheet_at) VALUES (1, 0, NULL, 0);
