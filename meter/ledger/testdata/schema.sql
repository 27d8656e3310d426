CREATE INDEX requests_by_project ON requests (project_id, requested_at, id);
CREATE INDEX requests_by_provider ON requests (provider, requested_at, id);
CREATE INDEX requests_by_response ON requests (response_id) WHERE response_id IS NOT NULL;
CREATE INDEX requests_by_time ON requests (requested_at, id);
CREATE TABLE projects (
    id          TEXT    NOT NULL PRIMARY KEY,
    slug        TEXT    NOT NULL UNIQUE,
    name        TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    archived_at INTEGER
) STRICT;
CREATE TABLE recoveries (
    file     TEXT    NOT NULL PRIMARY KEY,
    ended_at INTEGER NOT NULL,
    expected INTEGER NOT NULL,
    found    INTEGER NOT NULL,
    added    INTEGER NOT NULL
) STRICT;
CREATE TABLE requests (
    id                    TEXT    NOT NULL PRIMARY KEY,
    project_id            TEXT    NOT NULL REFERENCES projects (id) ON DELETE RESTRICT,
    requested_at          INTEGER NOT NULL,
    project_source        TEXT    NOT NULL,
    provider              TEXT    NOT NULL,
    host                  TEXT    NOT NULL,
    path                  TEXT    NOT NULL,
    model                 TEXT    NOT NULL,
    mode                  TEXT    NOT NULL,
    kind                  TEXT    NOT NULL,
    stream                INTEGER NOT NULL,
    status                TEXT    NOT NULL,
    http_status           INTEGER,
    error_class           TEXT,
    input_tokens          INTEGER,
    output_tokens         INTEGER,
    thinking_tokens       INTEGER,
    cache_read_tokens     INTEGER,
    cache_write_tokens    INTEGER,
    cache_write_1h_tokens INTEGER,
    tool_calls            TEXT, -- JSON object
    cost_nano_usd         INTEGER,
    cost_reason           TEXT,
    rates_source          TEXT,
    tokens_complete       INTEGER NOT NULL,
    latency_ms            REAL,
    first_byte_ms         REAL,
    client                TEXT    NOT NULL,
    raw_usage             TEXT, -- JSON, as the provider sent it
    tier                  TEXT,
    error_code            TEXT,
    response_id           TEXT
, reported_cost_nano_usd INTEGER, session_id TEXT, agent_id TEXT, charges TEXT) STRICT;
