//! The settings `walia.*`, and those of pgvector that stand in for them.

mod pgvector;

#[cfg(debug_assertions)]
use std::ffi::CString;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::LocalKey;
use std::time::Duration;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum, pg_sys};

use pgvector::Pair;

/// How a scan goes on after its first `walia.ef_search` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum IterativeScan {
    /// Not at all.
    #[name = c"off"]
    Off,
    /// With further rows, as the walk finds them.
    #[name = c"relaxed_order"]
    RelaxedOrder,
    /// With further rows, in the order of their distances.
    #[name = c"strict_order"]
    StrictOrder,
}

/// What pgvector calls them.
const ITERATIVE_SCAN_MODES: [(&str, IterativeScan); 3] = [
    ("off", IterativeScan::Off),
    ("relaxed_order", IterativeScan::RelaxedOrder),
    ("strict_order", IterativeScan::StrictOrder),
];

/// The greatest walia.ef_search.
const MAX_EF_SEARCH: i32 = 10_000;

static EF_SEARCH: GucSetting<i32> = GucSetting::<i32>::new(64);
static ITERATIVE_SCAN: GucSetting<IterativeScan> =
    GucSetting::<IterativeScan>::new(IterativeScan::StrictOrder);
static MAX_SCAN_TUPLES: GucSetting<i32> = GucSetting::<i32>::new(20_000);
static PREFETCH_DEPTH: GucSetting<i32> = GucSetting::<i32>::new(-1);
static FEDERATED_SCAN: GucSetting<bool> = GucSetting::<bool>::new(true);
static NEAREST_SCAN: GucSetting<bool> = GucSetting::<bool>::new(true);
static CODE_SCAN: GucSetting<bool> = GucSetting::<bool>::new(true);
static HEAL: GucSetting<bool> = GucSetting::<bool>::new(true);
static HEAL_BUDGET: GucSetting<i32> = GucSetting::<i32>::new(2);
static PGVECTOR_SETTINGS: GucSetting<bool> = GucSetting::<bool>::new(true);
static BUILD_THREADS: GucSetting<i32> = GucSetting::<i32>::new(0);
static BATCH_INSERTS: GucSetting<bool> = GucSetting::<bool>::new(true);
static LOG_MIN_SCAN_DURATION: GucSetting<i32> = GucSetting::<i32>::new(-1);
#[cfg(debug_assertions)]
static STOP_POINTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// A session may have set what is defined when its first parallel query loads the library. Postgres would
/// forget that, with a warning.
const FLAGS: GucFlags = GucFlags::from_bits_retain(pg_sys::GUC_ALLOW_IN_PARALLEL as i32);

/// How many settings are defined: a library that could not be loaded, for want of memory, is loaded again
/// from the start.
static DEFINED: AtomicUsize = AtomicUsize::new(0);

/// Defines the settings; called when the library is loaded.
pub fn define() {
    let settings: &[fn()] = &[
        || {
            GucRegistry::define_int_guc(
                c"walia.ef_search",
                c"Sets the number of candidates that a search keeps.",
                c"Higher values find more of the nearest rows and take more time.",
                &EF_SEARCH,
                1,
                MAX_EF_SEARCH,
                GucContext::Userset,
                FLAGS,
            );
        },
        || {
            GucRegistry::define_enum_guc(
                c"walia.iterative_scan",
                c"Sets how an index scan continues after its first walia.ef_search rows.",
                c"\"strict_order\" returns further rows in the order of their distances, \"relaxed_order\" in the order in which they are found, and \"off\" returns none.",
                &ITERATIVE_SCAN,
                GucContext::Userset,
                FLAGS,
            );
        },
        || {
            GucRegistry::define_int_guc(
                c"walia.max_scan_tuples",
                c"Sets the maximum number of rows that an index scan takes from the graph.",
                c"After that, the scan reads and sorts all remaining rows.",
                &MAX_SCAN_TUPLES,
                1,
                i32::MAX,
                GucContext::Userset,
                FLAGS,
            );
        },
        || {
            GucRegistry::define_int_guc(
                c"walia.prefetch_depth",
                c"Sets the maximum number of pages that a search prefetches at a time.",
                c"-1 means to use effective_io_concurrency of the tablespace, but at least 16. 0 disables prefetching.",
                &PREFETCH_DEPTH,
                -1,
                1000,
                GucContext::Userset,
                FLAGS,
            );
        },
        || {
            GucRegistry::define_bool_guc(
                c"walia.federated_scan",
                c"Enables the planner's use of one search over the indexes of many tables.",
                c"Applies to partitions, inheritance children, and the branches of UNION ALL.",
                &FEDERATED_SCAN,
                GucContext::Userset,
                FLAGS,
            );
        },
        || {
            GucRegistry::define_bool_guc(
                c"walia.nearest_scan",
                c"Enables the planner's use of searches that test the conditions of a query themselves.",
                c"Applies to a table whose rows are wanted in the order of an indexed distance.",
                &NEAREST_SCAN,
                GucContext::Userset,
                FLAGS,
            );
        },
        || {
            GucRegistry::define_bool_guc(
                c"walia.code_scan",
                c"Enables the planner's use of searches by the codes that btree indexes carry.",
                c"Applies to a table with an index on walia_code() whose other columns the conditions of a query match.",
                &CODE_SCAN,
                GucContext::Userset,
                FLAGS,
            );
        },
        || {
            GucRegistry::define_bool_guc(
                c"walia.heal",
                c"Enables index scans to repair links that lead nowhere.",
                c"Links are repaired at the end of a scan, even in a read-only transaction, but not during recovery.",
                &HEAL,
                GucContext::Userset,
                FLAGS,
            );
        },
        || {
            GucRegistry::define_int_guc(
                c"walia.heal_budget",
                c"Sets the maximum number of nodes whose links an index scan repairs.",
                c"",
                &HEAL_BUDGET,
                1,
                1000,
                GucContext::Userset,
                FLAGS,
            );
        },
        || {
            GucRegistry::define_int_guc(
                c"walia.build_threads",
                c"Sets the maximum number of threads per index build.",
                c"0 means to use max_parallel_maintenance_workers plus one. The number never exceeds max_worker_processes plus one.",
                &BUILD_THREADS,
                0,
                1024,
                GucContext::Userset,
                FLAGS,
            );
        },
        || {
            GucRegistry::define_bool_guc(
                c"walia.pgvector_settings",
                c"Enables the use of pgvector's settings.",
                c"hnsw.ef_search, hnsw.iterative_scan and hnsw.max_scan_tuples apply where they are set and the setting of the same name in walia is not.",
                &PGVECTOR_SETTINGS,
                GucContext::Userset,
                FLAGS,
            );
        },
        || {
            GucRegistry::define_int_guc(
                c"walia.log_min_scan_duration",
                c"Sets the minimum time of a search above which it is logged with its counters.",
                c"-1 disables logging searches. 0 means log all searches.",
                &LOG_MIN_SCAN_DURATION,
                -1,
                i32::MAX,
                GucContext::Suset,
                FLAGS | GucFlags::UNIT_MS,
            );
        },
        || {
            GucRegistry::define_bool_guc(
                c"walia.batch_inserts",
                c"Enables joining the rows of a transaction to an index together.",
                c"Rows of a transaction that inserts more than a few wait until somebody might look for them.",
                &BATCH_INSERTS,
                GucContext::Userset,
                FLAGS,
            );
        },
        #[cfg(debug_assertions)]
        || {
            GucRegistry::define_string_guc(
                c"walia.stop_points",
                c"Sets the stop points at which the session waits for an advisory lock.",
                c"Only debug builds have it, for testing.",
                &STOP_POINTS,
                GucContext::Suset,
                FLAGS,
            );
        },
    ];
    for define in &settings[DEFINED.load(Ordering::Relaxed)..] {
        define();
        DEFINED.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the prefix is a C string, and all of its settings are defined above.
    #[cfg(not(feature = "pg14"))]
    unsafe {
        pg_sys::MarkGUCPrefixReserved(c"walia".as_ptr());
    }
    // SAFETY: as above, under the name that the function had.
    #[cfg(feature = "pg14")]
    unsafe {
        pg_sys::EmitWarningsOnPlaceholders(c"walia".as_ptr());
    }
}

thread_local! {
    static EF_SEARCHES: Pair = const { Pair::new(c"walia.ef_search", c"hnsw.ef_search") };
    static ITERATIVE_SCANS: Pair = const { Pair::new(c"walia.iterative_scan", c"hnsw.iterative_scan") };
    static MAX_SCAN_TUPLES_OF_BOTH: Pair =
        const { Pair::new(c"walia.max_scan_tuples", c"hnsw.max_scan_tuples") };
}

/// The value of pgvector's setting of a pair, where it counts.
fn of_pgvector<T>(pair: &'static LocalKey<Pair>, value: impl FnOnce(&Pair) -> Option<T>) -> Option<T> {
    if PGVECTOR_SETTINGS.get() { pair.with(value) } else { None }
}

/// A number of pgvector's within walia's limits: text that was set before pgvector's library was loaded may
/// be any.
fn number_of_pgvector(pair: &'static LocalKey<Pair>, limits: RangeInclusive<i32>) -> Option<i32> {
    of_pgvector(pair, Pair::number).filter(|number| limits.contains(number))
}

fn ef_search_of_pgvector() -> Option<i32> {
    number_of_pgvector(&EF_SEARCHES, 1..=MAX_EF_SEARCH)
}

fn iterative_scan_of_pgvector() -> Option<IterativeScan> {
    of_pgvector(&ITERATIVE_SCANS, |pair| {
        let text = pair.text()?.to_bytes();
        let mut modes = ITERATIVE_SCAN_MODES.into_iter();
        modes.find_map(|(name, mode)| name.as_bytes().eq_ignore_ascii_case(text).then_some(mode))
    })
}

fn max_scan_tuples_of_pgvector() -> Option<i32> {
    number_of_pgvector(&MAX_SCAN_TUPLES_OF_BOTH, 1..=i32::MAX)
}

/// The settings of pgvector's that count, as EXPLAIN shows them; `None` where there are none.
pub fn settings_of_pgvector() -> Option<String> {
    let iterative_scan = iterative_scan_of_pgvector().and_then(|mode| {
        let (name, _) = ITERATIVE_SCAN_MODES.into_iter().find(|(_, other)| *other == mode)?;
        Some(name.to_owned())
    });
    let settings = [
        ("hnsw.ef_search", ef_search_of_pgvector().map(|number| number.to_string())),
        ("hnsw.iterative_scan", iterative_scan),
        ("hnsw.max_scan_tuples", max_scan_tuples_of_pgvector().map(|number| number.to_string())),
    ];
    let shown = settings.into_iter().filter_map(|(name, value)| Some(format!("{name} = '{}'", value?)));
    let shown = shown.collect::<Vec<_>>().join(", ");
    (!shown.is_empty()).then_some(shown)
}

/// Candidates that a search keeps.
pub fn ef_search() -> usize {
    ef_search_of_pgvector().unwrap_or_else(|| EF_SEARCH.get()) as usize
}

/// How a scan goes on.
pub fn iterative_scan() -> IterativeScan {
    iterative_scan_of_pgvector().unwrap_or_else(|| ITERATIVE_SCAN.get())
}

/// Rows that a scan takes from the graph.
pub fn max_scan_tuples() -> usize {
    max_scan_tuples_of_pgvector().unwrap_or_else(|| MAX_SCAN_TUPLES.get()) as usize
}

/// Pages that a search asks for ahead, 0 for none; `None` where the tablespace decides.
pub fn prefetch_depth() -> Option<usize> {
    usize::try_from(PREFETCH_DEPTH.get()).ok()
}

/// Whether the planner may use searches that test conditions.
pub fn nearest_scan() -> bool {
    NEAREST_SCAN.get()
}

/// Whether the planner may use searches by the codes that btrees carry.
pub fn code_scan() -> bool {
    CODE_SCAN.get()
}

/// Whether the indexes of many tables are searched as one.
pub fn federated_scan() -> bool {
    FEDERATED_SCAN.get()
}

/// Nodes whose links a scan mends at most; 0 for none.
pub fn heal() -> usize {
    if HEAL.get() { HEAL_BUDGET.get() as usize } else { 0 }
}

/// Whether rows of big transactions wait, to be joined to an index together.
pub fn batch_inserts() -> bool {
    BATCH_INSERTS.get()
}

/// The time from which on a search is logged; `None` for never.
pub fn log_min_scan_duration() -> Option<Duration> {
    u64::try_from(LOG_MIN_SCAN_DURATION.get()).ok().map(Duration::from_millis)
}

/// Whether the session is to wait at a stop point.
#[cfg(debug_assertions)]
pub fn stops_at(name: &str) -> bool {
    let names = STOP_POINTS.get();
    let names = names.as_ref().and_then(|names| names.to_str().ok());
    names.is_some_and(|names| names.split(',').any(|stop| stop.trim() == name))
}

/// Threads that build an index, at least 1.
///
/// Parallel workers, which they stand for, come from a pool whose size only the administrator sets, whatever
/// a user wishes.
pub fn build_threads() -> usize {
    // SAFETY: settings that Postgres defines.
    let (workers, pool) = unsafe { (pg_sys::max_parallel_maintenance_workers, pg_sys::max_worker_processes) };
    let wish = match BUILD_THREADS.get() {
        0 => workers + 1,
        threads => threads,
    };
    wish.clamp(1, pool + 1) as usize
}
