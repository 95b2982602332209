//! Systems in turns.

use serde::Serialize;

use crate::options::Options;
use crate::sample::{Sample, median};
use crate::works::{Contender, Work, Yardstick};

/// A row of the table, and an object of results.json. What a work does not have is null.
#[derive(Serialize)]
pub struct Row {
    pub work: &'static str,
    pub system: &'static str,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub per_s: Option<f64>,
    pub cpu_pct: f64,
    pub wakeups_per_s: f64,
    pub synchronous: &'static str,
    /// rowbus divided by this system, in what `ratio_of` says; the median of those of the rounds.
    pub ratio: Option<f64>,
    pub ratio_of: Option<&'static str>,
}

/// Measures rowbus, a peer, rowbus, the next peer and so on, round by round. Who goes first changes, so that neither
/// always finds the machine warm. A peer that is not there is skipped, and a note says so.
pub fn compare(work: &Work, options: &Options, notes: &mut Vec<String>) -> Vec<Row> {
    let mut ours = (work.ours.prepare)(options).expect("rowbus needs nothing");
    let mut peers = Vec::new();
    for peer in work.peers.iter().filter(|peer| options.wants(work.name) || options.wants(peer.work)) {
        match (peer.prepare)(options) {
            Ok(measure) => peers.push((peer, measure, Vec::new(), Vec::new())),
            Err(why) => notes.push(format!("SKIPPED: {} at {}: {why}", peer.system, peer.work)),
        }
    }

    let mut own = Vec::new();
    // Nothing drifts where nothing happens: idling is measured once, and takes long enough.
    let once = work.yardstick == Yardstick::Cpu;
    if once || peers.is_empty() {
        own.push(ours());
    }
    for round in 0..if once { 1 } else { options.rounds } {
        for (_, theirs, samples, ratios) in &mut peers {
            let (our, their) = if once {
                (own[0], theirs())
            } else if round % 2 == 0 {
                let our = ours();
                (our, theirs())
            } else {
                let their = theirs();
                (ours(), their)
            };
            if !once {
                own.push(our);
            }
            samples.push(their);
            ratios.push(ratio(work.yardstick, &our, &their));
        }
    }

    let mut rows = vec![row(&work.ours, &own, None)];
    for (peer, _, samples, ratios) in peers {
        let ratios: Option<Vec<f64>> = ratios.into_iter().collect();
        rows.push(row(peer, &samples, ratios.map(|ratios| (work.yardstick, median(ratios)))));
    }
    rows
}

fn ratio(yardstick: Yardstick, our: &Sample, their: &Sample) -> Option<f64> {
    let of = |sample: &Sample| match yardstick {
        Yardstick::PerSecond => sample.per_s,
        Yardstick::P50 => sample.p50_us,
        Yardstick::Cpu => Some(sample.cpu_pct),
    };
    // A peer that does nothing at all has no ratio.
    Some(of(our)? / of(their)?).filter(|ratio| ratio.is_finite())
}

fn row(contender: &Contender, samples: &[Sample], ratio: Option<(Yardstick, f64)>) -> Row {
    let median = Sample::median(samples);
    Row {
        work: contender.work,
        system: contender.system,
        p50_us: median.p50_us.map(rounded),
        p99_us: median.p99_us.map(rounded),
        per_s: median.per_s.map(f64::round),
        cpu_pct: rounded(median.cpu_pct),
        wakeups_per_s: rounded(median.wakeups_per_s),
        synchronous: contender.synchronous,
        ratio: ratio.map(|(_, ratio)| rounded(ratio)),
        ratio_of: ratio.map(|(yardstick, _)| match yardstick {
            Yardstick::PerSecond => "per_s",
            Yardstick::P50 => "p50_us",
            Yardstick::Cpu => "cpu_pct",
        }),
    }
}

/// To a thousandth: more would be noise.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
