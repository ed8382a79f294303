//! What was measured, as JSON and as tables.

use serde::Serialize;

use crate::churn::Round;
use crate::comparison::{Comparison, Ratio};
use crate::curve::Point;
use crate::exact::Metric;
use crate::inserts::Inserts;
use crate::options::Storage;

/// Bytes of the unit that sizes are shown in.
pub const MIB: f64 = (1 << 20) as f64;

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
    /// The insert stage, for each number of sessions.
    pub inserts: Vec<Inserts>,
    /// The index before and after every round of the churn stage.
    pub churn: Vec<Round>,
}

impl Report {
    /// Tables for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let Self { dataset, rows, dimensions, storage, metric, queries, k, truth, .. } = self;
        let column = format!("{storage:?}, {metric:?}").to_lowercase();
        text += &format!(
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
                text += &format!("{}: {notice}\n", system.name);
            }
        }
        text += &format!(
            "\nserver-side time a query (EXPLAIN ANALYZE's execution time), fastest of {} round(s) for each query; buffers \
             are pages accessed a query, read those not in shared_buffers\n",
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
        self.write_churn(&mut text);
        if let Some(comparison) = &self.comparison {
            let Comparison { system, peer, ratios } = comparison;
            let ratio_name = format!("{system} ÷ {peer}");
            text += &format!(
                "\nby linear interpolation between the points above (a recall below them costs what the cheapest does); \
                 below 1 {system} is better\n"
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

    fn write_churn(&self, text: &mut String) {
        let Some(first) = self.systems.iter().find_map(|system| system.churn.first()) else { return };
        *text += &format!(
            "\nrounds of deleting half of the rows, VACUUM, and inserting them again, at ef_search {}\n",
            first.point.ef_search
        );
        let recall = format!("recall@{}", self.k);
        let headers = ["system", "round", &recall, "p50 ms", "index MiB", "VACUUM s", "inserts s"];
        *text += &table(
            &headers,
            self.systems.iter().flat_map(|system| {
                system.churn.iter().enumerate().map(|(number, round)| {
                    vec![
                        system.name.into(),
                        number.to_string(),
                        format!("{:.4}", round.point.recall),
                        format!("{:.3}", round.point.p50_ms),
                        format!("{:.1}", round.index_bytes as f64 / MIB),
                        format!("{:.2}", round.vacuum_seconds),
                        format!("{:.1}", round.insert_seconds),
                    ]
                })
            }),
        );
    }

    fn write_inserts(&self, text: &mut String) {
        let Some(first) = self.systems.iter().find_map(|system| system.inserts.first()) else { return };
        *text += &format!(
            "\n{} inserts, a transaction each, synchronous_commit off; WAL is table's and index's\n",
            first.rows
        );
        let headers = [
            "system",
            "sessions",
            "inserts/s",
            "p50 ms",
            "p99 ms",
            "WAL bytes an insert",
            "without page images",
        ];
        *text += &table(
            &headers,
            self.systems.iter().flat_map(|system| {
                system.inserts.iter().map(|inserts| {
                    let Inserts { clients, per_second, p50_ms, p99_ms, wal_bytes, wal_record_bytes, .. } =
                        inserts;
                    let first = vec![system.name.into(), clients.to_string(), format!("{per_second:.0}")];
                    let ms = [p50_ms, p99_ms].map(|ms| format!("{ms:.3}"));
                    let wal = [&Some(*wal_bytes), wal_record_bytes]
                        .map(|bytes| bytes.map_or("–".into(), |bytes| format!("{bytes:.0}")));
                    [first, ms.to_vec(), wal.to_vec()].concat()
                })
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

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "10".into()], vec!["÷÷÷".into(), "7".into()]];
        assert_eq!(table(&["", "ms"], rows.into_iter()), "     ms\na    10\n÷÷÷   7\n");
    }
}
