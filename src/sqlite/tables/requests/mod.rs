//! `bus_requests`: requests and jobs, from when they are asked to when their reply is gone.

pub(crate) mod claim;
pub(crate) mod finish;
pub(crate) mod insert;
pub(crate) mod keep;
pub(crate) mod look;
pub(crate) mod recover;
mod value;

/// The table's name, as the quarantine knows it.
pub(crate) const TABLE: &str = "bus_requests";

/// A statement, how many parameters it takes, and what its plan is to name.
#[cfg(test)]
type Plan = (&'static str, usize, &'static str);
#[cfg(test)]
const BY_KEY: &str = "SEARCH bus_requests USING INTEGER PRIMARY KEY";

#[cfg(test)]
mod plans {
    use crate::sqlite::tables::events::tests::{log, plan};
    use crate::sqlite::tables::requests::{claim, finish, keep, look, recover};

    #[test]
    fn every_step_is_by_an_index_and_sorts_nothing() {
        let conn = log();
        let steps = [claim::PLANS, finish::PLANS, keep::PLANS, look::PLANS, recover::PLANS];
        for (sql, params, index) in steps.concat() {
            let plan = plan(&conn, sql, params);
            assert!(
                plan.contains(index) && !plan.contains("SCAN") && !plan.contains("TEMP"),
                "{sql}: {plan}"
            );
        }
    }
}
