-- Standing alarms, and those whose all-clear is still to be delivered. No address stands here (R56).
CREATE TABLE alarms (
    kind       TEXT COLLATE "C" NOT NULL,
    about      TEXT COLLATE "C" NOT NULL,
    since      BIGINT NOT NULL,
    raised_at  BIGINT NOT NULL,
    cleared_at BIGINT,
    text       TEXT NOT NULL,
    PRIMARY KEY (kind, about)
);

-- What each channel was told last of an alarm, and when it is tried again.
CREATE TABLE alarm_posts (
    kind     TEXT COLLATE "C" NOT NULL,
    about    TEXT COLLATE "C" NOT NULL,
    channel  TEXT COLLATE "C" NOT NULL,
    told     BOOLEAN NOT NULL,
    attempts INTEGER NOT NULL,
    next_try BIGINT NOT NULL,
    error    TEXT,
    PRIMARY KEY (kind, about, channel)
);
