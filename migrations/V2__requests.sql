-- Requests and jobs, laid out so that a step touches few indexes: a state is a column that is NULL in all others, and an
-- update maintains only the indexes whose columns it names. (One column with the name of the state, as in V1, had
-- each step evaluate every partial index: claim and completion took half as long again.)
--
-- The final reply is part of the request's row, which saves the row, the index and the counter of another table;
-- bus_replies holds the parts that came before it.

-- Not by RENAME: that would rewrite a host's triggers and views to the name that is then dropped.
CREATE TABLE bus_requests_v1 AS SELECT * FROM bus_requests;
CREATE TABLE bus_requests_v1_counter AS SELECT seq FROM sqlite_sequence WHERE name = 'bus_requests';
DROP TABLE bus_requests;

-- Work for one server each. A plain INSERT of subject and data is a job.
CREATE TABLE bus_requests (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT
                  CONSTRAINT bus_requests_sequence_is_positive CHECK (sequence > 0),
    -- A UUIDv7. The default makes one of the clock and random bytes.
    id            TEXT NOT NULL
                  DEFAULT (lower(substr(printf('%012x', strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)), 1, 8)
                      || '-' || substr(printf('%012x', strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)), 9, 4)
                      || '-7' || substr(hex(randomblob(2)), 2)
                      || '-' || substr('89ab', 1 + (abs(random()) % 4), 1) || substr(hex(randomblob(2)), 2)
                      || '-' || hex(randomblob(6)))),
    kind          TEXT NOT NULL DEFAULT 'job'
                  CONSTRAINT bus_requests_kind CHECK (kind IN ('job', 'request')),
    subject       TEXT NOT NULL
                  CONSTRAINT bus_requests_subject_is_text_of_1_to_255
                  CHECK (typeof(subject) = 'text' AND length(subject) BETWEEN 1 AND 255),
    headers       TEXT, -- a line "Name: value" each
    priority      INTEGER NOT NULL DEFAULT 0, -- higher first
    ready         INTEGER DEFAULT 1, -- NULL while it is anything else
    run_at        INTEGER, -- scheduled: not before
    expires_at    INTEGER, -- a job: not started after
    deadline      INTEGER, -- a request: not started after; awake milliseconds of this boot
    key           TEXT,    -- jobs of a subject and key run one at a time, in order
    unique_key    TEXT,    -- NULL again when the uniqueness has ended
    unique_until  INTEGER, -- NULL: until it is finished
    attempt       INTEGER NOT NULL DEFAULT 0, -- counts claims; with the sequence it is the fencing token
    released      INTEGER NOT NULL DEFAULT 0, -- of these, given back unfinished
    max_attempts  INTEGER NOT NULL DEFAULT 20,
    backoff       INTEGER NOT NULL DEFAULT 1000,    -- milliseconds, doubled at each attempt
    backoff_max   INTEGER NOT NULL DEFAULT 3600000, -- milliseconds
    keep_for      INTEGER NOT NULL DEFAULT 3600000, -- milliseconds that its reply is kept
    redeliver     INTEGER NOT NULL DEFAULT 1,       -- a request: run again when its server died
    caller        INTEGER, -- the slot of the peer that waits for the reply
    lease_peer    INTEGER, -- the slot of the peer that holds it, or held it last
    lease_until   INTEGER, -- leased: awake milliseconds of this boot
    cancelled_at  INTEGER, -- asked of a leased one
    created_at    INTEGER NOT NULL
                  DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    finished_at   INTEGER, -- over: its row stays for its reply
    outcome       TEXT
                  -- Not IN: for a list of more than two, SQLite builds a tree at each check.
                  CONSTRAINT bus_requests_outcome CHECK (outcome = 'done' OR outcome = 'dead' OR outcome = 'failed'
                      OR outcome = 'cancelled' OR outcome = 'lost'),
    keep_until    INTEGER, -- when the row of a finished job may go
    error         TEXT,    -- what the handler said last
    code          TEXT,
    reply         BLOB,
    reply_headers TEXT,
    errors        TEXT,    -- a line "attempt time message" for each attempt that failed
    data          BLOB NOT NULL DEFAULT x''
                  CONSTRAINT bus_requests_data_is_text_or_blob CHECK (typeof(data) IN ('blob', 'text')),
    -- For people. Waiting: behind an unfinished job of the same key.
    state         TEXT GENERATED ALWAYS AS (CASE
                      WHEN finished_at IS NOT NULL THEN outcome
                      WHEN lease_until IS NOT NULL THEN 'leased'
                      WHEN ready IS NOT NULL THEN 'ready'
                      WHEN run_at IS NOT NULL THEN 'scheduled'
                      ELSE 'waiting' END) VIRTUAL,
    CONSTRAINT bus_requests_is_in_one_state
    CHECK ((ready IS NOT NULL) + (lease_until IS NOT NULL) + (finished_at IS NOT NULL) <= 1)
);

INSERT INTO bus_requests (sequence, id, kind, subject, headers, priority, run_at, expires_at, key, max_attempts,
    backoff, backoff_max, created_at, data)
SELECT sequence, id, 'job', subject, headers, priority, nullif(run_at, 0), expires_at, key, max_attempts,
    backoff, backoff_max, created_at, data
FROM bus_requests_v1 WHERE kind = 'job' AND state IN ('scheduled', 'waiting', 'ready', 'leased');

-- The counter goes on where it was.
DELETE FROM sqlite_sequence WHERE name = 'bus_requests' AND EXISTS (SELECT 1 FROM bus_requests_v1_counter);
INSERT INTO sqlite_sequence (name, seq) SELECT 'bus_requests', seq FROM bus_requests_v1_counter;
DROP TABLE bus_requests_v1_counter;
DROP TABLE bus_requests_v1;

-- A request is only ever looked for by its caller, who knows its sequence.
CREATE UNIQUE INDEX bus_requests_by_id ON bus_requests (id) WHERE kind = 'job';
-- Each serves one step, and holds only the rows that the step can want.
CREATE INDEX bus_requests_ready ON bus_requests (subject, priority DESC, sequence) WHERE ready IS NOT NULL;
CREATE INDEX bus_requests_scheduled ON bus_requests (run_at) WHERE run_at IS NOT NULL;
CREATE INDEX bus_requests_leased ON bus_requests (lease_peer, lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX bus_requests_to_cancel ON bus_requests (lease_peer)
    WHERE cancelled_at IS NOT NULL AND lease_until IS NOT NULL;
CREATE INDEX bus_requests_expiring ON bus_requests (expires_at)
    WHERE expires_at IS NOT NULL AND lease_until IS NULL AND finished_at IS NULL;
CREATE INDEX bus_requests_by_key ON bus_requests (subject, key, sequence)
    WHERE key IS NOT NULL AND finished_at IS NULL;
CREATE UNIQUE INDEX bus_requests_unique ON bus_requests (subject, unique_key) WHERE unique_key IS NOT NULL;
CREATE INDEX bus_requests_kept ON bus_requests (keep_until) WHERE keep_until IS NOT NULL;

-- Parts of replies: what a server sent before its final one.
DROP TABLE bus_replies;
CREATE TABLE bus_replies (
    request    INTEGER NOT NULL, -- bus_requests.sequence
    attempt    INTEGER NOT NULL,
    part       INTEGER NOT NULL, -- from 1
    data       BLOB NOT NULL DEFAULT x'',
    headers    TEXT,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    PRIMARY KEY (request, attempt, part)
) WITHOUT ROWID;

-- Requeueing needs what a job was asked with.
ALTER TABLE bus_dead_letters ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bus_dead_letters ADD COLUMN key TEXT;
ALTER TABLE bus_dead_letters ADD COLUMN max_attempts INTEGER NOT NULL DEFAULT 20;
ALTER TABLE bus_dead_letters ADD COLUMN backoff INTEGER NOT NULL DEFAULT 1000;
ALTER TABLE bus_dead_letters ADD COLUMN backoff_max INTEGER NOT NULL DEFAULT 3600000;
ALTER TABLE bus_dead_letters ADD COLUMN keep_for INTEGER NOT NULL DEFAULT 3600000;
