-- A provider bills a response once, however often it is retrieved, and after
-- a restart only the ledger knows which ones have a row.
CREATE INDEX requests_by_response ON requests (response_id) WHERE response_id IS NOT NULL;
