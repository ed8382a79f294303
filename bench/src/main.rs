//! `walia-bench`: recall, time, pages, builds and inserts of walia, and of a peer beside it, on real data.

mod chart;
mod churn;
mod comparison;
mod curve;
mod dataset;
mod exact;
mod figures;
mod inserts;
mod options;
mod plot;
mod processes;
mod report;
mod scale;
mod server;
mod sweep;
mod system;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;

use crate::comparison::Comparison;
use crate::dataset::{Dataset, Rows};
use crate::exact::Truth;
use crate::options::{Options, Peer, Storage};
use crate::report::{Report, SystemReport};
use crate::server::{Build, BuildLimits, Session};
use crate::system::System;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("walia-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures every dataset.
fn run(options: &Options) -> Result<()> {
    options.check()?;
    for directory in options.cache.iter().chain(&options.plot).chain(&options.figures).chain(&options.scale) {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("could not create directory \"{}\"", directory.display()))?;
    }
    rayon::ThreadPoolBuilder::new().num_threads(options.build_threads()).build_global()?;
    if let Some(figures) = &options.figures {
        for directory in &options.datasets {
            println!("{}", figures::draw(options, directory, figures)?);
        }
        return Ok(());
    }
    if let Some(directory) = &options.scale {
        let report = scale::measure(options, directory)?;
        println!("{}", report.to_markdown());
        return write_json(options, &report);
    }
    let mut reports = Vec::new();
    for directory in &options.datasets {
        let mut dataset = Dataset::load(directory, options.limit_base, options.queries)?;
        if options.storage == Storage::Vecf16 {
            dataset.round_to_f16();
        }
        let report = measure(options, &dataset).with_context(|| format!("dataset \"{}\"", dataset.name))?;
        println!("{}", report.to_text());
        if let Some(plots) = &options.plot {
            let path = plots.join(format!("{}.svg", report.dataset));
            std::fs::write(&path, plot::recall_against_time(&report))
                .with_context(|| format!("could not write \"{}\"", path.display()))?;
        }
        reports.push(report);
    }
    write_json(options, &reports)
}

fn write_json(options: &Options, report: &impl Serialize) -> Result<()> {
    let Some(path) = &options.json else { return Ok(()) };
    std::fs::write(path, serde_json::to_string_pretty(report)?)
        .with_context(|| format!("could not write \"{}\"", path.display()))
}

/// Does all the work on one dataset.
fn measure(options: &Options, dataset: &Dataset) -> Result<Report> {
    let truth = Truth::of(dataset, options.metric, options.k, options.cache.as_deref())?;
    let config = options.server();
    let mut session = Session::open(config.clone())?;
    session.create_schema()?;

    let systems = systems(options);
    let threads = options.build_threads();
    let limits = build_limits(options, &dataset.base);
    let mut reports = Vec::new();
    for system in &systems {
        let version = session.create_extension(system.extension)?;
        eprintln!("loading {} rows for {}", dataset.base.rows(), system.name);
        let load_seconds = session.load(system, &dataset.base, threads)?;
        reports.push(SystemReport {
            name: system.name,
            version,
            load_seconds,
            build_seconds: f64::INFINITY,
            index_bytes: 0,
            notices: Vec::new(),
            sweep: Vec::new(),
            inserts: Vec::new(),
            churn: Vec::new(),
        });
    }
    for _ in 0..options.builds {
        for (system, report) in systems.iter().zip(&mut reports) {
            eprintln!("building the index of {}", system.name);
            let Build { seconds, index_bytes, notices } =
                session.build(system, options.m, options.ef_construction, limits)?;
            report.build_seconds = report.build_seconds.min(seconds);
            (report.index_bytes, report.notices) = (index_bytes, notices);
        }
    }
    let sweep = (options.k, options.ef.as_slice(), options.rounds);
    let points = sweep::sweep(&mut session, &systems, dataset, &truth, sweep)?;
    for (report, points) in reports.iter_mut().zip(points) {
        report.sweep = points;
    }
    for (round, &clients) in options.clients.iter().enumerate().filter(|_| options.inserts > 0) {
        for (system, report) in systems.iter().zip(&mut reports) {
            eprintln!("inserting into the table of {} by {clients} session(s)", system.name);
            let amount = (options.inserts, clients, round);
            report.inserts.push(inserts::measure(&mut session, &config, system, &dataset.base, amount)?);
        }
    }
    if options.churn > 0 {
        let ef = options.ef.iter().copied().max().unwrap_or_default();
        let at = (options.k, ef, options.rounds);
        let measured = churn::measure(&mut session, &systems, dataset, &truth, at, options.churn)?;
        for (report, rounds) in reports.iter_mut().zip(measured) {
            report.churn = rounds;
        }
    }
    let report = Report {
        dataset: dataset.name.clone(),
        rows: dataset.base.rows(),
        queries: dataset.queries.rows(),
        dimensions: dataset.base.dimensions(),
        metric: options.metric,
        storage: options.storage,
        k: options.k,
        truth: truth.source.into(),
        server: session.setting("server_version")?,
        shared_buffers: session.setting("shared_buffers")?,
        m: options.m,
        ef_construction: options.ef_construction,
        threads,
        build_kilobytes: limits.kilobytes,
        builds: options.builds,
        rounds: options.rounds,
        comparison: if let [system, peer] = &reports[..] {
            Some(Comparison::new(system, peer))
        } else {
            None
        },
        systems: reports,
    };
    if !options.keep {
        session.drop_schema()?;
    }
    Ok(report)
}

/// The systems to measure, walia first.
fn systems(options: &Options) -> Vec<System> {
    if let Some(partitions) = options.partitions {
        let walia = System::walia(options.metric, options.storage);
        return vec![walia.partitioned(partitions), walia];
    }
    let mut systems = Vec::new();
    if !options.only_peer {
        systems.push(System::walia(options.metric, options.storage));
    }
    if let Some(Peer::Pgvector) = options.peer {
        systems.push(System::pgvector(options.metric, options.storage));
    }
    systems
}

/// What a build may use: by default a maintenance_work_mem that holds vectors and links of any system with
/// much to spare.
///
/// Not simply a large number: a parallel build by workers reserves the whole of it in shared memory.
fn build_limits(options: &Options, base: &impl Rows) -> BuildLimits {
    let vector = base.dimensions() as u64 * 4;
    let links = 2 * u64::from(options.m) * 32 + 512;
    let bytes = base.rows() as u64 * (vector + links) * 5 / 4;
    let ample = bytes.div_ceil(1024) + 65536;
    let kilobytes = options.maintenance_work_mem.map_or(ample, |mib| mib * 1024);
    BuildLimits { threads: options.build_threads(), kilobytes }
}
