//! What searches cost that are not the scan of one index: many indexes as one, walks under conditions,
//! rankings by codes.

use pgrx::pg_sys;
use walia_core::page::scan::{LOOK, reach, share as results_of_each};
use walia_core::rank::readings;

use super::{MANY, Model, distinct, page_cost};
use crate::guc;
use crate::nodes::NodeRef;

/// What expanding a node costs, in pages and in computing. Fitted to sentence embeddings of 384 dimensions in
/// memory, where it takes 2.3 times as long as a row of a bitmap heap scan.
const PAGES_OF_EXPANSION: f64 = 1.5;
const EXPANSION: f64 = 0.2;
/// With so many dimensions or more, of which Postgres does not know what they cost elsewhere, so much more.
const EXPANSION_OF_MANY: f64 = 0.8;

/// Where rows are ranked by codes: rows that are measured for each that is wanted, and besides, and what it
/// costs to estimate one.
const MEASURED: f64 = 1.5;
const MEASURED_BESIDES: f64 = 20.0;
const ESTIMATE: f64 = 0.02;
/// The share of all rows that is measured besides where there are few dimensions: this divided by their
/// square.
const FEW: f64 = 4.0;
/// What beginning costs: a few dozen rows are better sorted.
const RANKING: f64 = 8.0;

/// What it costs that indexes are searched as one.
#[derive(Clone, Copy)]
pub struct Federated {
    /// What the first search of each costs less than on its own, in all.
    pub saved: f64,
    /// What of the first searches is the cost of pages that have to be read.
    pub reading: f64,
}

impl Federated {
    /// For scans of these walia_hnsw indexes.
    pub fn new(paths: &[NodeRef<pg_sys::IndexPath>]) -> Self {
        let indexes: Vec<_> = paths.iter().map(|path| path.indexinfo()).collect();
        let all_pages = indexes.iter().map(|index| f64::from(index.pages)).sum();
        let share = results_of_each(guc::ef_search(), indexes.len()) as f64;
        let (mut saved, mut reading) = (0.0, 0.0);
        for index in indexes {
            let alone = Model::new(index, guc::ef_search() as f64);
            let as_one = Model { ef_search: share, all_pages, ..alone };
            saved += alone.costs().0 - as_one.costs().0;
            reading += as_one.reading();
        }
        Self { saved, reading }
    }
}

/// How all rows that pass would be found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// By an index.
    Index,
    /// By reading whole tables.
    Sequential,
}

impl Beside {
    /// By this path of a table.
    pub fn of(path: NodeRef<pg_sys::Path>) -> Self {
        if path.pathtype == pg_sys::NodeTag::T_SeqScan { Self::Sequential } else { Self::Index }
    }
}

/// What it costs to look for the nearest rows that pass.
#[derive(Clone, Copy)]
pub struct Walk {
    /// Until those that are wanted have been found.
    pub first: f64,
    /// Until it is known which share of the rows around the query passes.
    pub look: f64,
    /// Giving one of them.
    pub row: f64,
    /// Finding and giving one more.
    pub further: f64,
    /// Expanding a node.
    pub expansion: f64,
    /// Testing a row.
    pub test: f64,
}

impl Walk {
    /// For so many rows of tables whose indexes are searched as one, where this share passes conditions that
    /// cost so much, beside this way to rank all of them.
    pub fn new(
        indexes: &[NodeRef<pg_sys::IndexOptInfo>],
        wanted: f64,
        share: f64,
        conditions: f64,
        beside: Beside,
    ) -> Self {
        let models: Vec<_> =
            indexes.iter().map(|index| Model::new(*index, guc::ef_search() as f64)).collect();
        let all = |part: &dyn Fn(&Model) -> f64| models.iter().map(part).sum::<f64>();
        let pages = all(&|model| model.pages);
        let (tuples, table_pages) = (all(&|model| model.tuples), all(&|model| model.table_pages));
        let model = Model { tuples, pages, all_pages: pages, table_pages, ..models[0] };
        let tests = (wanted / share).min(model.tuples.max(1.0));
        let each = reach(guc::ef_search(), wanted as usize);
        // Each graph has a search of its own, if a lesser one, that tells nothing of the others.
        let ef_search = results_of_each(guc::ef_search(), indexes.len()) as f64;
        let searches = all(&|of_index| Model { ef_search, ..*of_index }.nodes());
        let besides = (searches - model.nodes()).max(0.0);
        let expansions = (tests * each).max(model.expansions()) + besides;
        let expansions = expansions.clamp(1.0, model.tuples.max(1.0));
        let pages = model.pages_read(model.pages_asked_for(expansions));
        let computing = EXPANSION + EXPANSION_OF_MANY * (model.dimensions / MANY).min(1.0);
        // What is compared is priced in one way: for an index's rows Postgres takes pages to be read at
        // random.
        let expansion = match beside {
            Beside::Index => PAGES_OF_EXPANSION * pages * model.page_cost(pages) / expansions + computing,
            Beside::Sequential => model.costs().0 / model.expansions(),
        };
        // SAFETY: a setting that Postgres defines.
        let row = unsafe { pg_sys::cpu_tuple_cost };
        let pages = distinct(model.table_pages, tests);
        let page = match beside {
            Beside::Index => model.page_cost(pages),
            Beside::Sequential => model.seq_page,
        };
        let test = pages * page / tests + row + conditions;
        let first = expansions * expansion + tests * test;
        // The first search of one table is short where this is wanted.
        let results = if indexes.len() == 1 { guc::ef_search().min(LOOK) } else { guc::ef_search() };
        let of_each = results_of_each(results, indexes.len()) as f64;
        let looks = all(&|of_index| Model { ef_search: of_each, ..*of_index }.expansions());
        let look = looks.min(expansions) * expansion + (results as f64).min(tests) * test;
        Self { first, look, row, further: (each * expansion + test) / share, expansion, test }
    }
}

/// What it costs to rank rows by the codes of an index's entries.
#[derive(Clone, Copy)]
pub struct Ranking {
    /// Before the first row.
    pub startup: f64,
    /// In all.
    pub total: f64,
}

impl Ranking {
    /// For a scan of an index that costs so much and gives this share of its entries, of whose rows so many
    /// pass, where so many are wanted at first. Codes have so many bits a dimension; the dimensions may not
    /// be known.
    pub fn new(
        index: NodeRef<pg_sys::IndexOptInfo>,
        bits: u8,
        dimensions: Option<f64>,
        scan: f64,
        selected: f64,
        rows: f64,
        wanted: f64,
    ) -> Self {
        let table = index.rel();
        let entries = (selected * index.tuples).max(1.0);
        let share = (rows / entries).clamp(1e-9, 1.0);
        let wanted = wanted.min(rows);
        // The error of an estimate beside the distance grows as there are fewer dimensions, or bits.
        let error = 2.0 / f64::from(bits);
        let doubtful = dimensions.map_or(0.0, |dimensions| error * FEW / (dimensions * dimensions)) * entries;
        let measured =
            ((error * (MEASURED * wanted + MEASURED_BESIDES) + doubtful) / share).clamp(1.0, entries);
        let (mut random_page, mut seq_page) = (0.0, 0.0);
        // SAFETY: looks a tablespace up in the catalog.
        unsafe { pg_sys::get_tablespace_page_costs(table.reltablespace, &mut random_page, &mut seq_page) };
        let all = f64::from(table.pages).max(1.0);
        let pages = distinct(all, measured);
        let page = page_cost(random_page, seq_page, pages / all);
        // SAFETY: a setting that Postgres defines.
        let row = unsafe { pg_sys::cpu_tuple_cost };
        let test = pages * page / measured + row + table.baserestrictcost.per_tuple;
        let readings = readings(measured, wanted);
        let first = RANKING + readings * (scan + entries * ESTIMATE) + measured * test;
        let total = first + (rows - wanted) * MEASURED.min(entries / rows) / share * test;
        Self { startup: startup(first, total, wanted / rows), total }
    }
}

/// The cost before the first row, where this part of the rows costs so much: Postgres takes the costs in
/// between for a straight line.
pub fn startup(first: f64, total: f64, part: f64) -> f64 {
    let part = part.min(0.99);
    ((first - total * part) / (1.0 - part)).clamp(0.0, first)
}

/// What the first rows of a path cost, on that line.
pub fn of_first(path: NodeRef<pg_sys::Path>, wanted: f64) -> f64 {
    let part = (wanted / path.rows.max(1.0)).min(1.0);
    path.startup_cost + (path.total_cost - path.startup_cost) * part
}
