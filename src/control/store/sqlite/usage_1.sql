-- Sums of usage. All of it can be made again from the event log, as far back as that reaches.
CREATE TABLE series (
    id           INTEGER PRIMARY KEY,
    key_id       TEXT NOT NULL,
    team         TEXT NOT NULL,
    organization TEXT NOT NULL,
    provider     TEXT NOT NULL,
    model        TEXT NOT NULL,
    UNIQUE (key_id, team, organization, provider, model)
) STRICT;

CREATE TABLE key_names (
    key_id TEXT PRIMARY KEY,
    name   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- `time` is the beginning of a quarter-hour in seconds since 1970; before `progress.days_before` that of a day.
CREATE TABLE sums (
    time                    INTEGER NOT NULL,
    series                  INTEGER NOT NULL REFERENCES series (id),
    requests                INTEGER NOT NULL,
    refused                 INTEGER NOT NULL,
    input                   INTEGER NOT NULL,
    cache_read              INTEGER NOT NULL,
    cache_write             INTEGER NOT NULL,
    cache_write_long        INTEGER NOT NULL,
    output                  INTEGER NOT NULL,
    reasoning               INTEGER NOT NULL,
    input_audio             INTEGER NOT NULL,
    input_image             INTEGER NOT NULL,
    output_audio            INTEGER NOT NULL,
    output_image            INTEGER NOT NULL,
    web_searches            INTEGER NOT NULL,
    cost_nano_usd           INTEGER NOT NULL,
    estimated_cost_nano_usd INTEGER NOT NULL,
    reported                INTEGER NOT NULL,
    estimated               INTEGER NOT NULL,
    unpriced                INTEGER NOT NULL,
    PRIMARY KEY (time, series)
) STRICT, WITHOUT ROWID;

-- `seq` and `event`: the last event that is part of the sums. `kept_before`: sums older than that were kept when
-- the others were made again. `days_before`: sums older than that are of whole days.
CREATE TABLE progress (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    seq         INTEGER,
    event       BLOB CHECK (length(event) = 16),
    kept_before INTEGER NOT NULL,
    days_before INTEGER NOT NULL
) STRICT;

INSERT INTO progress VALUES (1, NULL, NULL, 0, 0);
