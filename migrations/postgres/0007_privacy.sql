-- Who was erased, by HMAC-SHA-256 under a key that is held outside the store (R55): whoever is imported
-- again under that address starts withdrawn. `key` is the id of that key.
CREATE TABLE suppressions (
    digest  BYTEA  NOT NULL CHECK (length(digest) = 32),
    purpose TEXT   NOT NULL,
    key     TEXT   NOT NULL,
    since   BIGINT NOT NULL,
    seen_at BIGINT,
    PRIMARY KEY (digest, purpose)
);

-- How far the ledger's entries of a class have expired: up to this block (R57).
CREATE TABLE expired (
    class   TEXT PRIMARY KEY,
    through BIGINT NOT NULL
);

-- What is looked for by its age only.
CREATE INDEX contacts_gone ON contacts (read_at) WHERE life <> 0;
