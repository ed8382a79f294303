//! What the planner is told: `amcostestimate`. What scans of walia's own cost is in `searches`.

mod searches;

use pgrx::{pg_guard, pg_sys};
pub use searches::{Beside, Federated, Ranking, Walk, of_first, startup};

use super::options::Options;
use super::{column, order};
use crate::error_context::enter;
use crate::guc::{self, IterativeScan};
use crate::nodes::NodeRef;

/// Without codes: the share of an expanded node's links that lead to nodes not seen before.
/// docs/BENCHMARKS.md says how this and the next were found.
const UNSEEN_NEIGHBOURS: f64 = 0.6;
/// With codes: the nodes that are expanded on layer 0 for each of `ef_search`, as estimates err and a beam
/// goes ahead. What is read at the end where payloads lie apart is not modelled.
const EXPANDED: f64 = 1.9;
/// With codes: the pages of a layer above 0, where each node has a second tuple.
const PAGES_OF_LAYER: f64 = 6.0;

/// Dimensions of an index that says nothing of them.
const MANY: f64 = 384.0;

/// What a scan is said to cost that must not be chosen: more than any plan without it, whatever is disabled.
/// Costs are computed from it, which infinity would not bear.
const REFUSED: f64 = 1e100;
/// The same in disabled nodes, which count for more than costs; those of thousands of partitions are added
/// up.
#[cfg(feature = "pg18")]
const REFUSED_NODES: i32 = 10_000;

/// The parts of a scan's cost that do not depend on Postgres's structures.
#[derive(Clone, Copy)]
struct Model {
    /// Rows in the index.
    tuples: f64,
    /// Pages of the index.
    pages: f64,
    /// Pages of all indexes that are searched together, which compete for the cache.
    all_pages: f64,
    /// Pages of the table, without TOAST.
    table_pages: f64,
    /// Dimensions of its vectors.
    dimensions: f64,
    /// Links that a node has on layer 0.
    m0: f64,
    /// Layers of the graph above 0.
    layers: f64,
    /// Whether neighbours are estimated by the codes beside the links that lead to them.
    codes: bool,
    /// Candidates that a search keeps.
    ef_search: f64,
    /// Whether a scan goes on after the first `ef_search` rows.
    iterative: bool,
    /// Pages that are thought to be cached by anybody.
    cached_pages: f64,
    seq_page: f64,
    random_page: f64,
    /// One distance: fetching the tuple from its page and calling the kernel.
    distance: f64,
    /// One comparison of a sort.
    comparison: f64,
}

impl Model {
    fn new(index: NodeRef<pg_sys::IndexOptInfo>, ef_search: f64) -> Self {
        let (mut random_page, mut seq_page) = (0.0, 0.0);
        // SAFETY: looks a tablespace up in the catalog.
        unsafe { pg_sys::get_tablespace_page_costs(index.reltablespace, &mut random_page, &mut seq_page) };
        // SAFETY: settings that Postgres defines.
        let (cached_pages, cpu_tuple, comparison) = unsafe {
            (pg_sys::effective_cache_size, pg_sys::cpu_index_tuple_cost, pg_sys::cpu_operator_cost)
        };
        let tuples = index.tuples.max(0.0);
        let Shape { dimensions, m, m0, codes } = shape(index);
        Self {
            tuples,
            pages: f64::from(index.pages),
            all_pages: f64::from(index.pages),
            table_pages: f64::from(index.rel().pages),
            dimensions,
            m0,
            // ln N / ln m layers, as the paper draws levels.
            layers: tuples.max(1.0).ln() / m.ln(),
            codes,
            ef_search,
            iterative: guc::iterative_scan() != IterativeScan::Off,
            cached_pages: f64::from(cached_pages),
            seq_page,
            random_page,
            distance: cpu_tuple + comparison,
            comparison,
        }
    }

    /// Nodes that the first search expands.
    fn expansions(&self) -> f64 {
        if self.codes {
            self.ef_search * EXPANDED + self.layers * PAGES_OF_LAYER
        } else {
            self.ef_search + self.layers
        }
    }

    /// Those of layer 0, and one of each layer above: what is expanded there besides costs little.
    fn nodes(&self) -> f64 {
        self.ef_search * if self.codes { EXPANDED } else { 1.0 } + self.layers
    }

    /// Pages that so many expansions ask for, each for a node.
    fn pages_asked_for(&self, expansions: f64) -> f64 {
        let visits = if self.codes { expansions } else { expansions * self.m0 * UNSEEN_NEIGHBOURS };
        visits.min(self.tuples)
    }

    /// Pages that the first search asks for, and what is computed on each.
    fn visits(&self) -> (f64, f64) {
        // With codes a node's distance, and about as much time for the estimates of all its neighbours.
        let computing = if self.codes { 2.0 * self.distance } else { self.distance };
        (self.pages_asked_for(self.expansions()), computing)
    }

    /// Cost of the pages that the first search has to read.
    fn reading(&self) -> f64 {
        self.pages_read(self.visits().0) * self.page_costs().1
    }

    /// Costs of the first row, and of all rows.
    ///
    /// The first row costs the whole of a first search. All rows cost the second run besides: a pass over the
    /// index and a sort. Postgres itself adds what fetching rows from the heap costs, at random as
    /// correlation is 0.
    fn costs(&self) -> (f64, f64) {
        let (visits, computing) = self.visits();
        let startup = self.pages_read(visits) * self.page_costs().0 + self.reading() + visits * computing;
        let rest = if self.iterative {
            let sorting = 2.0 * self.comparison * self.tuples * self.tuples.max(2.0).log2();
            self.pages * self.seq_page + self.tuples * self.distance + sorting
        } else {
            0.0
        };
        (startup, startup + rest)
    }

    /// Distinct pages of the index that hold `visited` nodes.
    ///
    /// No more than the table has: a sequential scan is priced without the TOASTed vectors that it would
    /// read, so an index that holds the same vectors in its own pages would always look dearer than it is.
    fn pages_read(&self, visited: f64) -> f64 {
        distinct(self.pages, visited).min(self.pages).min(self.table_pages.max(1.0))
    }

    /// What one of so many pages costs.
    fn page_cost(&self, pages: f64) -> f64 {
        page_cost(self.random_page, self.seq_page, pages / self.pages.min(self.table_pages).max(1.0))
    }

    /// What a page costs on average because it is cached, and because it has to be read. Searches walk
    /// through the same hubs and upper layers again and again: pages that fit the cache cost what the next
    /// page of a sequential scan does.
    fn page_costs(&self) -> (f64, f64) {
        let cached = (self.cached_pages / self.all_pages.max(1.0)).min(1.0);
        (cached * self.seq_page, (1.0 - cached) * self.random_page)
    }
}

/// What a page costs where this part of all is read, as Postgres takes it for a bitmap heap scan: the more of
/// a table are read, the less random is the way from one to the next.
fn page_cost(random_page: f64, seq_page: f64, part: f64) -> f64 {
    random_page - (random_page - seq_page) * part.min(1.0).sqrt()
}

/// Distinct pages that hold so many items at random (Mackert and Lohman's approximation, for one scan and a
/// large cache).
fn distinct(pages: f64, items: f64) -> f64 {
    2.0 * pages * items / (2.0 * pages + items).max(1.0)
}

/// `amcostestimate`.
///
/// # Safety
/// Only Postgres calls it.
#[expect(clippy::too_many_arguments, reason = "Postgres's signature")]
#[pg_guard]
pub unsafe extern "C-unwind" fn amcostestimate(
    root: *mut pg_sys::PlannerInfo,
    path: *mut pg_sys::IndexPath,
    loop_count: f64,
    startup_cost: *mut pg_sys::Cost,
    total_cost: *mut pg_sys::Cost,
    selectivity: *mut pg_sys::Selectivity,
    correlation: *mut f64,
    pages: *mut f64,
) {
    enter!();
    // SAFETY: Postgres gives its planner's state, and a path of an index of this access method.
    let (planner, scan) = unsafe { (NodeRef::new(root), NodeRef::new(path)) };
    let keys = scan.upcast().pathkeys();
    // Two operators on the one column would match as two keys, of which a scan could follow the first only.
    let is_refused =
        scan.indexorderbys().len() != 1 || !order::is_of_answer(planner, scan.indexinfo().rel(), keys);
    let (mut costs, mut selected, mut index_pages) = ((REFUSED, REFUSED), 0.0, 0.0);
    if is_refused {
        // SAFETY: the path is being made.
        #[cfg(feature = "pg18")]
        unsafe {
            (*path).path.disabled_nodes = REFUSED_NODES
        };
    } else {
        let orders = scan.indexorderbys.cast();
        // Postgres looks at the conditions and columns of a table only. A worker has no value for a parameter
        // of an outer query, and would crash on it.
        // SAFETY: the path is being made.
        unsafe { (*path).path.parallel_safe &= pg_sys::is_parallel_safe(root, orders) };
        // For the selectivity of a partial index's predicate.
        let mut generic = pg_sys::GenericCosts::default();
        // SAFETY: the path is being made; all that is known of its costs is zero.
        unsafe { pg_sys::genericcostestimate(root, path, loop_count, &mut generic) };
        let model = Model::new(scan.indexinfo(), guc::ef_search() as f64);
        (costs, selected, index_pages) = (model.costs(), generic.indexSelectivity, model.pages);
    }
    // SAFETY: Postgres gives places for the answers.
    unsafe {
        (*startup_cost, *total_cost) = costs;
        *selectivity = selected;
        *correlation = 0.0;
        *pages = index_pages;
    }
}

/// Whether an index is one of walia_hnsw's.
pub fn is_index(index: NodeRef<pg_sys::IndexOptInfo>) -> bool {
    // The planner's header declares it without parameters.
    index.amcostestimate.is_some_and(|function| function as usize == amcostestimate as *const () as usize)
}

/// Whether a path scans a walia_hnsw index.
pub fn is_scan(path: NodeRef<pg_sys::IndexPath>) -> bool {
    is_index(path.indexinfo())
}

/// What the planner has to know of a graph.
struct Shape {
    dimensions: f64,
    m: f64,
    m0: f64,
    codes: bool,
}

/// What an index's options say of its graph.
///
/// Its pages are not read. After ALTER INDEX the answer is that of the next REINDEX, and where that would be
/// refused, that of an index without codes. An index that some tool has the planner imagine is taken for one
/// with the defaults.
fn shape(index: NodeRef<pg_sys::IndexOptInfo>) -> Shape {
    if index.hypothetical {
        return Shape { dimensions: MANY, m: 16.0, m0: 32.0, codes: true };
    }
    // SAFETY: the planner has locked the indexes that it may use; the relation is closed before the function
    // returns.
    let (parameters, options) = unsafe {
        let relation = pg_sys::index_open(index.indexoid, pg_sys::NoLock as pg_sys::LOCKMODE);
        let known = (column::parameters(relation), Options::of(relation));
        pg_sys::index_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        known
    };
    match parameters {
        Ok(parameters) => Shape {
            dimensions: parameters.dimensions as f64,
            m: parameters.m.into(),
            m0: parameters.m0.into(),
            codes: parameters.code_bits > 0,
        },
        Err(_) => {
            let m = options.m.into();
            Shape { dimensions: MANY, m, m0: 2.0 * m, codes: false }
        }
    }
}
