-- Send-outs that are checked again at the moment of sending (R43). Recipients are keyed hashes of 16
-- bytes, one after the other, zeros for what is no address: this table holds no address (R55).
CREATE TABLE sendouts (
    id         TEXT COLLATE "C" PRIMARY KEY,
    purpose    TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    send_at    BIGINT NOT NULL,
    addressed  BIGINT NOT NULL,
    state      SMALLINT NOT NULL CHECK (state IN (0, 1, 2, 3)),
    due_at     BIGINT NOT NULL,
    settled_at BIGINT,
    callback   TEXT,
    posts      INTEGER NOT NULL,
    post_error TEXT,
    recipients BYTEA NOT NULL CHECK (length(recipients) = 16 * addressed),
    first      TEXT NOT NULL,
    last       TEXT NOT NULL
);

-- What is to be done next: to check, to post, to forget.
CREATE INDEX sendouts_due ON sendouts (state, due_at, id);
CREATE INDEX sendouts_send_at ON sendouts (send_at, id);
