//! `walia_build_estimate(…)`: what the build of an index will take, in each of the ways that it can go.

mod analyzed;
mod definition;
mod sample;

use pgrx::pg_sys;
use walia_core::arena::Arena;
use walia_core::graph::Contents;
use walia_core::page::{estimated_pages, fit_to_sample};
use walia_core::types::{PAGE_SIZE, Parameters};

use super::rows::{export, row};
use crate::am::build::measure::{Measured, Sampled, measure};
use crate::am::build::rows::{SPILLED, in_batches};
use crate::am::build::sorter::Plan;
use crate::am::build::threads::{with_threads, without_threads};
use crate::error::OrRaise;
use crate::guc;
use definition::Definition;
use sample::Table;

/// Seconds that a page takes to be written and logged, without what waits for the disk.
const PAGE: f64 = 3e-5;

row! {
    /// A way that the build can go.
    Estimated {
        way: &'static str,
        chosen: bool,
        maintenance_work_mem: i64,
        temporary_bytes: i64,
        index_bytes: i64,
        rows: i64,
        seconds: Option<f64>,
        seconds_least: Option<f64>,
        seconds_most: Option<f64>,
    }
}

export!("walia_build_estimate_wrapper": call(REGCLASSOID, TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID) -> Estimated =>
    // As of a strict function; the other arguments may be NULL.
    call.datum(0).map_or_else(Vec::new, |_| without_row_security(|| walia_build_estimate(&Definition::new(
        call.oid(0), call.text(1), call.text(2), call.datum(3), call.text(4)).or_raise()))));

/// Does something for which policies must not hide rows, as they hide none from CREATE INDEX: where the owner
/// of a table has bound himself to them, Postgres says so in an ERROR.
fn without_row_security<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: a setting that any role may change, until the nesting ends; an ERROR ends it as well.
    let level = unsafe {
        let level = pg_sys::NewGUCNestLevel();
        let (any, here) = (pg_sys::GucContext::PGC_USERSET, pg_sys::GucSource::PGC_S_SESSION);
        let (name, off, save) = (c"row_security", c"off", pg_sys::GucAction::GUC_ACTION_SAVE);
        pg_sys::set_config_option(name.as_ptr(), off.as_ptr(), any, here, save, true, 0, false);
        level
    };
    let done = work();
    // SAFETY: as above.
    unsafe { pg_sys::AtEOXact_GUC(false, level) };
    done
}

/// The ways of a build, the fastest first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    InMemory,
    OnDisk,
    InBatches,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::InMemory => "in memory",
            Self::OnDisk => "vectors on disk",
            Self::InBatches => "in batches",
        }
    }
}

fn walia_build_estimate(definition: &Definition) -> Vec<Estimated> {
    let mut sampled = Sampled::default();
    let tables = sample::tables(definition, &mut sampled).or_raise();
    let sample = sampled.sample(&definition.parameters);
    let parameters = &fit_to_sample(definition.wishes, &sample);
    let centroid = if parameters.code_bits > 0 { sample.centroid() } else { Vec::new() };
    let measured = &measure(parameters, &sampled, &centroid).or_raise();
    let builds = Builds { parameters, tables: &tables, measured };
    // SAFETY: a setting.
    let memory = (unsafe { pg_sys::maintenance_work_mem }) as usize * 1024;
    let limit = without_threads(memory) as u64;
    let whole = builds.needed(|table| builds.estimate(table).whole);
    let spilled = builds.needed(|table| builds.estimate(table).spilled.unwrap_or(u64::MAX >> 8));
    let mut ways = vec![(Way::InMemory, whole)];
    if spilled < whole {
        ways.push((Way::OnDisk, spilled));
    }
    if whole.min(spilled) > limit {
        ways.push((Way::InBatches, limit));
    }
    let chosen = ways.iter().find(|(_, needed)| *needed <= limit).map(|(way, _)| *way);
    ways.into_iter()
        .map(|(way, needed)| {
            let limit = if Some(way) == chosen { limit } else { needed };
            let seconds = builds.seconds(way, limit);
            let error = builds.error();
            Estimated {
                way: way.name(),
                chosen: Some(way) == chosen,
                // A setting counts kilobytes.
                maintenance_work_mem: with_threads(needed).next_multiple_of(1024) as i64,
                temporary_bytes: builds.temporary(way, limit) as i64,
                index_bytes: builds.index_size() as i64,
                rows: tables.iter().map(|table| table.contents.rows()).sum::<u64>() as i64,
                seconds,
                seconds_least: seconds.map(|seconds| seconds / error),
                seconds_most: seconds.map(|seconds| seconds * error),
            }
        })
        .collect()
}

/// The builds of all tables, one after the other.
struct Builds<'a> {
    parameters: &'a Parameters,
    tables: &'a [Table],
    measured: &'a Measured,
}

impl Builds<'_> {
    fn estimate(&self, table: &Table) -> walia_core::arena::Estimate {
        Arena::estimate(self.parameters, guc::build_threads(), &table.contents)
    }

    /// The memory that the largest takes.
    fn needed(&self, of_table: impl Fn(&Table) -> u64) -> u64 {
        self.tables.iter().map(of_table).max().unwrap_or(0)
    }

    fn index_size(&self) -> u64 {
        let pages = |table: &Table| estimated_pages(self.parameters, &table.contents).unwrap_or(0);
        self.tables.iter().map(pages).sum::<u64>() * PAGE_SIZE as u64
    }

    /// The temporary files of the table that has the largest.
    fn temporary(&self, way: Way, limit: u64) -> u64 {
        let threads = guc::build_threads();
        let file = |contents| Arena::file_size(self.parameters, threads, &contents, limit);
        let of_table = |table: &Table| match way {
            Way::InMemory => 0,
            Way::InBatches if self.parameters.code_bits == 0 => 0,
            Way::OnDisk => file(table.contents),
            Way::InBatches => {
                let sorted = self.plan(table, limit).map_or(0, |plan| plan.file_size(&table.contents));
                sorted + file(self.fitting(table, limit))
            }
        };
        self.tables.iter().map(of_table).max().unwrap_or(0)
    }

    /// How its rows are sorted, where they are.
    fn plan(&self, table: &Table, limit: u64) -> Option<Plan> {
        Plan::new(self.parameters, &table.contents, limit as usize)
    }

    /// What of a table finds a place in memory, with vectors in a file where there may be one.
    fn fitting(&self, table: &Table, limit: u64) -> Contents {
        let estimate = self.estimate(table);
        let needed = estimate.spilled.unwrap_or(estimate.whole).max(1);
        let share = (limit as f64 / needed as f64).min(1.0);
        table.contents.part(share)
    }

    /// The time of all builds; `None` where there is nothing that could be measured.
    fn seconds(&self, way: Way, limit: u64) -> Option<f64> {
        let pace = self.measured.pace?;
        let spilled = self.measured.spilled.unwrap_or(SPILLED).max(1.0);
        let of_table = |table: &Table| {
            let nodes = table.contents.nodes as f64;
            let whole = nodes.min(nodes * limit as f64 / self.estimate(table).whole as f64);
            let fitting = match way {
                Way::InBatches => self.fitting(table, limit).nodes as f64,
                _ => nodes,
            };
            let insertions = match way {
                Way::InMemory => pace.seconds(0.0, nodes),
                Way::InBatches if self.parameters.code_bits == 0 => pace.seconds(0.0, fitting),
                _ => {
                    pace.seconds(0.0, whole.min(fitting))
                        + spilled * pace.seconds(whole.min(fitting), fitting)
                }
            };
            let are_sorted = self.plan(table, limit).is_some();
            let rest = in_batches(self.parameters, are_sorted) * pace.seconds(fitting, nodes);
            let pages = estimated_pages(self.parameters, &table.contents).unwrap_or(0) as f64;
            insertions + rest + table.seconds_read + pages * PAGE
        };
        Some(self.tables.iter().map(of_table).sum())
    }

    /// As many times longer or shorter it may well take.
    fn error(&self) -> f64 {
        let largest = self.tables.iter().map(|table| table.contents.nodes).max().unwrap_or(0);
        self.measured.pace.map_or(1.0, |pace| pace.error(largest as f64))
    }
}
