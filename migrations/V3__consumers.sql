-- Consumers, as the library keeps them. V1 had laid out tables for them, which no library has written.
DROP TABLE bus_deliveries;
DROP TABLE bus_consumers;

-- Named readers and their positions.
CREATE TABLE bus_consumers (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    name               TEXT NOT NULL CONSTRAINT bus_consumers_name_is_unique UNIQUE,
    filters            TEXT NOT NULL, -- a line each
    start              TEXT NOT NULL, -- where it began: oldest, new, last_per_subject, "sequence N" or "time T"
    ack_policy         TEXT NOT NULL
                       CONSTRAINT bus_consumers_ack_policy CHECK (ack_policy = 'explicit' OR ack_policy = 'cumulative'),
    on_failure         TEXT NOT NULL
                       CONSTRAINT bus_consumers_on_failure CHECK (on_failure = 'stop' OR on_failure = 'dead_letter'),
    ack_wait           INTEGER NOT NULL, -- milliseconds, as all that follows
    backoff            INTEGER NOT NULL,
    backoff_max        INTEGER NOT NULL,
    max_deliver        INTEGER NOT NULL,
    max_ack_pending    INTEGER NOT NULL,
    inactive_threshold INTEGER,
    -- Cumulative: all up to here is done with. Explicit: all up to here was handed out once, and what of it is not done with
    -- has a row in bus_deliveries.
    position           INTEGER NOT NULL,
    last_through       INTEGER NOT NULL DEFAULT 0, -- up to here only the newest event of each subject is wanted
    -- New when a setting or the position is changed by anybody but a member that handles events.
    revision           INTEGER NOT NULL DEFAULT 0,
    -- New when the position is moved by hand: what was delivered before is nobody's any more.
    epoch              INTEGER NOT NULL DEFAULT 0,
    full               INTEGER NOT NULL DEFAULT 0, -- explicit: a member waits for fewer to be held
    member             INTEGER, -- cumulative: the slot of the peer of the active member
    member_id          INTEGER, -- and which of that peer's
    member_token       INTEGER NOT NULL DEFAULT 0, -- new at every takeover: the fencing token
    member_until       INTEGER, -- where nobody can be told to be dead: awake milliseconds of this boot
    failed             INTEGER, -- cumulative: the event that could not be handled
    failed_times       INTEGER NOT NULL DEFAULT 0,
    retry_at           INTEGER, -- and when it is tried again
    errors             TEXT,    -- a line "attempt time message" for each time
    stopped            TEXT,    -- why it stands in front of that event
    paused_at          INTEGER,
    created_at         INTEGER NOT NULL,
    active_at          INTEGER NOT NULL -- when a member came or went last
);

-- Who has a consumer open: a row an inbox.
CREATE TABLE bus_members (
    consumer INTEGER NOT NULL, -- bus_consumers.id
    peer     INTEGER NOT NULL, -- the slot
    member   INTEGER NOT NULL, -- tells those of a peer apart
    PRIMARY KEY (consumer, peer, member)
) WITHOUT ROWID;

-- Explicit consumers: what is in flight, and nothing else. A row is leased to a member, or waits until due_at. Cumulative
-- ones: events ahead of the position that were given up on, neither leased nor waiting.
CREATE TABLE bus_deliveries (
    consumer    INTEGER NOT NULL, -- bus_consumers.id
    sequence    INTEGER NOT NULL, -- bus_events.id
    attempt     INTEGER NOT NULL, -- with consumer and sequence it is the fencing token
    lease_peer  INTEGER NOT NULL DEFAULT 0, -- the slot of the peer that holds it; 0 where there are no slots
    lease_until INTEGER, -- leased: awake milliseconds of this boot
    due_at      INTEGER, -- waiting: Unix milliseconds
    errors      TEXT,    -- a line "attempt time message" for each attempt that failed
    PRIMARY KEY (consumer, sequence)
) WITHOUT ROWID;

CREATE INDEX bus_deliveries_leased ON bus_deliveries (consumer, lease_peer, lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX bus_deliveries_due ON bus_deliveries (consumer, due_at) WHERE due_at IS NOT NULL;
