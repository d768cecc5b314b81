-- A key's texts move to a table of their own: while a rotation overlaps, a key has two.
ALTER TABLE keys RENAME TO keys_1;

CREATE TABLE keys (
    seq           INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    kind          TEXT NOT NULL CHECK (kind IN ('access', 'gateway')),
    name          TEXT NOT NULL,
    team_id       TEXT REFERENCES teams (id),
    permissions   TEXT CHECK (json_valid(permissions)),
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    revoked_at    INTEGER,
    revoke_reason TEXT
) STRICT;

CREATE TABLE secrets (
    seq          INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    key          INTEGER NOT NULL REFERENCES keys (seq),
    digest       BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    shown        TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    valid_until  INTEGER,
    last_used_at INTEGER,
    last_client  TEXT,
    last_address TEXT
) STRICT;

INSERT INTO keys (seq, id, kind, name, team_id, created_at, expires_at, revoked_at, revoke_reason)
SELECT seq, id, kind, name, team_id, created_at, expires_at, revoked_at, revoke_reason FROM keys_1;

INSERT INTO secrets (id, key, digest, shown, created_at)
SELECT 'ks_' || substr(id, 4), seq, digest, shown, created_at FROM keys_1 ORDER BY seq;

DROP TABLE keys_1;

-- A revoked key gives its name back; an expired one keeps it until it is revoked.
CREATE UNIQUE INDEX keys_live_name ON keys (name) WHERE revoked_at IS NULL;
CREATE INDEX keys_name ON keys (name);
CREATE INDEX keys_team ON keys (team_id) WHERE team_id IS NOT NULL;
CREATE INDEX secrets_key ON secrets (key, seq);

ALTER TABLE teams ADD COLUMN permissions TEXT CHECK (json_valid(permissions));
ALTER TABLE teams ADD COLUMN suspended_at INTEGER;

-- Every token there was could do everything.
ALTER TABLE admin_tokens ADD COLUMN role TEXT NOT NULL DEFAULT 'admin' CHECK (role IN ('admin', 'viewer'));
