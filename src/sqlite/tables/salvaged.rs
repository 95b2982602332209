//! What is taken over from a damaged file: the columns of each table, in the order in which rows store them.

use rusqlite::{Connection, ToSql, params_from_iter};

/// A table whose rows are taken over.
#[derive(Debug)]
pub(crate) struct Salvaged {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [&'static str],
    /// Columns that a row has at least: those that a later migration added are missing in rows of before.
    pub(crate) least: usize,
    /// What the first columns hold, by which rows are told where the schema cannot be read: n the NULL in place of the id, t
    /// text, b text or a blob, i a number; a capital where NULL is allowed as well. Empty where too much looks alike.
    pub(crate) shape: &'static str,
    /// Rows have a number, which is the first column.
    pub(crate) has_rowid: bool,
}

/// Peers and members are of processes that are gone, `bus_meta` and the history of the new file itself.
pub(crate) const TABLES: [Salvaged; 10] = [
    Salvaged {
        name: "bus_events",
        columns: &["id", "subject", "data", "headers", "created_at", "message_id"],
        least: 6,
        shape: "ntbTiT",
        has_rowid: true,
    },
    Salvaged {
        name: "bus_requests",
        columns: &[
            "sequence",
            "id",
            "kind",
            "subject",
            "headers",
            "priority",
            "ready",
            "run_at",
            "expires_at",
            "deadline",
            "key",
            "unique_key",
            "unique_until",
            "attempt",
            "released",
            "max_attempts",
            "backoff",
            "backoff_max",
            "keep_for",
            "redeliver",
            "caller",
            "lease_peer",
            "lease_until",
            "cancelled_at",
            "created_at",
            "finished_at",
            "outcome",
            "keep_until",
            "error",
            "code",
            "reply",
            "reply_headers",
            "errors",
            "data",
        ],
        least: 34,
        shape: "ntttTiIIIITTIiiiiiiiIIIIiITITTBTTb",
        has_rowid: true,
    },
    Salvaged {
        name: "bus_dead_letters",
        columns: &[
            "id",
            "source",
            "source_id",
            "consumer",
            "subject",
            "data",
            "headers",
            "settings",
            "reason",
            "errors",
            "attempts",
            "created_at",
            "died_at",
            "priority",
            "key",
            "max_attempts",
            "backoff",
            "backoff_max",
            "keep_for",
        ],
        least: 13,
        shape: "nttTtbTTtTiii",
        has_rowid: true,
    },
    Salvaged {
        name: "bus_consumers",
        columns: &[
            "id",
            "name",
            "filters",
            "start",
            "ack_policy",
            "on_failure",
            "ack_wait",
            "backoff",
            "backoff_max",
            "max_deliver",
            "max_ack_pending",
            "inactive_threshold",
            "position",
            "last_through",
            "revision",
            "epoch",
            "full",
            "member",
            "member_id",
            "member_token",
            "member_until",
            "failed",
            "failed_times",
            "retry_at",
            "errors",
            "stopped",
            "paused_at",
            "created_at",
            "active_at",
        ],
        least: 29,
        shape: "ntttttiiiiiIiiiiiIIiIIiITTIii",
        has_rowid: true,
    },
    Salvaged {
        name: "bus_deliveries",
        columns: &["consumer", "sequence", "attempt", "lease_peer", "lease_until", "due_at", "errors"],
        least: 7,
        shape: "iiiiIIT",
        has_rowid: false,
    },
    Salvaged {
        name: "bus_replies",
        columns: &["request", "attempt", "part", "data", "headers", "created_at"],
        least: 6,
        shape: "iiibTi",
        has_rowid: false,
    },
    Salvaged {
        name: "bus_retention",
        columns: &[
            "filter",
            "max_age",
            "max_messages",
            "max_bytes",
            "max_per_subject",
            "keep_unacked",
            "set_by",
            "pruned_through",
            "counted_through",
            "messages",
            "bytes",
            "removed_through",
            "unacked_through",
            "spared_through",
        ],
        least: 11,
        shape: "tIIIIItiiii",
        has_rowid: false,
    },
    Salvaged {
        name: "bus_dedup",
        columns: &["message_id", "sequence", "expires_at"],
        least: 3,
        shape: "",
        has_rowid: false,
    },
    Salvaged {
        name: "bus_queues",
        columns: &["subject", "paused_at", "max_running"],
        least: 3,
        shape: "",
        has_rowid: false,
    },
    Salvaged {
        name: "bus_quarantine",
        columns: &["source", "row_id", "reason", "seen_at"],
        least: 4,
        shape: "",
        has_rowid: false,
    },
];

// A scan of a row a policy. A new file has one of its own, which gives way.
const FORGET_POLICIES: &str = "DELETE FROM bus_retention";
// A scan of a row a consumer.
const REVISION: &str = "SELECT ifnull(max(revision), 0) FROM bus_consumers";

/// Inserts a row as far as it goes; the other columns get their defaults.
pub(crate) fn insert<V: ToSql>(conn: &Connection, table: &Salvaged, values: &[V]) -> rusqlite::Result<()> {
    let columns = table.columns.get(..values.len()).unwrap_or(table.columns).join(", ");
    let places = vec!["?"; values.len()].join(", ");
    let sql = format!("INSERT INTO {} ({columns}) VALUES ({places})", table.name);
    conn.prepare_cached(&sql)?.execute(params_from_iter(values)).map(|_| ())
}

/// Makes room for other policies.
pub(crate) fn forget_policies(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute(FORGET_POLICIES, []).map(|_| ())
}

/// The newest change that any consumer knows of.
pub(crate) fn newest_revision(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row(REVISION, [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tables::events::tests::log;

    #[test]
    fn the_columns_are_those_that_rows_store_in_their_order() {
        let conn = log();
        for table in &TABLES {
            let mut statement = conn
                .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid")
                .unwrap();
            let columns: Vec<String> =
                statement.query_map([table.name], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            assert_eq!(columns, table.columns, "{}", table.name);
            assert!(table.least <= table.columns.len() && table.shape.len() <= table.least, "{}", table.name);
        }
    }
}
