//! Batches that are built in memory and joined to an index.

use crate::crash::{crash_during, filled};
use crate::repair::nodes;
use crate::table::{OPTIONS, Table, Value, bytes, coded, parameters, sparse};
use rand::Rng;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use walia_core::arena::{Arena, Feeder, Settings};
use walia_core::graph::BuiltGraph;
use walia_core::kernel::Measure;
use walia_core::page::format::tuple::AsideKind;
use walia_core::page::scan::ScanOptions;
use walia_core::page::vacuum::connect;
use walia_core::page::{
    Helpers, Index, JoinHelper, JoinOptions, MemoryStore, PageStore, Pages, max_level, statistics,
    write_graph,
};
use walia_core::types::{HeapTid, Link, Metric, Parameters, PayloadEncoding, Result};

/// Memory of a join: so little that lists are changed more than once, and nodes are searched for one by one.
const LITTLE: usize = 64 << 10;
/// So much that neighbours of many nodes are chosen together.
const MUCH: usize = 64 << 20;

/// What is wrong with no index to which batches were joined.
pub const WRONG: [&str; 5] = ["stale", "duplicate", "itself", "owner", "code"];

/// How a batch is joined: its graph begins with the nodes of the index, or does not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Adopting,
    Searching,
}

pub const WAYS: [Way; 2] = [Way::Adopting, Way::Searching];

/// Rows that shall be in an index.
pub struct Batch {
    parameters: Parameters,
    way: Way,
    /// Bytes for the join.
    memory: usize,
    /// Who searches beside who joins.
    helpers: usize,
    /// The rows.
    pub rows: BTreeMap<HeapTid, Value>,
}

impl Batch {
    /// New rows of a table.
    pub fn new(table: &mut Table, way: Way, values: impl IntoIterator<Item = Value>) -> Self {
        let rows = values.into_iter().map(|value| (table.next_tid(), value)).collect();
        Self::of_rows(table.parameters, way, rows)
    }

    /// Given rows.
    pub fn of_rows(parameters: Parameters, way: Way, rows: BTreeMap<HeapTid, Value>) -> Self {
        Self { parameters, way, memory: LITTLE, helpers: 2, rows }
    }

    /// Builds their graph, around no centroid, beside the nodes of an index.
    fn graph<Store: PageStore>(&self, index: Option<&Index<Store>>, pool: &ThreadPool) -> Result<Graph> {
        let parameters = self.parameters;
        let measure = Measure::new(parameters.metric, parameters.element);
        let centroid = match parameters.code_bits {
            0 => Vec::new(),
            _ => vec![0.0; parameters.dimensions],
        };
        let settings = Settings::new(parameters, &centroid, max_level(&parameters).unwrap(), 1 << 30);
        let mut feeder = Feeder::new(settings, pool);
        let mut adopted = Vec::new();
        if let Some(index) = index {
            match index.adopt(&mut feeder)? {
                Some(places) => adopted = places,
                // A vacuum has come between.
                None => return self.graph::<Store>(None, pool),
            }
        }
        let mut asides = Vec::new();
        for (tid, value) in &self.rows {
            match value {
                None => asides.push((AsideKind::Null, *tid)),
                Some(vector) if measure.is_undefined(vector) => asides.push((AsideKind::ZeroVector, *tid)),
                Some(vector) => feeder.push(vector, *tid).unwrap(),
            }
        }
        Ok(Graph { arena: feeder.finish(|_| ())?.unwrap(), adopted, asides })
    }

    /// Joins it.
    pub fn join<Store: PageStore>(&self, index: &Index<Store>) -> Result<()> {
        let begun_with = (self.way == Way::Adopting).then_some(index);
        let Graph { mut arena, adopted, asides } = self.graph(begun_with, &pool(1))?;
        let is_dense = index.is_dense(arena.len().into())?;
        let options = JoinOptions { adopted, is_dense, memory: self.memory, pool: &pool(4) };
        let mut helpers = Beside::new(index, self.memory, self.helpers);
        index.join_graph(&mut arena, &asides, options, &mut helpers, &mut |_| ())
    }
}

/// Helpers of this process. Those of even numbers search when they are asked, the others when their answer is
/// waited for, and the index has changed meanwhile.
struct Beside<'i, Store: PageStore>(Vec<(JoinHelper<'i, Store>, Vec<u8>)>);

impl<'i, Store: PageStore> Beside<'i, Store> {
    fn new(index: &'i Index<Store>, memory: usize, count: usize) -> Self {
        let memory = JoinOptions::memory_of_searcher(memory, 1 + count);
        Self((0..count).map(|_| (JoinHelper::new(index, memory), Vec::new())).collect())
    }
}

impl<Store: PageStore> Beside<'_, Store> {
    /// Puts the answer in the place of the request; none where the store has crashed.
    fn search(&mut self, helper: usize) {
        let (helper, message) = &mut self.0[helper];
        *message = helper.answer(message).unwrap_or_default();
    }
}

impl<Store: PageStore> Helpers for Beside<'_, Store> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn ask(&mut self, helper: usize, request: &[u8]) {
        self.0[helper].1 = request.to_vec();
        if helper.is_multiple_of(2) {
            self.search(helper);
        }
    }

    fn answer(&mut self, helper: usize) -> &[u8] {
        if !helper.is_multiple_of(2) {
            self.search(helper);
        }
        &self.0[helper].1
    }
}

/// One thread builds the same graph again; those of a join can be several.
fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// The graph of a batch.
struct Graph {
    arena: Arena,
    adopted: Vec<Link>,
    asides: Vec<(AsideKind, HeapTid)>,
}

/// Joins new rows to the table's index, with little memory.
fn join(table: &mut Table, way: Way, values: impl IntoIterator<Item = Value>) -> Result<()> {
    join_within(LITTLE, table, way, values)
}

fn join_within(
    memory: usize,
    table: &mut Table,
    way: Way,
    values: impl IntoIterator<Item = Value>,
) -> Result<()> {
    let mut batch = Batch { memory, ..Batch::new(table, way, values) };
    // Until the join has ended they may be in the index or not.
    table.dead.extend(batch.rows.keys());
    batch.join(&table.index())?;
    batch.rows.keys().for_each(|tid| _ = table.dead.remove(tid));
    table.rows.append(&mut batch.rows);
    Ok(())
}

pub fn random_values(table: &mut Table, count: usize) -> Vec<Value> {
    (0..count).map(|_| Some(table.random_vector())).collect()
}

/// Values of all kinds, some of which rows have already.
pub fn mixed_values(table: &mut Table, count: usize) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::new();
    for _ in 0..count {
        values.push(match table.random.random_range(0..100) {
            0..3 => None,
            3..6 => Some(bytes(vec![0.0; table.parameters.dimensions], table.parameters.element)),
            6..20 => table.any_row().and_then(|tid| table.rows[&tid].clone()),
            20..30 if !values.is_empty() => values[table.random.random_range(0..values.len())].clone(),
            _ => Some(table.random_vector()),
        });
    }
    values
}

/// A table whose index was built of the first of its rows, and joined to the other ones.
fn joined(parameters: Parameters, way: Way, rows: usize, batches: usize) -> Table {
    let mut table = Table::new(MemoryStore::new(), parameters);
    let values = random_values(&mut table, rows);
    let mut batches = values.chunks(rows.div_ceil(batches));
    let first = Batch::new(&mut table, way, batches.next().unwrap().to_vec());
    table.store = MemoryStore::new();
    write_graph(
        &first.graph::<MemoryStore>(None, &pool(1)).unwrap().arena,
        &[],
        &mut &table.store,
        &mut |_| (),
    )
    .unwrap();
    table.rows = first.rows;
    for batch in batches {
        join_within(MUCH, &mut table, way, batch.to_vec()).unwrap();
        table.assert_sound(&WRONG);
    }
    table
}

fn assert_recall(parameters: Parameters, rows: usize, batches: &[usize]) {
    // So narrow that recall tells graphs apart.
    let options = ScanOptions { ef_search: 24, ..OPTIONS };
    let mut whole = joined(parameters, Way::Searching, rows, 1);
    let random = whole.random.clone();
    let expected = whole.recall(10, 400, options);
    for (way, batches) in WAYS.into_iter().flat_map(|way| batches.iter().map(move |batches| (way, batches))) {
        let mut table = joined(parameters, way, rows, *batches);
        let unreached = connect(&table.index()).unwrap();
        table.assert_sound(&["cannot be reached", "stale", "duplicate", "itself", "owner", "code"]);
        table.random = random.clone();
        let recall = table.recall(10, 400, options);
        println!(
            "{parameters:?}, {way:?}: {batches} batches: {recall} beside {expected}, {unreached} relinked"
        );
        assert!(
            recall > expected - 0.003,
            "{parameters:?}, {way:?}: {batches} batches: {recall} beside {expected}"
        );
        let query = table.random_vector();
        table.assert_complete(Some(&query), OPTIONS);
    }
}

#[test]
fn recall_of_joined_batches() {
    for metric in [Metric::L2, Metric::Cosine, Metric::InnerProduct, Metric::L1] {
        assert_recall(parameters(12, metric), 2000, &[2, 5]);
    }
}

#[test]
fn recall_of_joined_batches_by_codes() {
    for (metric, bits, payload) in [
        (Metric::L2, 2, PayloadEncoding::Column),
        (Metric::Cosine, 4, PayloadEncoding::F16),
        (Metric::L2, 4, PayloadEncoding::Sq8),
    ] {
        assert_recall(coded(32, metric, bits, payload), 2000, &[2, 8]);
    }
}

#[test]
fn batches_join_what_changes_between_them() {
    let kinds = [
        parameters(8, Metric::Cosine),
        Parameters { m: 2, m0: 4, ..parameters(6, Metric::L2) },
        parameters(2500, Metric::L2),
        sparse(60, Metric::Cosine),
        sparse(900, Metric::InnerProduct),
        coded(24, Metric::Cosine, 2, PayloadEncoding::F16),
        coded(24, Metric::L2, 4, PayloadEncoding::Sq8),
        coded(3000, Metric::L2, 1, PayloadEncoding::F16),
    ];
    for (parameters, way) in kinds.into_iter().flat_map(|kind| WAYS.map(|way| (kind, way))) {
        let rows = if parameters.dimensions > 1000 { 60 } else { 300 };
        let mut table = Table::new(MemoryStore::new(), parameters);
        for round in 0..4 {
            let values = mixed_values(&mut table, rows);
            join_within(if round < 2 { LITTLE } else { MUCH }, &mut table, way, values).unwrap();
            table.assert_sound(&WRONG);
            for _ in 0..rows / 2 {
                let value = Some(table.random_vector());
                table.insert(value).unwrap();
                let Some(tid) = table.any_row() else { continue };
                table.delete(tid);
            }
            let query = table.random_vector();
            table.assert_complete(Some(&query), OPTIONS);
            table.assert_complete(None, OPTIONS);
            if round % 2 == 0 {
                table.vacuum().unwrap();
                table.assert_sound(&["cannot be reached", "tombstone", "did not end"]);
                table.assert_sound(&WRONG);
                table.assert_complete(Some(&query), ScanOptions { ef_search: 1, ..OPTIONS });
            }
        }
    }
}

#[test]
fn crashes_during_a_join() {
    let of_levels = Parameters { m: 2, m0: 4, ..parameters(8, Metric::Cosine) };
    for (parameters, rows) in [
        (of_levels, 40),
        (coded(16, Metric::L2, 2, PayloadEncoding::Column), 40),
        (Parameters { m: 2, m0: 4, ..parameters(5000, Metric::L2) }, 6),
    ] {
        for (before, way) in [(0, Way::Searching), (rows, Way::Searching), (rows, Way::Adopting)] {
            let mut table = filled(parameters, before);
            let values = mixed_values(&mut table, rows);
            crash_during(&mut table, |table| join(table, way, values));
        }
    }
}

/// No prefix of a join's units leads to what is not there.
#[test]
fn links_lead_to_what_is_there_after_each_commit() {
    for way in WAYS {
        let mut table = filled(Parameters { m: 2, m0: 4, ..parameters(8, Metric::L2) }, 60);
        let values = random_values(&mut table, 60);
        let before = table.store.commits();
        join(&mut table, way, values).unwrap();
        for commits in before..table.store.commits() {
            // An upper tuple is there before its node leads to it where a node takes a place on an old page.
            table.crashed(commits, 0).assert_sound(&["stale", "duplicate", "itself", "tombstone"]);
        }
    }
}

#[test]
fn rows_that_share_a_vector_are_joined() {
    for way in WAYS {
        let mut table = Table::new(MemoryStore::recording(), parameters(3, Metric::L2));
        let vector = table.random_vector();
        table.insert(Some(vector.clone())).unwrap();
        let before = table.store.commits();
        join(&mut table, way, vec![Some(vector.clone()); 500]).unwrap();
        assert_eq!(statistics(&table.index()).unwrap().nodes(), 1);
        assert!(table.store.commits() - before < 30, "many rows go into one tuple");
        let other = table.random_vector();
        join(&mut table, way, vec![Some(other.clone()); 500]).unwrap();
        assert_eq!(statistics(&table.index()).unwrap().nodes(), 2);
        table.assert_complete(Some(&vector), OPTIONS);
        table.assert_complete(Some(&other), OPTIONS);
        join(&mut table, way, vec![None; 500]).unwrap();
        table.assert_complete(Some(&other), OPTIONS);
        table.assert_sound(&WRONG);
    }
}

/// Each page that was there is changed once where memory holds all offers, however many nodes lie on it.
#[test]
fn pages_are_changed_once() {
    for way in [Way::Searching, Way::Adopting] {
        let mut table = filled(parameters(4, Metric::L2), 600);
        let values = random_values(&mut table, 600);
        let old = nodes(&table).len();
        let mut batch = Batch { memory: MUCH, ..Batch::new(&mut table, way, values) };
        let (pages, before) = (u64::from(table.store.block_count().unwrap()), table.store.commits());
        batch.join(&table.index()).unwrap();
        table.rows.append(&mut batch.rows);
        let added = u64::from(table.store.block_count().unwrap()) - pages;
        let commits = table.store.commits() - before;
        // Each place on an old page takes some: the node, and its upper tuple.
        let places = nodes(&table).iter().filter(|node| u64::from(node.block) < pages).count() - old;
        let most = pages + 2 * added + 4 * places as u64 + 1;
        println!("{way:?}: {commits} units for {pages} pages, {added} new ones and {places} places");
        assert!(commits <= most, "{commits} units for {pages} pages, {added} new ones and {places} places");
        let query = table.random_vector();
        table.assert_complete(Some(&query), OPTIONS);
    }
}

/// Places of removed nodes are taken before the index grows.
#[test]
fn batches_use_places_again() {
    let kinds = [
        parameters(8, Metric::L2),
        Parameters { m: 2, m0: 4, ..parameters(8, Metric::L2) },
        coded(24, Metric::Cosine, 2, PayloadEncoding::F16),
    ];
    for (parameters, way) in kinds.into_iter().flat_map(|kind| WAYS.map(|way| (kind, way))) {
        let mut table = filled(parameters, 400);
        let pages = table.store.block_count().unwrap();
        for round in 0..4 {
            let victims: Vec<_> = table.rows.keys().copied().step_by(2).collect();
            victims.iter().for_each(|tid| table.delete(*tid));
            table.vacuum().unwrap();
            let values = random_values(&mut table, victims.len());
            join(&mut table, way, values).unwrap();
            table.assert_sound(&WRONG);
            let now = table.store.block_count().unwrap();
            assert!(
                now <= pages + pages / 20 + 1,
                "{parameters:?}, {way:?}, round {round}: {pages} and then {now} pages"
            );
        }
        let query = table.random_vector();
        table.assert_complete(Some(&query), OPTIONS);
    }
}
