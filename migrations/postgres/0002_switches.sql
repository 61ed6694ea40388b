-- What stands beside the feed of a system: who paused it and why, since when its legal-basis sync is
-- off, a mark of what is read of its contacts; and that its next complete scan may be of any size, with
-- the size of the last one once one was accepted so (R27).
ALTER TABLE systems ADD COLUMN paused_note TEXT;
ALTER TABLE systems ADD COLUMN muted_since BIGINT;
ALTER TABLE systems ADD COLUMN shape TEXT;
ALTER TABLE systems ADD COLUMN accept_fewer BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE systems ADD COLUMN scanned BIGINT;

-- The rules under which subjects were decided last, up to which number; all of them when there is
-- none. The others are decided anew in the background.
CREATE TABLE decided (
    only_row SMALLINT PRIMARY KEY CHECK (only_row = 1),
    policy   TEXT NOT NULL,
    through  BIGINT
);

INSERT INTO decided (only_row, policy, through) VALUES (1, '', 0);
