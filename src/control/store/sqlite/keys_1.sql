CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE teams (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE keys (
    seq           INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    kind          TEXT NOT NULL CHECK (kind IN ('access', 'gateway')),
    name          TEXT NOT NULL,
    team_id       TEXT REFERENCES teams (id),
    digest        BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    shown         TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    revoked_at    INTEGER,
    revoke_reason TEXT
) STRICT;

-- A revoked key gives its name back; an expired one keeps it until it is revoked.
CREATE UNIQUE INDEX keys_live_name ON keys (name) WHERE revoked_at IS NULL;
CREATE INDEX keys_name ON keys (name);

CREATE TABLE admin_tokens (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL UNIQUE,
    digest     BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    shown      TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    time   INTEGER NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;

CREATE INDEX audit_target ON audit (target, seq);
