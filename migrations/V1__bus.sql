-- The file format of rowbus.
--
-- Conventions: every name begins with bus_; time is integer Unix milliseconds unless a column says otherwise;
-- a public id is never given twice (AUTOINCREMENT); constraints are named, since the name is what a plain SQL
-- client reads when it is refused; SQL that SQLite 3.37 understands. No triggers and no foreign keys: they would
-- cost every publish. Rows of bus_events and bus_requests may be inserted by any SQL client (docs/sql.md).

-- Facts about the file: incarnation, boot_id, min_reader, min_writer.
CREATE TABLE bus_meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- The log. The id is the sequence: ids follow the order of the commits, since SQLite has one writer.
CREATE TABLE bus_events (
    id         INTEGER PRIMARY KEY AUTOINCREMENT
               CONSTRAINT bus_events_id_is_positive CHECK (id > 0),
    subject    TEXT NOT NULL
               CONSTRAINT bus_events_subject_is_text_of_1_to_255
               CHECK (typeof(subject) = 'text' AND length(subject) BETWEEN 1 AND 255),
    data       BLOB NOT NULL DEFAULT x''
               CONSTRAINT bus_events_data_is_text_or_blob CHECK (typeof(data) IN ('blob', 'text')),
    headers    TEXT, -- a line "Name: value" each
    created_at INTEGER NOT NULL
               DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4))
               CONSTRAINT bus_events_created_at_is_integer CHECK (typeof(created_at) = 'integer'),
    message_id TEXT
);

-- Serves last(subject), expect_last, replay of one subject, and the walk over distinct subjects.
CREATE INDEX bus_events_by_subject ON bus_events (subject, id);

-- message_ids within their window, with the sequence of the first.
CREATE TABLE bus_dedup (
    message_id TEXT NOT NULL PRIMARY KEY,
    sequence   INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX bus_dedup_by_expiry ON bus_dedup (expires_at);

-- Rows that no reader could decode: reported once, passed over by everybody.
CREATE TABLE bus_quarantine (
    source  TEXT NOT NULL, -- the table of the row
    row_id  INTEGER NOT NULL,
    reason  TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (source, row_id)
) WITHOUT ROWID;

-- Work for one server each. A plain INSERT of subject and data is a job.
CREATE TABLE bus_requests (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT
                 CONSTRAINT bus_requests_sequence_is_positive CHECK (sequence > 0),
    -- A UUIDv7. The default makes one of the clock and random bytes.
    id           TEXT NOT NULL
                 DEFAULT (lower(substr(printf('%012x', strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)), 1, 8)
                     || '-' || substr(printf('%012x', strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)), 9, 4)
                     || '-7' || substr(hex(randomblob(2)), 2)
                     || '-' || substr('89ab', 1 + (abs(random()) % 4), 1) || substr(hex(randomblob(2)), 2)
                     || '-' || hex(randomblob(6)))),
    kind         TEXT NOT NULL DEFAULT 'job'
                 CONSTRAINT bus_requests_kind CHECK (kind IN ('job', 'request')),
    subject      TEXT NOT NULL
                 CONSTRAINT bus_requests_subject_is_text_of_1_to_255
                 CHECK (typeof(subject) = 'text' AND length(subject) BETWEEN 1 AND 255),
    data         BLOB NOT NULL DEFAULT x''
                 CONSTRAINT bus_requests_data_is_text_or_blob CHECK (typeof(data) IN ('blob', 'text')),
    headers      TEXT,
    -- scheduled: not before run_at; waiting: behind an unfinished job of the same key; ready; leased; then
    -- done, dead or cancelled for good.
    state        TEXT NOT NULL DEFAULT 'ready'
                 CONSTRAINT bus_requests_state
                 CHECK (state IN ('scheduled', 'waiting', 'ready', 'leased', 'done', 'dead', 'cancelled')),
    priority     INTEGER NOT NULL DEFAULT 0, -- higher first
    run_at       INTEGER NOT NULL DEFAULT 0,
    expires_at   INTEGER, -- not started after this
    key          TEXT,    -- jobs of a key run one at a time, in order
    unique_key   TEXT,    -- NULL again when the uniqueness has ended
    unique_until INTEGER,
    attempt      INTEGER NOT NULL DEFAULT 0, -- counts claims; with the id it is the fencing token
    max_attempts INTEGER NOT NULL DEFAULT 20,
    backoff      INTEGER NOT NULL DEFAULT 1000,    -- milliseconds, doubled at each attempt
    backoff_max  INTEGER NOT NULL DEFAULT 3600000, -- milliseconds
    redeliver    INTEGER NOT NULL DEFAULT 1,       -- a request: run again when its server died
    caller       INTEGER, -- the peer that waits for the reply
    lease_peer   INTEGER, -- the peer that holds it
    lease_boot   TEXT,    -- the boot in which lease_until counts
    lease_until  INTEGER, -- awake milliseconds since that boot
    cancelled_at INTEGER, -- asked of a leased one
    created_at   INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    finished_at  INTEGER,
    keep_until   INTEGER, -- how long the reply is kept
    last_error   TEXT,
    errors       TEXT     -- a line "attempt time message" for each failed attempt
);

CREATE UNIQUE INDEX bus_requests_by_id ON bus_requests (id);
-- Each serves one step, and holds only the rows that the step can want: a claim does not walk what is not ready.
CREATE INDEX bus_requests_ready ON bus_requests (subject, priority DESC, sequence) WHERE state = 'ready';
CREATE INDEX bus_requests_scheduled ON bus_requests (run_at) WHERE state = 'scheduled';
CREATE INDEX bus_requests_leased ON bus_requests (lease_until) WHERE state = 'leased';
CREATE INDEX bus_requests_by_lease_peer ON bus_requests (lease_peer) WHERE state = 'leased';
CREATE INDEX bus_requests_expiring ON bus_requests (expires_at)
    WHERE expires_at IS NOT NULL AND state IN ('scheduled', 'waiting', 'ready');
CREATE INDEX bus_requests_by_key ON bus_requests (subject, key, sequence)
    WHERE key IS NOT NULL AND state IN ('scheduled', 'waiting', 'ready', 'leased');
CREATE UNIQUE INDEX bus_requests_unique ON bus_requests (subject, unique_key) WHERE unique_key IS NOT NULL;
CREATE INDEX bus_requests_finished ON bus_requests (finished_at) WHERE finished_at IS NOT NULL;

-- Parts and the final reply of each attempt.
CREATE TABLE bus_replies (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    request    INTEGER NOT NULL, -- bus_requests.sequence
    attempt    INTEGER NOT NULL,
    part       INTEGER NOT NULL,
    final      INTEGER NOT NULL DEFAULT 0,
    status     TEXT NOT NULL DEFAULT 'ok' CONSTRAINT bus_replies_status CHECK (status IN ('ok', 'error')),
    code       TEXT,
    data       BLOB NOT NULL DEFAULT x'',
    headers    TEXT,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    CONSTRAINT bus_replies_one_of_each UNIQUE (request, attempt, part)
);

-- Subjects of requests that are paused, or limited in how many run at once.
CREATE TABLE bus_queues (
    subject     TEXT NOT NULL PRIMARY KEY,
    paused_at   INTEGER,
    max_running INTEGER
) WITHOUT ROWID;

-- Named readers and their positions. Settings that only the library reads are lines "name: value".
CREATE TABLE bus_consumers (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL CONSTRAINT bus_consumers_name_is_unique UNIQUE,
    filters      TEXT NOT NULL, -- a line each
    ack_policy   TEXT NOT NULL CONSTRAINT bus_consumers_ack_policy CHECK (ack_policy IN ('cumulative', 'explicit')),
    settings     TEXT,
    ack_floor    INTEGER NOT NULL DEFAULT 0, -- all up to here is done with
    delivered    INTEGER NOT NULL DEFAULT 0, -- all up to here was handed out once
    member       INTEGER, -- cumulative: the active member's peer
    member_token INTEGER NOT NULL DEFAULT 0, -- new at every takeover
    paused_at    INTEGER,
    created_at   INTEGER NOT NULL,
    active_at    INTEGER NOT NULL
);

-- Explicit consumers: what is in flight, and nothing else.
CREATE TABLE bus_deliveries (
    consumer    INTEGER NOT NULL, -- bus_consumers.id
    sequence    INTEGER NOT NULL, -- bus_events.id
    attempt     INTEGER NOT NULL DEFAULT 1, -- with consumer and sequence it is the fencing token
    state       TEXT NOT NULL CONSTRAINT bus_deliveries_state CHECK (state IN ('leased', 'waiting', 'acked')),
    lease_peer  INTEGER,
    lease_boot  TEXT,
    lease_until INTEGER, -- awake milliseconds since that boot
    due_at      INTEGER, -- waiting: not before
    PRIMARY KEY (consumer, sequence)
) WITHOUT ROWID;

CREATE INDEX bus_deliveries_waiting ON bus_deliveries (consumer, due_at) WHERE state = 'waiting';
CREATE INDEX bus_deliveries_leased ON bus_deliveries (lease_until) WHERE state = 'leased';

-- What was given up on: whole copies, which outlive their source.
CREATE TABLE bus_dead_letters (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    source     TEXT NOT NULL CONSTRAINT bus_dead_letters_source CHECK (source IN ('job', 'event')),
    source_id  TEXT NOT NULL, -- a job's id, an event's sequence
    consumer   TEXT,
    subject    TEXT NOT NULL,
    data       BLOB NOT NULL,
    headers    TEXT,
    settings   TEXT, -- what requeueing needs
    reason     TEXT NOT NULL,
    errors     TEXT,
    attempts   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    died_at    INTEGER NOT NULL
);

CREATE INDEX bus_dead_letters_by_subject ON bus_dead_letters (subject, id);

-- What may be removed. set_by: default, builder or operator. An event of the filter up to pruned_through may be gone.
CREATE TABLE bus_retention (
    filter          TEXT NOT NULL PRIMARY KEY,
    max_age         INTEGER, -- milliseconds
    max_messages    INTEGER,
    max_bytes       INTEGER,
    max_per_subject INTEGER,
    keep_unacked    INTEGER, -- the cap in bytes, if events that a consumer has not acked are kept
    set_by          TEXT NOT NULL DEFAULT 'operator'
                    CONSTRAINT bus_retention_set_by CHECK (set_by IN ('default', 'builder', 'operator')),
    pruned_through  INTEGER NOT NULL DEFAULT 0,
    -- The pruner counts each row once: what it has counted, and up to where.
    counted_through INTEGER NOT NULL DEFAULT 0,
    messages        INTEGER NOT NULL DEFAULT 0,
    bytes           INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

INSERT INTO bus_retention (filter, max_age, set_by) VALUES ('>', 604800000, 'default');

-- Processes that have the file open.
CREATE TABLE bus_peers (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    slot       INTEGER NOT NULL, -- the byte of the bell file it holds a lock on
    name       TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    version    TEXT NOT NULL,
    serves     TEXT, -- a filter a line
    boot_id    TEXT,
    started_at INTEGER NOT NULL
);

CREATE UNIQUE INDEX bus_peers_by_slot ON bus_peers (slot);

-- The oldest library, by the newest migration that it knows, that may still read, and still write, this file.
INSERT INTO bus_meta (key, value) VALUES ('min_reader', '1'), ('min_writer', '1');
