-- What a provider says the exchange cost, which session and which agent of a
-- tool made it, and which usage was billed at which model: without that, no
-- later price book could price the exchange as the first one would have.
ALTER TABLE requests ADD COLUMN reported_cost_nano_usd INTEGER;
ALTER TABLE requests ADD COLUMN session_id TEXT;
ALTER TABLE requests ADD COLUMN agent_id TEXT;
ALTER TABLE requests ADD COLUMN charges TEXT;

-- One row for every corrupt database that was set aside and read again.
CREATE TABLE recoveries (
    file     TEXT    NOT NULL PRIMARY KEY,
    ended_at INTEGER NOT NULL,
    expected INTEGER NOT NULL,
    found    INTEGER NOT NULL,
    added    INTEGER NOT NULL
) STRICT;
