//! Two systems side by side, and where the first one loses.

use serde::Serialize;

use crate::curve::{Point, cost_at};
use crate::inserts::Inserts;
use crate::report::{MIB, SystemReport};

/// Recalls at which systems are compared.
const RECALLS: [f64; 3] = [0.90, 0.95, 0.99];

/// One system's costs divided by another's: below 1 the first is better.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The first.
    pub system: &'static str,
    /// The second.
    pub peer: &'static str,
    /// Every ratio by what it is of; none where a system does not reach the recall.
    pub ratios: Vec<Ratio>,
}

/// A quotient of costs.
#[derive(Debug, Serialize)]
pub struct Ratio {
    /// What is divided, such as "mean ms at recall 0.95".
    pub of: String,
    /// The first system's cost.
    pub system: Option<f64>,
    /// The second's.
    pub peer: Option<f64>,
    /// Their quotient.
    pub ratio: Option<f64>,
}

impl Ratio {
    fn new(of: impl Into<String>, system: Option<f64>, peer: Option<f64>) -> Self {
        let ratio = system.zip(peer).map(|(system, peer)| system / peer);
        Self { of: of.into(), system, peer, ratio }
    }
}

impl Comparison {
    /// Divides what `system` costs by what `peer` does.
    pub fn new(system: &SystemReport, peer: &SystemReport) -> Self {
        type Cost = (&'static str, fn(&Point) -> f64);
        let costs: [Cost; 4] = [
            ("mean ms", |point| point.mean_ms),
            ("p50 ms", |point| point.p50_ms),
            ("p99 ms", |point| point.p99_ms),
            ("buffers", |point| point.buffers),
        ];
        let mut ratios = Vec::new();
        for recall in RECALLS {
            for (name, cost) in costs {
                let at = |report: &SystemReport| cost_at(&report.sweep, recall, cost);
                ratios.push(Ratio::new(format!("{name} at recall {recall:.2}"), at(system), at(peer)));
            }
        }
        ratios.push(Ratio::new("build s", Some(system.build_seconds), Some(peer.build_seconds)));
        let mib = |report: &SystemReport| Some(report.index_bytes as f64 / MIB);
        ratios.push(Ratio::new("index MiB", mib(system), mib(peer)));
        for (system, peer) in system.inserts.iter().zip(&peer.inserts) {
            let ms = |inserts: &Inserts| Some(1000.0 / inserts.per_second);
            ratios.push(Ratio::new(
                format!("ms an insert, {} session(s)", system.clients),
                ms(system),
                ms(peer),
            ));
        }
        if let (Some(system), Some(peer)) = (system.inserts.first(), peer.inserts.first()) {
            ratios.push(Ratio::new("WAL bytes an insert", Some(system.wal_bytes), Some(peer.wal_bytes)));
            let records = (system.wal_record_bytes, peer.wal_record_bytes);
            ratios.push(Ratio::new("WAL bytes an insert without page images", records.0, records.1));
        }
        Self { system: system.name, peer: peer.name, ratios }
    }

    /// Says in words where the first system is worse, or cannot be compared.
    pub fn verdict(&self) -> String {
        let (system, peer) = (self.system, self.peer);
        let mut lines = Vec::new();
        for ratio in &self.ratios {
            let Ratio { of, .. } = ratio;
            match (ratio.system, ratio.peer, ratio.ratio) {
                (_, _, Some(ratio)) if ratio > 1.0 => lines.push(format!("{of}: {ratio:.2} times {peer}'s")),
                (None, Some(_), _) => lines.push(format!("{of}: {peer} reaches it, {system} does not")),
                _ => {}
            }
        }
        match lines.is_empty() {
            true => format!("{system} is not worse than {peer} in any of these."),
            false => format!("{system} is worse than {peer} in:\n  {}", lines.join("\n  ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(name: &'static str, ms: f64, recall: f64) -> SystemReport {
        let point = |ef_search, recall, ms| Point {
            ef_search,
            recall,
            mean_ms: ms,
            p50_ms: ms,
            p99_ms: ms,
            buffers: 100.0 * ms,
            buffers_read: 0.0,
        };
        SystemReport {
            name,
            version: "1".into(),
            load_seconds: 1.0,
            build_seconds: 10.0 * ms,
            index_bytes: 1 << 20,
            notices: Vec::new(),
            sweep: vec![point(10, 0.8, ms), point(40, recall, 2.0 * ms)],
            inserts: Vec::new(),
            churn: Vec::new(),
        }
    }

    fn ratio(comparison: &Comparison, of: &str) -> Option<f64> {
        comparison.ratios.iter().find(|ratio| ratio.of == of).unwrap().ratio
    }

    #[test]
    fn ratios_compare_costs_at_the_same_recall() {
        let comparison = Comparison::new(&system("a", 1.0, 1.0), &system("b", 2.0, 1.0));
        assert_eq!(ratio(&comparison, "mean ms at recall 0.95"), Some(0.5));
        assert_eq!(ratio(&comparison, "buffers at recall 0.99"), Some(0.5));
        assert_eq!(ratio(&comparison, "build s"), Some(0.5));
        assert_eq!(comparison.verdict(), "a is not worse than b in any of these.");
    }

    #[test]
    fn a_loss_is_said() {
        let verdict = Comparison::new(&system("a", 3.0, 1.0), &system("b", 2.0, 1.0)).verdict();
        assert!(verdict.contains("p99 ms at recall 0.90: 1.50 times b's"), "{verdict}");
        assert!(!verdict.contains("index MiB"), "{verdict}");
    }

    #[test]
    fn a_recall_that_is_not_reached_is_said() {
        let comparison = Comparison::new(&system("a", 1.0, 0.92), &system("b", 2.0, 1.0));
        assert_eq!(ratio(&comparison, "mean ms at recall 0.95"), None);
        assert!(ratio(&comparison, "mean ms at recall 0.90").is_some());
        assert!(comparison.verdict().contains("mean ms at recall 0.99: b reaches it, a does not"));
    }
}
