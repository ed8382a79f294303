//! Walia alone on made vectors, as many as there is room for: builds, and searches at one recall, cold and
//! warm, as rows grow.

use std::fmt::Write;
use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::chart::{Chart, Line};
use crate::curve::{Point, cost_at};
use crate::dataset::{Dataset, Made, Rows};
use crate::exact::{Metric, Truth};
use crate::options::{Options, Storage};
use crate::report::MIB;
use crate::server::{Build, Session};
use crate::sweep::{point, recall, time};
use crate::system::System;

/// The recall at which sizes are compared.
const RECALL: f64 = 0.95;
const QUERIES: usize = 100;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    name: String,
    dimensions: usize,
    queries: usize,
    k: usize,
    metric: Metric,
    storage: Storage,
    server: String,
    shared_buffers: String,
    m: u32,
    ef_construction: u32,
    threads: usize,
    build_kilobytes: u64,
    rounds: usize,
    sizes: Vec<Size>,
}

/// An index of so many rows.
#[derive(Debug, Serialize)]
struct Size {
    rows: usize,
    build_seconds: f64,
    /// The most private memory of all of the server's processes during the build, by the kernel.
    build_private_bytes: u64,
    index_bytes: u64,
    /// What the server said while building.
    notices: Vec<String>,
    /// A point for every ef_search, up to the first that reaches the recall.
    warm: Vec<Point>,
    /// The same of a server that has just been started; none where that was not asked for.
    cold: Vec<Point>,
    /// Bytes a query that cold searches read from storage, at each of these.
    cold_storage_bytes: Vec<f64>,
}

/// Measures, and draws into a directory.
pub fn measure(options: &Options, directory: &Path) -> Result<Report> {
    let mut session = Session::open(options.server())?;
    let system = System::walia(options.metric, options.storage);
    session.create_schema()?;
    session.create_extension(system.extension)?;
    let is_f16 = options.storage == Storage::Vecf16;
    let queries = options.queries.unwrap_or(QUERIES);
    let most = options.sizes.iter().copied().max().context("--sizes is empty")?;
    let all = Made::new(options.dimensions, most, is_f16);
    let limits = crate::build_limits(options, &all);
    let mut report = Report {
        name: format!("scale-{}", options.dimensions),
        dimensions: options.dimensions,
        queries,
        k: options.k,
        metric: options.metric,
        storage: options.storage,
        server: session.setting("server_version")?,
        shared_buffers: session.setting("shared_buffers")?,
        m: options.m,
        ef_construction: options.ef_construction,
        threads: limits.threads,
        build_kilobytes: limits.kilobytes,
        rounds: options.rounds,
        sizes: Vec::new(),
    };
    for rows in &options.sizes {
        let base = Made::new(options.dimensions, *rows, is_f16);
        let dataset =
            Dataset { name: report.name.clone(), queries: base.queries(queries), base, truth: None };
        let size = measure_size(options, &mut session, &system, &dataset)?;
        // The whole table comes hours later.
        eprint!("{}", size.row());
        report.sizes.push(size);
    }
    if !options.keep {
        session.drop_schema()?;
    }
    for (name, chart) in report.charts() {
        let path = directory.join(format!("{}-{name}.svg", report.name));
        std::fs::write(&path, chart.to_svg())
            .with_context(|| format!("could not write \"{}\"", path.display()))?;
    }
    Ok(report)
}

/// Builds an index of these rows, whose table is left in place, and searches it.
fn measure_size(
    options: &Options,
    session: &mut Session,
    system: &System,
    dataset: &Dataset<Made>,
) -> Result<Size> {
    let rows = dataset.base.rows();
    let truth = Truth::of(dataset, options.metric, options.k, options.cache.as_deref())?;
    eprintln!("loading {rows} rows of {} dimensions", dataset.base.dimensions());
    session.execute(&format!("DROP TABLE IF EXISTS {}", system.table()))?;
    session.load(system, &dataset.base, options.build_threads())?;
    eprintln!("building the index");
    let processes = session.processes()?;
    let limits = crate::build_limits(options, &dataset.base);
    let build = || session.build(system, options.m, options.ef_construction, limits);
    let (Build { seconds, index_bytes, notices }, build_private_bytes) = processes.peak(build)?;

    let mut settings = options.ef.clone();
    settings.sort_unstable();
    let mut recalls = Vec::new();
    for ef in &settings {
        recalls.push(recall(session, system, dataset, &truth, (options.k, *ef))?);
        if recalls.last().is_some_and(|recall| *recall >= RECALL) {
            break;
        }
    }
    settings.truncate(recalls.len());
    let systems = std::slice::from_ref(system);
    let at = (options.k, settings.as_slice(), options.rounds);
    let executions = time(session, systems, &dataset.queries, at)?.concat();
    let with_recalls = || settings.iter().zip(&recalls);
    let warm =
        with_recalls().zip(&executions).map(|((ef, recall), each)| point(*ef, *recall, each)).collect();
    let (mut cold, mut cold_storage_bytes) = (Vec::new(), Vec::new());
    for (ef, recall) in with_recalls().filter(|_| options.cold) {
        *session = restart(options)?;
        let processes = session.processes()?;
        let before = processes.storage_bytes()?;
        let executions = time(session, systems, &dataset.queries, (options.k, &[*ef], 1))?.concat();
        let read = processes.storage_bytes()?.saturating_sub(before);
        cold.push(point(*ef, *recall, &executions[0]));
        cold_storage_bytes.push(read as f64 / dataset.queries.rows() as f64);
    }
    Ok(Size {
        rows,
        build_seconds: seconds,
        build_private_bytes,
        index_bytes,
        notices,
        warm,
        cold,
        cold_storage_bytes,
    })
}

/// Has the server restarted by whoever runs this program.
fn restart(options: &Options) -> Result<Session> {
    println!("restart");
    let mut answer = String::new();
    ensure!(std::io::stdin().lock().read_line(&mut answer)? > 0, "nobody restarts the server");
    Session::open(options.server())
}

/// What a search costs that has the recall.
struct AtRecall {
    /// More than the recall where the cheapest setting has more.
    recall: Option<f64>,
    ef_search: Option<f64>,
    pages: Option<f64>,
    warm_ms: Option<f64>,
    cold_ms: Option<f64>,
    cold_storage_kib: Option<f64>,
}

impl Size {
    fn at_recall(&self) -> AtRecall {
        let cold_storage_kib = |point: &Point| {
            let place = self.cold.iter().position(|cold| cold.ef_search == point.ef_search);
            place.map_or(f64::NAN, |place| self.cold_storage_bytes[place] / 1024.0)
        };
        let ef_search = cost_at(&self.warm, RECALL, |point| f64::from(point.ef_search));
        AtRecall {
            recall: ef_search.and(self.warm.first()).map(|first| first.recall.max(RECALL)),
            ef_search,
            pages: cost_at(&self.warm, RECALL, |point| point.buffers),
            warm_ms: cost_at(&self.warm, RECALL, |point| point.mean_ms),
            cold_ms: cost_at(&self.cold, RECALL, |point| point.mean_ms),
            cold_storage_kib: cost_at(&self.cold, RECALL, cold_storage_kib),
        }
    }

    /// Its row of the table.
    fn row(&self) -> String {
        let AtRecall { recall, ef_search, pages, warm_ms, cold_ms, cold_storage_kib } = self.at_recall();
        let Self { rows, build_seconds, build_private_bytes, index_bytes, .. } = self;
        let [memory, index] = [build_private_bytes, index_bytes].map(|bytes| *bytes as f64 / MIB);
        let [ef_search, pages, kib] = [ef_search, pages, cold_storage_kib].map(|number| optional(number, 0));
        let [recall, warm, cold] = [recall, warm_ms, cold_ms].map(|number| optional(number, 3));
        format!(
            "| {rows} | {build_seconds:.1} | {memory:.0} | {index:.0} | {recall} | {ef_search} | {pages} | {warm} | \
             {cold} | {kib} |\n"
        )
    }
}

/// A quantity of a size, with its name.
type Quantity = (&'static str, fn(&Size) -> Option<f64>);
/// What is compared as rows grow.
const GROWTH: [Quantity; 4] = [
    ("pages", |size| size.at_recall().pages),
    ("ms warm", |size| size.at_recall().warm_ms),
    ("ms cold", |size| size.at_recall().cold_ms),
    ("build s", |size| Some(size.build_seconds)),
];

impl Report {
    /// The numbers for docs/BENCHMARKS.md.
    pub fn to_markdown(&self) -> String {
        let Self { name, dimensions, queries, k, server, shared_buffers, m, ef_construction, .. } = self;
        let column = format!("{:?}, {:?}", self.storage, self.metric).to_lowercase();
        let mut text = format!(
            "{name}: made vectors of {dimensions} dimensions ({column}), the {k} nearest of {queries} queries at a \
             recall of {RECALL}\nserver {server}, shared_buffers {shared_buffers}, m {m}, ef_construction \
             {ef_construction}, {} thread(s), maintenance_work_mem {} MiB; warm: the fastest of {} round(s)\n\n",
            self.threads,
            self.build_kilobytes / 1024,
            self.rounds
        );
        text += "| rows | build, s | private memory, MiB | index, MiB | recall | ef_search | pages | ms warm | ms cold | \
                 KiB from storage cold |\n|---|---|---|---|---|---|---|---|---|---|\n";
        self.sizes.iter().for_each(|size| text += &size.row());
        for (before, after) in self.sizes.iter().zip(self.sizes.iter().skip(1)) {
            let times = after.rows as f64 / before.rows as f64;
            let growth = GROWTH.iter().filter_map(|(name, of)| {
                of(before).zip(of(after)).map(|(before, after)| format!("{name} × {:.2}", after / before))
            });
            let growth = growth.collect::<Vec<_>>().join(", ");
            _ = write!(text, "\n{times} times the rows, from {} to {}: {growth}\n", before.rows, after.rows);
        }
        for size in &self.sizes {
            for notice in &size.notices {
                _ = write!(text, "\n{} rows: {notice}\n", size.rows);
            }
        }
        text
    }

    fn charts(&self) -> [(&'static str, Chart); 2] {
        let Self { name, dimensions, m, ef_construction, .. } = self;
        let title = format!(
            "{name}: made vectors of {dimensions} dimensions, m {m}, ef_construction {ef_construction}, recall {RECALL}"
        );
        let chart = |up: &str, lines: Vec<Line>| Chart {
            title: title.clone(),
            names: ["rows".into(), up.into()],
            is_logarithmic: true,
            lines: lines.into_iter().filter(|line| !line.points.is_empty()).collect(),
        };
        let line = |name: &str, of: &dyn Fn(&Size) -> Option<f64>| Line {
            name: name.into(),
            points: self.sizes.iter().filter_map(|size| Some((size.rows as f64, of(size)?))).collect(),
        };
        let mut growth: Vec<Line> = GROWTH.iter().map(|(name, of)| line(name, of)).collect();
        growth.push(line("rows", &|size| Some(size.rows as f64)));
        for line in &mut growth {
            let first = line.points.first().map_or(1.0, |point| point.1);
            line.points.iter_mut().for_each(|point| point.1 /= first);
        }
        let searches = vec![
            line("cold", &|size| size.at_recall().cold_ms),
            line("warm", &|size| size.at_recall().warm_ms),
        ];
        [
            ("growth", chart("times as much as with the fewest rows", growth)),
            ("searches", chart("mean ms a query (lower is better)", searches)),
        ]
    }
}

fn optional(number: Option<f64>, digits: usize) -> String {
    number.map_or("–".into(), |number| format!("{number:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(ef_search: u32, recall: f64, mean_ms: f64, buffers: f64) -> Point {
        Point { ef_search, recall, mean_ms, p50_ms: 0.0, p99_ms: 0.0, buffers, buffers_read: buffers }
    }

    fn report() -> Report {
        let size = |rows, build_seconds, ms: f64, cold: &[f64]| Size {
            rows,
            build_seconds,
            build_private_bytes: 5 << 20,
            index_bytes: 7 << 20,
            notices: vec!["NOTICE: on disk".into()],
            warm: vec![point(20, 0.9, ms, 40.0 * ms), point(40, 1.0, 3.0 * ms, 80.0 * ms)],
            cold: cold
                .iter()
                .zip([(20, 0.9), (40, 1.0)])
                .map(|(ms, (ef, recall))| point(ef, recall, *ms, 9.0))
                .collect(),
            cold_storage_bytes: vec![1024.0, 3072.0],
        };
        Report {
            name: "scale-4".into(),
            dimensions: 4,
            queries: 10,
            k: 10,
            metric: Metric::L2,
            storage: Storage::Vecf16,
            server: "18.0".into(),
            shared_buffers: "1GB".into(),
            m: 16,
            ef_construction: 128,
            threads: 2,
            build_kilobytes: 2048,
            rounds: 3,
            sizes: vec![size(1000, 2.0, 0.5, &[2.0, 4.0]), size(10000, 30.0, 1.0, &[])],
        }
    }

    #[test]
    fn numbers_are_those_at_the_recall() {
        let text = report().to_markdown();
        for part in [
            "4 dimensions (vecf16, l2), the 10 nearest of 10 queries at a recall of 0.95",
            "| 1000 | 2.0 | 5 | 7 | 0.950 | 30 | 30 | 1.000 | 3.000 | 2 |\n",
            "| 10000 | 30.0 | 5 | 7 | 0.950 | 30 | 60 | 2.000 | – | – |\n",
            "10 times the rows, from 1000 to 10000: pages × 2.00, ms warm × 2.00, build s × 15.00\n",
            "10000 rows: NOTICE: on disk",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn drawings_are_of_the_same_numbers() {
        let [(_, growth), (_, searches)] = report().charts();
        let names: Vec<&str> = growth.lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["pages", "ms warm", "ms cold", "build s", "rows"]);
        let close = |line: &Line, expected: &[f64]| {
            line.points.iter().zip(expected).all(|(point, expected)| (point.1 - expected).abs() < 1e-9)
                && line.points.len() == expected.len()
        };
        for (line, expected) in
            growth.lines.iter().zip([&[1.0, 2.0][..], &[1.0, 2.0], &[1.0], &[1.0, 15.0], &[1.0, 10.0]])
        {
            assert!(close(line, expected), "{}: {:?}", line.name, line.points);
        }
        assert!(close(&searches.lines[0], &[3.0]) && close(&searches.lines[1], &[1.0, 2.0]));
    }
}
