//! The planner's side of a scan by several processes: when it is possible, and what it costs.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::private::Private;
use crate::nodes::NodeRef;

/// What a child costs of what starting a worker does: its plan is written as text for the workers and read
/// again, and the process that claims it opens its table and index with empty caches.
const OPEN_CHILD: f64 = 0.005;

/// The part of a process's time that its leader spends on the rows of each worker, as Postgres thinks.
const LEADER_DISTRACTION: f64 = 0.3;

/// What workers can save of the computing and of the pages in the cache, beside `parallel_setup_cost`, which
/// stands for starting them. docs/BENCHMARKS.md says how this and the next were found.
const PROCESSOR_TIME: f64 = 0.25;

/// The same where shared buffers are not in huge pages. A worker then has to map each small page that it
/// touches, and unmaps it when it ends.
const PROCESSOR_TIME_IN_SMALL_PAGES: f64 = 0.12;

/// Reads that one process begins together: those of as many indexes as are searched by turns.
const READS_TOGETHER: f64 = 16.0;

/// What of a scan's cost is that of reading pages.
#[derive(Clone, Copy)]
pub struct Reading {
    /// For the first searches.
    pub cost: f64,
    /// Where the pages are.
    pub tablespace: pg_sys::Oid,
}

impl Reading {
    /// How many times faster so many processes read than one, as `effective_io_concurrency` says.
    fn speedup(&self, processes: f64) -> f64 {
        // SAFETY: reads settings, and the catalog.
        let most = f64::from(unsafe { pg_sys::get_tablespace_io_concurrency(self.tablespace) });
        (most / READS_TOGETHER).clamp(1.0, processes.max(1.0))
    }
}

fn processor_time() -> f64 {
    // "try", where that is all that is known, often finds none.
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    let setting = c"huge_pages";
    #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
    let setting = c"huge_pages_status";
    // SAFETY: a setting of Postgres that anybody may see; its value is a string, which is compared at once.
    let in_huge_pages = unsafe {
        let value = pg_sys::GetConfigOption(setting.as_ptr(), false, false);
        !value.is_null() && CStr::from_ptr(value) == c"on"
    };
    if in_huge_pages { PROCESSOR_TIME } else { PROCESSOR_TIME_IN_SMALL_PAGES }
}

/// The scan that is executed by workers and the leader under a Gather Merge; `None` where it cannot be. It is
/// offered for `output`, that of UPPERREL_ORDERED, as `scan` could be.
///
/// It gives no more rows than are wanted of it: so it is known how many that is.
pub fn with_workers<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    output: NodeRef<pg_sys::RelOptInfo>,
    scan: NodeRef<'p, pg_sys::CustomPath>,
    reading: Reading,
) -> Option<NodeRef<'p, pg_sys::Path>> {
    let serial = scan.upcast();
    let limit = constant_limit(root.parse())?;
    let children = scan.custom_paths().len() as i32;
    // SAFETY: settings that Postgres defines.
    let (leader, most_workers, memory, setup_cost) = unsafe {
        let leader = i32::from(pg_sys::parallel_leader_participation);
        (leader, pg_sys::max_parallel_workers_per_gather, pg_sys::work_mem, pg_sys::parallel_setup_cost)
    };
    let workers = most_workers.min(children - leader);
    let row_size = f64::from(serial.pathtarget().width) + size_of::<pg_sys::HeapTupleHeaderData>() as f64;
    let is_safe = output.consider_parallel && serial.parent().consider_parallel && serial.parallel_safe;
    if !is_safe || workers < 1 || limit * row_size > f64::from(memory) * 1024.0 {
        return None;
    }
    let distracted = 1.0 - LEADER_DISTRACTION * f64::from(workers);
    let processes = f64::from(workers) + f64::from(leader) * distracted.max(0.0);
    let opening = f64::from(children) * OPEN_CHILD * setup_cost;
    let rest = (serial.total_cost - serial.startup_cost) * (limit / serial.rows).min(1.0);
    // All is done before the first row is given.
    let (read, computed) = (reading.cost, (serial.startup_cost - reading.cost).max(0.0) + rest);
    let saved = computed * processor_time() * (1.0 - 1.0 / processes)
        + read * (1.0 - 1.0 / reading.speedup(processes));

    let mut path = *scan;
    path.path.startup_cost = serial.startup_cost + rest + opening - saved;
    path.path.total_cost = path.path.startup_cost;
    path.path.rows = limit.min(serial.rows);
    path.path.parallel_aware = true;
    path.path.parallel_workers = workers;
    path.custom_private =
        Private { limit: Some(limit as i64), ..Private::of_path(scan) }.encode().into_path();
    let mut rows = path.path.rows;
    let path = root.allocate(path).upcast();
    // SAFETY: the path is the planner's, and safe to execute in workers; all rows of a table are meant,
    // whatever the query above.
    unsafe {
        let gather = pg_sys::create_gather_merge_path(
            root.as_ptr(),
            output.as_ptr(),
            path.as_ptr(),
            serial.pathtarget,
            serial.pathkeys,
            std::ptr::null_mut(),
            &mut rows,
        );
        Some(NodeRef::new(gather.cast()))
    }
}

/// The number of rows that a query wants, those of its OFFSET included; `None` where that is open, or all of
/// them are wanted.
fn constant_limit(query: NodeRef<pg_sys::Query>) -> Option<f64> {
    // Both clauses are of type bigint.
    let constant = |node: NodeRef<pg_sys::Node>| {
        let constant = node.downcast::<pg_sys::Const>().filter(|constant| !constant.constisnull)?;
        Some(constant.constvalue.value() as i64 as f64)
    };
    if query.limitOption != pg_sys::LimitOption::LIMIT_OPTION_COUNT {
        return None;
    }
    let count = constant(query.limitCount()?)?;
    let offset = query.limitOffset().map_or(Some(0.0), constant)?;
    Some(count.max(0.0) + offset.max(0.0)).filter(|limit| *limit >= 1.0)
}
