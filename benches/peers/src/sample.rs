//! Figures of one measurement.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// What a process in a role has done and seen.
#[derive(Serialize, Deserialize)]
pub struct Report {
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub per_s: Option<f64>,
    pub seconds: f64,
    pub usage: Usage,
}

#[derive(Clone, Copy, Default)]
pub struct Sample {
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub per_s: Option<f64>,
    pub cpu_pct: f64,
    pub wakeups_per_s: f64,
}

impl Sample {
    /// `others` is what further processes of the system cost meanwhile.
    pub fn new(report: &Report, others: Usage) -> Self {
        let spent = report.usage + others;
        Self {
            p50_us: report.p50_us,
            p99_us: report.p99_us,
            per_s: report.per_s,
            ..Self::idle(spent, Duration::from_secs_f64(report.seconds))
        }
    }

    pub fn idle(spent: Usage, time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        Self {
            cpu_pct: spent.cpu_ns as f64 / 1e9 / seconds * 100.0,
            wakeups_per_s: spent.wakeups as f64 / seconds,
            ..Self::default()
        }
    }

    /// Of each figure by itself.
    pub fn median(samples: &[Self]) -> Self {
        let maybe = |of: fn(&Self) -> Option<f64>| {
            let values: Option<Vec<f64>> = samples.iter().map(of).collect();
            values.map(median)
        };
        Self {
            p50_us: maybe(|sample| sample.p50_us),
            p99_us: maybe(|sample| sample.p99_us),
            per_s: maybe(|sample| sample.per_s),
            cpu_pct: median(samples.iter().map(|sample| sample.cpu_pct).collect()),
            wakeups_per_s: median(samples.iter().map(|sample| sample.wakeups_per_s).collect()),
        }
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    quantile(&mut values, 0.5).expect("a value")
}

pub fn quantile(values: &mut [f64], at: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get((values.len() as f64 * at) as usize).copied()
}
