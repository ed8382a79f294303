//! What was measured, as JSON and as tables, and who lost.

use std::fmt::Write as _;

use serde::Serialize;

use crate::curve::{Point, cost_at};
use crate::exact::Metric;
use crate::inserts::Inserts;
use crate::options::Storage;

/// Recalls at which systems are compared.
const RECALLS: [f64; 3] = [0.90, 0.95, 0.99];
const MIB: f64 = (1 << 20) as f64;

/// One dataset, all systems.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name of the dataset.
    pub dataset: String,
    /// Base vectors.
    pub rows: usize,
    /// Query vectors.
    pub queries: usize,
    /// Dimensions.
    pub dimensions: usize,
    /// Distance.
    pub metric: Metric,
    /// Type of the column.
    pub storage: Storage,
    /// Neighbours asked for.
    pub k: usize,
    /// Where the exact neighbours come from.
    pub truth: String,
    /// Version of the server.
    pub server: String,
    /// Its shared_buffers.
    pub shared_buffers: String,
    /// Links of a node.
    pub m: u32,
    /// Candidates while building.
    pub ef_construction: u32,
    /// Threads of a build.
    pub threads: usize,
    /// maintenance_work_mem of a build.
    pub build_kilobytes: u64,
    /// Builds of each index.
    pub builds: usize,
    /// Timings of each query.
    pub rounds: usize,
    /// What each system gave and took.
    pub systems: Vec<SystemReport>,
    /// The first system by the second, if there are two.
    pub comparison: Option<Comparison>,
}

/// One system on one dataset.
#[derive(Debug, Serialize)]
pub struct SystemReport {
    /// Name of the system.
    pub name: &'static str,
    /// Version of its extension.
    pub version: String,
    /// Seconds of COPY.
    pub load_seconds: f64,
    /// Wall-clock seconds of the fastest CREATE INDEX.
    pub build_seconds: f64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// What the server said while building.
    pub notices: Vec<String>,
    /// A point for every ef_search.
    pub sweep: Vec<Point>,
    /// The insert stage.
    pub inserts: Option<Inserts>,
}

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
        if let (Some(system), Some(peer)) = (system.inserts, peer.inserts) {
            let ms = |inserts: Inserts| Some(1000.0 / inserts.per_second);
            ratios.push(Ratio::new("ms an insert", ms(system), ms(peer)));
            ratios.push(Ratio::new("WAL bytes an insert", Some(system.wal_bytes), Some(peer.wal_bytes)));
            let records = (system.wal_record_bytes, peer.wal_record_bytes);
            ratios.push(Ratio::new("WAL bytes an insert without page images", records.0, records.1));
        }
        Self { system: system.name, peer: peer.name, ratios }
    }

    /// Says in words where the first system is worse, or cannot be compared.
    fn verdict(&self) -> String {
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

impl Report {
    /// Tables for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let Self { dataset, rows, dimensions, storage, metric, queries, k, truth, .. } = self;
        let column = format!("{storage:?}, {metric:?}").to_lowercase();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{dataset}: {rows} rows of {dimensions} dimensions ({column}), {queries} queries, k {k}, exact \
             neighbours: {truth}\nserver {}, shared_buffers {}\nm {}, ef_construction {}, {} build thread(s), \
             maintenance_work_mem {} MiB, fastest of {} build(s)\n\n",
            self.server,
            self.shared_buffers,
            self.m,
            self.ef_construction,
            self.threads,
            self.build_kilobytes / 1024,
            self.builds
        );
        text += &table(
            &["system", "version", "load s", "build s", "index MiB"],
            self.systems.iter().map(|system| {
                let mib = system.index_bytes as f64 / MIB;
                let cells =
                    [system.load_seconds, system.build_seconds, mib].map(|value| format!("{value:.1}"));
                [vec![system.name.into(), system.version.clone()], cells.to_vec()].concat()
            }),
        );
        for system in &self.systems {
            for notice in &system.notices {
                let _ = writeln!(text, "{}: {notice}", system.name);
            }
        }
        let _ = writeln!(
            text,
            "\nserver-side time a query (EXPLAIN ANALYZE's execution time), fastest of {} round(s) for each query; buffers \
             are pages accessed a query, read those not in shared_buffers",
            self.rounds
        );
        let recall = format!("recall@{}", self.k);
        let headers = ["system", "ef_search", &recall, "mean ms", "p50 ms", "p99 ms", "buffers", "read"];
        text += &table(
            &headers,
            self.systems.iter().flat_map(|system| {
                system.sweep.iter().map(|point| {
                    let Point { ef_search, recall, mean_ms, p50_ms, p99_ms, buffers, buffers_read } = point;
                    let ms = [mean_ms, p50_ms, p99_ms].map(|ms| format!("{ms:.3}"));
                    let first = vec![system.name.into(), ef_search.to_string(), format!("{recall:.4}")];
                    [first, ms.to_vec(), vec![format!("{buffers:.1}"), format!("{buffers_read:.2}")]].concat()
                })
            }),
        );
        self.write_inserts(&mut text);
        if let Some(comparison) = &self.comparison {
            let Comparison { system, peer, ratios } = comparison;
            let ratio_name = format!("{system} ÷ {peer}");
            let _ = writeln!(
                text,
                "\nby linear interpolation between the points above; below 1 {system} is better"
            );
            text += &table(
                &["", system, peer, &ratio_name],
                ratios.iter().map(|ratio| {
                    let Ratio { of, system, peer, ratio } = ratio;
                    [vec![of.clone()], [system, peer, ratio].map(|cost| optional(*cost)).to_vec()].concat()
                }),
            );
            text += &comparison.verdict();
            text.push('\n');
        }
        text
    }

    fn write_inserts(&self, text: &mut String) {
        let Some(Inserts { rows, clients, .. }) = self.systems.iter().find_map(|system| system.inserts)
        else {
            return;
        };
        let _ = writeln!(
            text,
            "\n{rows} inserts by {clients} session(s), a transaction each, synchronous_commit off; WAL is table's and index's"
        );
        let headers =
            ["system", "inserts/s", "p50 ms", "p99 ms", "WAL bytes an insert", "without page images"];
        *text += &table(
            &headers,
            self.systems.iter().filter_map(|system| {
                let Inserts { per_second, p50_ms, p99_ms, wal_bytes, wal_record_bytes, .. } =
                    system.inserts?;
                let ms = [p50_ms, p99_ms].map(|ms| format!("{ms:.3}"));
                let wal = [Some(wal_bytes), wal_record_bytes]
                    .map(|bytes| bytes.map_or("–".into(), |bytes| format!("{bytes:.0}")));
                Some(
                    [vec![system.name.into(), format!("{per_second:.0}")], ms.to_vec(), wal.to_vec()]
                        .concat(),
                )
            }),
        );
    }
}

fn optional(cost: Option<f64>) -> String {
    cost.map_or("–".into(), |cost| format!("{cost:.3}"))
}

/// Columns as wide as their widest cell; the first to the left, the others to the right.
fn table(headers: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let headers = headers.iter().map(|header| (*header).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(headers).chain(rows).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for line in &lines {
        let cell = |(column, cell): (usize, &String)| match column {
            0 => format!("{cell:<width$}", width = width(0)),
            _ => format!("{cell:>width$}", width = width(column)),
        };
        text += line.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
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
            inserts: None,
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

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "10".into()], vec!["÷÷÷".into(), "7".into()]];
        assert_eq!(table(&["", "ms"], rows.into_iter()), "     ms\na    10\n÷÷÷   7\n");
    }
}
