//! Walia alone: growth, builds, filters and churn on one dataset, drawn, with their numbers as Markdown.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use postgres::types::Json;
use serde::Deserialize;

use crate::chart::{Chart, Line};
use crate::churn::{self, Round};
use crate::curve::Point;
use crate::dataset::Dataset;
use crate::exact::Truth;
use crate::options::Options;
use crate::server::{Parameter, Session};
use crate::sweep::sweep;
use crate::system::System;

/// What is searched with.
const EF_SEARCH: u32 = 64;
/// Parts of the rows with which growth is measured: one in so many.
const PARTS: [usize; 4] = [8, 4, 2, 1];
/// Rows of a thousand that pass a filter.
const PASSING: [u32; 7] = [1, 10, 50, 100, 250, 500, 1000];
const CHURN_ROUNDS: usize = 4;

/// An index of so many rows.
struct Size {
    rows: usize,
    build_seconds: f64,
    index_bytes: u64,
    point: Point,
}

/// Searches with a filter that so many rows of a thousand pass.
struct Filtered {
    passing: u32,
    recall: f64,
    mean_ms: f64,
    pages: f64,
}

/// Measures, and writes `DATASET-growth.svg` and the others into a directory. Gives the numbers, as Markdown.
pub fn draw(options: &Options, source: &Path, directory: &Path) -> Result<String> {
    let mut session = Session::open(options.server())?;
    session.create_schema()?;
    let system = System::walia(options.metric, options.storage);
    session.create_extension(system.extension)?;
    let all = Dataset::load(source, options.limit_base, options.queries)?;
    let mut sizes = Vec::new();
    for part in PARTS {
        let dataset = Dataset::load(source, Some(all.base.rows() / part), options.queries)?;
        sizes.push(measure_size(options, &mut session, &system, &dataset)?);
    }
    let filtered = filter(options, &mut session, &system, &all)?;
    let truth = Truth::of(&all, options.metric, options.k, None)?;
    let at = (options.k, EF_SEARCH, options.rounds);
    let rounds = churn::measure(&mut session, std::slice::from_ref(&system), &all, &truth, at, CHURN_ROUNDS)?;
    session.drop_schema()?;

    let title = format!(
        "{}: up to {} rows of {} dimensions, m {}, ef_construction {}, ef_search {EF_SEARCH}",
        all.name,
        all.base.rows(),
        all.base.dimensions(),
        options.m,
        options.ef_construction
    );
    for (name, chart) in charts(&title, options.build_threads(), &sizes, &filtered, &rounds[0]) {
        let path = directory.join(format!("{}-{name}.svg", all.name));
        std::fs::write(&path, chart.to_svg())
            .with_context(|| format!("could not write \"{}\"", path.display()))?;
    }
    Ok(tables(&sizes, &filtered, &rounds[0]))
}

/// Builds an index of these rows, whose table is left in place, and searches it.
fn measure_size(
    options: &Options,
    session: &mut Session,
    system: &System,
    dataset: &Dataset,
) -> Result<Size> {
    let rows = dataset.base.rows();
    eprintln!("{rows} rows");
    let threads = options.build_threads();
    session.execute(&format!("DROP TABLE IF EXISTS {}", system.table()))?;
    session.load(system, &dataset.base, threads)?;
    // What filters look at: no row's distance says anything of it.
    let table = system.table();
    for statement in [
        format!("ALTER TABLE {table} ADD kind integer"),
        format!("UPDATE {table} SET kind = (hashint4(id) & 1073741823) % 1000"),
        format!("VACUUM (FULL, ANALYZE) {table}"),
    ] {
        session.execute(&statement)?;
    }
    let limits = crate::build_limits(options, &dataset.base);
    let build = session.build(system, options.m, options.ef_construction, limits)?;
    let truth = Truth::of(dataset, options.metric, options.k, None)?;
    let at = (options.k, &[EF_SEARCH][..], options.rounds);
    let points = sweep(session, std::slice::from_ref(system), dataset, &truth, at)?;
    Ok(Size { rows, build_seconds: build.seconds, index_bytes: build.index_bytes, point: points[0][0] })
}

#[derive(Deserialize)]
struct Explained {
    #[serde(rename = "Plan")]
    plan: Buffers,
    #[serde(rename = "Execution Time")]
    ms: f64,
}

#[derive(Deserialize)]
struct Buffers {
    #[serde(rename = "Shared Hit Blocks")]
    hit: u64,
    #[serde(rename = "Shared Read Blocks")]
    read: u64,
}

/// Searches with filters, of which the planner may take any plan; compared with a sort of all rows.
fn filter(
    options: &Options,
    session: &mut Session,
    system: &System,
    dataset: &Dataset,
) -> Result<Vec<Filtered>> {
    let (table, operator, k) = (system.table(), system.operator, options.k);
    session.execute("RESET enable_seqscan; RESET enable_sort")?;
    session.set_ef_search(system, EF_SEARCH)?;
    let mut measured = Vec::new();
    for passing in PASSING {
        eprintln!("{passing} of 1000 rows pass");
        let query =
            format!("SELECT id FROM {table} WHERE kind < {passing} ORDER BY vec {operator} $1 LIMIT {k}");
        session.execute("SET enable_indexscan = off")?;
        let exact = session.prepare(&query)?;
        let mut right: Vec<HashSet<usize>> = Vec::new();
        for vector in dataset.queries.iter() {
            right.push(session.nearest(&exact, vector)?.into_iter().collect());
        }
        session.execute("RESET enable_indexscan")?;
        let explain = session
            .prepare(&format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY, FORMAT JSON) {query}"))?;
        // A plan of its own: the other's may have been kept.
        let indexed = session.prepare(&query)?;
        let (mut recall, mut ms, mut pages) = (0.0, 0.0, 0.0);
        for (vector, right) in dataset.queries.iter().zip(&right) {
            let found = session.nearest(&indexed, vector)?;
            let hits = found.iter().filter(|id| right.contains(id)).count();
            recall += hits as f64 / right.len().max(1) as f64;
            let mut fastest = f64::INFINITY;
            for _ in 0..options.rounds {
                let row = session.client().query_one(&explain, &[&Parameter(vector)])?;
                let Json([Explained { plan, ms }]): Json<[Explained; 1]> = row.get(0);
                if ms < fastest {
                    fastest = ms;
                }
                pages += (plan.hit + plan.read) as f64 / options.rounds as f64;
            }
            ms += fastest;
        }
        let queries = dataset.queries.rows() as f64;
        let (recall, mean_ms, pages) = (recall / queries, ms / queries, pages / queries);
        measured.push(Filtered { passing, recall, mean_ms, pages });
    }
    session.execute("SET enable_seqscan = off; SET enable_sort = off")?;
    Ok(measured)
}

fn charts(
    title: &str,
    threads: usize,
    sizes: &[Size],
    filtered: &[Filtered],
    rounds: &[Round],
) -> [(&'static str, Chart); 4] {
    let line = |name: &str, points: Vec<(f64, f64)>| Line { name: name.into(), points };
    let by_rows = |of: &dyn Fn(&Size) -> f64| -> Vec<(f64, f64)> {
        sizes.iter().map(|size| (size.rows as f64, of(size))).collect()
    };
    let relative = |of: &dyn Fn(&Size) -> f64| by_rows(&|size| of(size) / sizes.first().map_or(1.0, &of));
    let chart = |across: &str, up: &str, is_logarithmic, lines| Chart {
        title: title.into(),
        names: [across.into(), up.into()],
        is_logarithmic,
        lines,
    };
    [
        (
            "growth",
            chart(
                "rows",
                "times as much as with the fewest rows",
                true,
                vec![
                    line("ms a query", relative(&|size| size.point.mean_ms)),
                    line("pages a query", relative(&|size| size.point.buffers)),
                    line("rows", relative(&|size| size.rows as f64)),
                ],
            ),
        ),
        (
            "build",
            chart(
                "rows",
                &format!("seconds of a build with {threads} threads"),
                true,
                vec![line("build", by_rows(&|size| size.build_seconds))],
            ),
        ),
        (
            "filters",
            chart(
                "% of the rows pass",
                "mean ms a query (lower is better)",
                true,
                vec![line(
                    "ms a query",
                    filtered.iter().map(|point| (f64::from(point.passing) / 10.0, point.mean_ms)).collect(),
                )],
            ),
        ),
        (
            "churn",
            chart(
                "times that half of the rows were replaced",
                "mean ms a query (lower is better)",
                false,
                vec![line(
                    "ms a query",
                    (0..)
                        .zip(rounds)
                        .map(|(number, round)| (f64::from(number), round.point.mean_ms))
                        .collect(),
                )],
            ),
        ),
    ]
}

fn tables(sizes: &[Size], filtered: &[Filtered], rounds: &[Round]) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut text = String::from(
        "| rows | build, s | index, MiB | recall | ms a query | pages |\n|---|---|---|---|---|---|\n",
    );
    for Size { rows, build_seconds, index_bytes, point } in sizes {
        let size = mib(*index_bytes);
        let Point { recall, mean_ms, buffers, .. } = point;
        _ = writeln!(
            text,
            "| {rows} | {build_seconds:.1} | {size:.0} | {recall:.3} | {mean_ms:.3} | {buffers:.0} |"
        );
    }
    text += "\n| rows that pass | recall | ms a query | pages |\n|---|---|---|---|\n";
    for Filtered { passing, recall, mean_ms, pages } in filtered {
        let share = f64::from(*passing) / 10.0;
        _ = writeln!(text, "| {share}% | {recall:.3} | {mean_ms:.3} | {pages:.0} |");
    }
    text += "\n| times replaced | recall | ms a query | pages | index, MiB | VACUUM, s | inserts, s |\n|---|---|---|---|---|---|---|\n";
    for (number, Round { point, index_bytes, vacuum_seconds, insert_seconds }) in rounds.iter().enumerate() {
        let size = mib(*index_bytes);
        let Point { recall, mean_ms, buffers, .. } = point;
        _ = writeln!(
            text,
            "| {number} | {recall:.3} | {mean_ms:.3} | {buffers:.0} | {size:.0} | {vacuum_seconds:.1} | {insert_seconds:.1} |"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(mean_ms: f64) -> Point {
        let (recall, p50_ms, p99_ms) = (0.99, mean_ms, mean_ms);
        Point { ef_search: 64, recall, mean_ms, p50_ms, p99_ms, buffers: 80.0, buffers_read: 0.0 }
    }

    #[test]
    fn numbers_and_drawings_are_of_the_same_values() {
        let size =
            |rows, build_seconds, ms| Size { rows, build_seconds, index_bytes: 3 << 20, point: point(ms) };
        let sizes = [size(1000, 0.5, 0.2), size(2000, 1.5, 0.3)];
        let filtered = [Filtered { passing: 10, recall: 1.0, mean_ms: 0.7, pages: 90.0 }];
        let (vacuum_seconds, insert_seconds) = (1.0, 2.0);
        let rounds = [Round { point: point(0.4), index_bytes: 5 << 20, vacuum_seconds, insert_seconds }];
        let text = tables(&sizes, &filtered, &rounds);
        for row in [
            "| 2000 | 1.5 | 3 | 0.990 | 0.300 | 80 |",
            "| 1% | 1.000 | 0.700 | 90 |",
            "| 0 | 0.990 | 0.400 | 80 | 5 | 1.0 | 2.0 |",
        ] {
            assert!(text.contains(row), "{row}: {text}");
        }
        let [growth, build, filters, churn] = charts("t", 2, &sizes, &filtered, &rounds);
        let grown: Vec<(f64, f64)> = growth.1.lines[0].points.clone();
        assert_eq!((grown[0], grown[1].0), ((1000.0, 1.0), 2000.0));
        assert!((grown[1].1 - 1.5).abs() < 1e-9);
        assert_eq!(build.1.lines[0].points, [(1000.0, 0.5), (2000.0, 1.5)]);
        assert_eq!(filters.1.lines[0].points, [(1.0, 0.7)]);
        assert_eq!(churn.1.lines[0].points, [(0.0, 0.4)]);
    }
}
