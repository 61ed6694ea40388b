-- Standing alarms, and those whose all-clear is still to be delivered. No address stands here (R56).
CREATE TABLE alarms (
    kind       TEXT    NOT NULL,
    about      TEXT    NOT NULL,
    since      INTEGER NOT NULL,
    raised_at  INTEGER NOT NULL,
    cleared_at INTEGER,
    text       TEXT    NOT NULL,
    PRIMARY KEY (kind, about)
) STRICT, WITHOUT ROWID;

-- What each channel was told last of an alarm, and when it is tried again.
CREATE TABLE alarm_posts (
    kind     TEXT    NOT NULL,
    about    TEXT    NOT NULL,
    channel  TEXT    NOT NULL,
    told     INTEGER NOT NULL CHECK (told IN (0, 1)),
    attempts INTEGER NOT NULL,
    next_try INTEGER NOT NULL,
    error    TEXT,
    PRIMARY KEY (kind, about, channel)
) STRICT, WITHOUT ROWID;
