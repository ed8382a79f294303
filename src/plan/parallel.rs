//! The planner's side of a scan by several processes: when it is possible, and what it costs.
//!
//! Imports nothing from this crate.

use pgrx::pg_sys;

/// What it costs to open a child in a worker, beside starting one: it reads the catalogs anew, as a process that has just been started.
const OPEN_CHILD: f64 = 0.02;

/// The part of a process's time that its leader spends on the rows of each worker, as Postgres thinks.
const LEADER_DISTRACTION: f64 = 0.3;

/// The scan that is executed by workers and the leader under a Gather Merge; `None` where it cannot be.
///
/// It gives no more rows than are wanted of it: so it is known how many that is.
///
/// # Safety
/// `scan` is a path that could be offered for `output`, of the same planner, and `output` is that of UPPERREL_ORDERED.
pub unsafe fn with_workers(
    root: *mut pg_sys::PlannerInfo,
    output: *mut pg_sys::RelOptInfo,
    scan: *mut pg_sys::CustomPath,
) -> Option<*mut pg_sys::Path> {
    // SAFETY: by the caller's promise.
    unsafe {
        let serial = &(*scan).path;
        let limit = constant_limit(&*(*root).parse)?;
        let row_size =
            f64::from((*serial.pathtarget).width) + size_of::<pg_sys::HeapTupleHeaderData>() as f64;
        let children = pg_sys::list_length((*scan).custom_paths);
        let leader = i32::from(pg_sys::parallel_leader_participation);
        let workers = pg_sys::max_parallel_workers_per_gather.min(children - leader);
        let is_safe =
            (*output).consider_parallel && (*serial.parent).consider_parallel && serial.parallel_safe;
        if !is_safe || workers < 1 || limit * row_size > f64::from(pg_sys::work_mem) * 1024.0 {
            return None;
        }
        let distracted = 1.0 - LEADER_DISTRACTION * f64::from(workers);
        let processes = f64::from(workers) + f64::from(leader) * distracted.max(0.0);
        let opening = f64::from(children) * OPEN_CHILD * pg_sys::parallel_setup_cost;
        let rest = (serial.total_cost - serial.startup_cost) * (limit / serial.rows).min(1.0);

        let path = pg_sys::palloc0(size_of::<pg_sys::CustomPath>()).cast::<pg_sys::CustomPath>();
        *path = *scan;
        // All is done before the first row is given.
        (*path).path.startup_cost = opening + (serial.startup_cost + rest) / processes;
        (*path).path.total_cost = (*path).path.startup_cost;
        (*path).path.rows = limit.min(serial.rows);
        (*path).path.parallel_aware = true;
        (*path).path.parallel_workers = workers;
        let mut rows = (*path).path.rows;
        let limit = pg_sys::makeConst(
            pg_sys::INT8OID,
            -1,
            pg_sys::InvalidOid,
            size_of::<i64>() as i32,
            pg_sys::Datum::from(limit as i64),
            false,
            true,
        );
        (*path).custom_private = pg_sys::lappend(pg_sys::list_copy((*scan).custom_private), limit.cast());
        let gather = pg_sys::create_gather_merge_path(
            root,
            output,
            path.cast(),
            serial.pathtarget,
            serial.pathkeys,
            std::ptr::null_mut(),
            &mut rows,
        );
        Some(gather.cast())
    }
}

/// The number of rows that a query wants, those of its OFFSET included; `None` where that is open, or all of them are wanted.
///
/// # Safety
/// The query is planned.
unsafe fn constant_limit(query: &pg_sys::Query) -> Option<f64> {
    let constant = |node: *mut pg_sys::Node| {
        // SAFETY: by the caller's promise; the tag says what it is, and both clauses are of type bigint.
        unsafe {
            let constant = node.cast::<pg_sys::Const>();
            ((*node).type_ == pg_sys::NodeTag::T_Const && !(*constant).constisnull)
                .then(|| (*constant).constvalue.value() as i64 as f64)
        }
    };
    if query.limitCount.is_null() || query.limitOption != pg_sys::LimitOption::LIMIT_OPTION_COUNT {
        return None;
    }
    let offset = if query.limitOffset.is_null() { 0.0 } else { constant(query.limitOffset)? };
    Some(constant(query.limitCount)?.max(0.0) + offset.max(0.0)).filter(|limit| *limit >= 1.0)
}
