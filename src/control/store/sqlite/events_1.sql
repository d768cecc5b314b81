-- Times are microseconds since 1970. The columns repeat what searches need; `json` is the event itself.
-- AUTOINCREMENT: a sequence number is never given twice, even after the newest events were removed.
CREATE TABLE events (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    request_id    TEXT NOT NULL,
    time          INTEGER NOT NULL,
    phase         TEXT NOT NULL,
    verdict       TEXT NOT NULL,
    key_id        TEXT NOT NULL,
    key_name      TEXT NOT NULL,
    team          TEXT,
    provider      TEXT,
    model         TEXT,
    status        INTEGER,
    cost_nano_usd INTEGER,
    json          TEXT NOT NULL
) STRICT;

-- Every search is in the order of time. Providers are too few for an index of theirs to be worth its price.
CREATE INDEX events_time ON events (time);
CREATE INDEX events_key_id ON events (key_id, time);
CREATE INDEX events_key_name ON events (key_name, time);
CREATE INDEX events_team ON events (team, time) WHERE team IS NOT NULL;
CREATE INDEX events_model ON events (model, time) WHERE model IS NOT NULL;
CREATE INDEX events_verdict ON events (verdict, time) WHERE verdict <> 'PASS';
