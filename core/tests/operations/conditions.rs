//! Searches for the nearest rows that pass: which rows they give, what they cost, and when they give up.

mod look;
mod many;

use crate::interleaved::rows_that_share_a_vector;
use crate::table::{OPTIONS, RamSorter, Table, coded, parameters};
use std::cell::Cell;
use std::collections::BTreeSet;
use walia_core::kernel::Measure;
use walia_core::page::scan::{
    Alternative, Answer, ColumnVectors, IterativeScan, Nearest, NearestOptions, Reason, ScanOptions,
    ScanStats, TestedTable,
};
use walia_core::page::{MemoryStore, Meta};
use walia_core::types::{HeapTid, Metric, PayloadEncoding};

const WANTED: NearestOptions =
    NearestOptions { scan: OPTIONS, wanted: 10, is_known: true, radius: f64::INFINITY, alternative: None };

/// The live rows of a table, and a condition on them.
struct Conditions<'t, Passes> {
    table: &'t Table,
    query: Option<&'t [u8]>,
    passes: Passes,
    tests: &'t Cell<usize>,
}

impl<Passes> Conditions<'_, Passes> {
    fn measured(&self, heap_tid: HeapTid) -> Option<f64> {
        let measure = Measure::new(self.table.parameters.metric, self.table.parameters.element);
        let vector = self.table.rows.get(&heap_tid)?.as_deref()?;
        Some(measure.distance(self.query?, vector) + 0.0)
    }
}

impl<Passes: Fn(HeapTid) -> bool> ColumnVectors for Conditions<'_, Passes> {
    fn prefetch(&mut self, _: &[HeapTid]) {}

    fn distance(&mut self, heap_tid: HeapTid) -> Option<f64> {
        self.measured(heap_tid)
    }
}

impl<Passes: Fn(HeapTid) -> bool> TestedTable for Conditions<'_, Passes> {
    type Row = HeapTid;

    fn depth(&self) -> usize {
        usize::MAX
    }

    fn test(&mut self, heap_tid: HeapTid) -> Option<HeapTid> {
        self.tests.set(self.tests.get() + 1);
        (self.table.rows.contains_key(&heap_tid) && (self.passes)(heap_tid)).then_some(heap_tid)
    }

    fn distance_of(&mut self, row: &HeapTid) -> f64 {
        self.measured(*row).expect("a row that passed has a vector")
    }
}

/// The first rows of a search, at most so many; whether it gave up; and what it did.
fn search(
    table: &Table,
    query: Option<&[u8]>,
    options: NearestOptions,
    most: usize,
    passes: impl Fn(HeapTid) -> bool,
) -> (Vec<HeapTid>, Option<Reason>, ScanStats) {
    let (rows, gave_up, stats) = search_all(&[table], query, options, most, &|_, tid| passes(tid));
    (rows.into_iter().map(|(_, row)| row).collect(), gave_up, stats)
}

/// The same for many tables: rows with the numbers of theirs.
fn search_all(
    tables: &[&Table],
    query: Option<&[u8]>,
    mut options: NearestOptions,
    most: usize,
    passes: &dyn Fn(usize, HeapTid) -> bool,
) -> (Vec<(usize, HeapTid)>, Option<Reason>, ScanStats) {
    let tests = Cell::new(0);
    options.scan.members = tables.len();
    let mut nearest = Nearest::new(options);
    for (number, table) in tables.iter().enumerate() {
        let passes = move |tid| passes(number, tid);
        let conditions = Conditions { table, query, passes, tests: &tests };
        let index = table.index();
        let meta = Meta::read(&index.store).unwrap();
        nearest.add(index, meta, query, RamSorter::default(), conditions).unwrap();
    }
    let (mut rows, mut gave_up) = (Vec::new(), None);
    while rows.len() < most {
        match nearest.next_row().unwrap() {
            Answer::Row(table, row) => rows.push((table, row)),
            Answer::GivesUp(reason) => {
                gave_up = Some(reason);
                break;
            }
            Answer::End => break,
        }
    }
    let stats = nearest.stats();
    (rows, gave_up, stats)
}

/// The distances of the rows that pass, in order: what a search has to find.
fn truth(table: &Table, query: &[u8], passes: impl Fn(HeapTid) -> bool) -> Vec<f64> {
    let measure = Measure::new(table.parameters.metric, table.parameters.element);
    let vectors = table.rows.iter().filter(|(tid, _)| passes(**tid)).filter_map(|(_, row)| row.as_deref());
    let mut distances: Vec<f64> =
        vectors.map(|row| measure.distance(query, row) + 0.0).filter(|d| !d.is_nan()).collect();
    distances.sort_by(f64::total_cmp);
    distances
}

/// How many rows are as near as this.
fn within(table: &Table, query: &[u8], rows: &[HeapTid], furthest: f64) -> usize {
    let measure = Measure::new(table.parameters.metric, table.parameters.element);
    let distance = |tid: &&HeapTid| measure.distance(query, table.rows[*tid].as_deref().unwrap());
    rows.iter().filter(|tid| distance(tid) <= furthest).count()
}

/// A table with NULLs, zero vectors, equal vectors, and rows that have died.
fn mixed(parameters: walia_core::types::Parameters, rows: usize) -> Table {
    let mut table = Table::new(MemoryStore::new(), parameters);
    for row in 0..rows {
        let vector = table.random_vector();
        let value = match row % 50 {
            7 => None,
            8 => Some(vec![0; vector.len()]),
            9 => table.any_row().and_then(|row| table.rows[&row].clone()),
            _ => Some(vector),
        };
        table.insert(value).unwrap();
    }
    for _ in 0..rows / 10 {
        let row = table.any_row().unwrap();
        table.delete(row);
    }
    table
}

fn third(heap_tid: HeapTid) -> bool {
    heap_tid.offset().is_multiple_of(3)
}

#[test]
fn every_row_that_passes_is_given_once_and_in_order() {
    let apart = coded(2100, Metric::Cosine, 1, PayloadEncoding::Column);
    for (parameters, rows) in [
        (parameters(6, Metric::L2), 900),
        (parameters(6, Metric::Cosine), 900),
        (coded(16, Metric::InnerProduct, 2, PayloadEncoding::F16), 900),
        (apart, 250),
    ] {
        let mut table = mixed(parameters, rows);
        let query = table.random_vector();
        let expected: BTreeSet<HeapTid> = table.rows.keys().copied().filter(|tid| third(*tid)).collect();
        for iterative in [IterativeScan::StrictOrder, IterativeScan::RelaxedOrder] {
            for (wanted, max_tuples, memory) in
                [(10, 20_000, 4 << 20), (1, 40, 4 << 20), (1000, 20_000, 9000)]
            {
                let scan = ScanOptions { iterative, max_tuples, memory, ..OPTIONS };
                let options = NearestOptions { scan, wanted, ..WANTED };
                for query in [Some(query.as_slice()), None] {
                    let (given, _, stats) = search(&table, query, options, usize::MAX, third);
                    let once: BTreeSet<HeapTid> = given.iter().copied().collect();
                    assert_eq!(once.len(), given.len(), "a row was given twice");
                    assert_eq!(once, expected, "{parameters:?}");
                    assert_eq!((stats.first_run + stats.second_run) as usize, given.len());
                    let Some(query) = query else { continue };
                    let tests = Cell::new(0);
                    let exact =
                        Conditions { table: &table, query: Some(query), passes: third, tests: &tests };
                    let distances = given.iter().map(|tid| exact.measured(*tid).unwrap_or(f64::NAN));
                    let distances: Vec<f64> =
                        distances.map(|d| if d.is_nan() { f64::NAN } else { d }).collect();
                    let (first, second) = distances.split_at(stats.first_run as usize);
                    let is_sorted = |run: &[f64]| run.is_sorted_by(|a, b| a.total_cmp(b).is_le());
                    assert!(is_sorted(second), "second run of {parameters:?} {options:?}: {second:?}");
                    let sorted = if iterative == IterativeScan::StrictOrder { first.len() } else { wanted };
                    assert!(is_sorted(&first[..sorted.min(first.len())]), "first run");
                }
            }
        }
    }
}

/// The condition costs no recall, wherever the rows lie that pass; nor do rows that have died.
#[test]
fn recall_is_that_of_a_search_without_conditions() {
    for parameters in [coded(32, Metric::L2, 4, PayloadEncoding::Column), parameters(6, Metric::Cosine)] {
        let mut table = Table::new(MemoryStore::new(), parameters);
        for _ in 0..4000 {
            let vector = table.random_vector();
            table.insert(Some(vector)).unwrap();
        }
        let queries: Vec<Vec<u8>> = (0..40).map(|_| table.random_vector()).collect();
        let recall = |table: &Table, passes: &dyn Fn(&[u8], HeapTid) -> bool, wanted: usize| {
            let mut found = 0;
            for query in &queries {
                let expected = truth(table, query, |tid| passes(query, tid));
                let furthest = expected[wanted - 1];
                let options = NearestOptions { wanted, ..WANTED };
                let (given, ..) = search(table, Some(query), options, wanted, |tid| passes(query, tid));
                found += within(table, query, &given, furthest);
            }
            found as f64 / (wanted * queries.len()) as f64
        };
        // Those further than the nearest two thirds.
        let far: Vec<f64> = queries.iter().map(|query| truth(&table, query, |_| true)[2600]).collect();
        let measure = Measure::new(parameters.metric, parameters.element);
        for wanted in [1, 10, 100] {
            let plain = recall(&table, &|_, _| true, wanted);
            let random = |share: u32| {
                recall(
                    &table,
                    &move |_, tid| (tid.block() * 50 + u32::from(tid.offset())) % share == 0,
                    wanted,
                )
            };
            let is_far = |query: &[u8], tid: HeapTid| {
                let number = queries.iter().position(|other| other == query).unwrap();
                table.rows[&tid].as_deref().is_some_and(|row| measure.distance(query, row) > far[number])
            };
            let under = [random(2), random(10), random(20), recall(&table, &is_far, wanted)];
            assert!(
                under.iter().all(|recall| *recall >= plain - 0.08),
                "{under:?} of {wanted}, else {plain}"
            );
        }
        // Those around some of the queries have died.
        let plain = recall(&table, &|_, _| true, 10);
        for query in &queries[..10] {
            let bound = truth(&table, query, |_| true)[50];
            let measure = Measure::new(parameters.metric, parameters.element);
            let near = |row: &Option<Vec<u8>>| measure.distance(query, row.as_deref().unwrap()) < bound;
            let dead: Vec<HeapTid> = table.rows.iter().filter(|row| near(row.1)).map(|row| *row.0).collect();
            dead.into_iter().for_each(|row| table.delete(row));
        }
        let recall = recall(&table, &|_, _| true, 10);
        assert!(recall >= plain - 0.01, "{recall}, before {plain}");
    }
}

#[test]
fn a_radius_ends_the_walk() {
    let mut table = Table::new(MemoryStore::new(), coded(32, Metric::L2, 4, PayloadEncoding::F16));
    for _ in 0..4000 {
        let vector = table.random_vector();
        table.insert(Some(vector)).unwrap();
    }
    let mut found = 0;
    for _ in 0..20 {
        let query = table.random_vector();
        for near in [0, 3, 100] {
            let radius = truth(&table, &query, |_| true)[near];
            let options = NearestOptions { radius, ..WANTED };
            // The caller's condition is to be nearer than that.
            let measure = Measure::new(table.parameters.metric, table.parameters.element);
            let is_near =
                |tid: HeapTid| measure.distance(&query, table.rows[&tid].as_deref().unwrap()) < radius;
            let (given, gave_up, stats) = search(&table, Some(&query), options, usize::MAX, is_near);
            assert!(gave_up.is_none() && stats.second_run == 0);
            let (.., plain) = search(&table, Some(&query), WANTED, 10, |_| true);
            assert!(stats.search.expanded <= plain.search.expanded + 8 * near as u64, "{stats:?} {plain:?}");
            assert!(given.len() <= near);
            found += near - given.len();
        }
    }
    assert!(found <= 100, "{found} of 2060 rows were missed");
}

#[test]
fn it_gives_up_before_it_costs_more_than_the_alternative() {
    let mut table = Table::new(MemoryStore::new(), parameters(6, Metric::L2));
    for _ in 0..3000 {
        let vector = table.random_vector();
        table.insert(Some(vector)).unwrap();
    }
    let query = table.random_vector();
    let alternative = |cost, share| Some(Alternative { cost, expansion: 1.0, test: 0.5, share });
    let none = |_| false;
    let one_of_ten = |tid: HeapTid| tid.offset().is_multiple_of(10);
    // No row passes, whatever was foreseen.
    for share in [1.0, 0.1, 0.001] {
        let options = NearestOptions { alternative: alternative(400.0, share), ..WANTED };
        let (given, gave_up, stats) = search(&table, Some(&query), options, 10, none);
        assert!(given.is_empty() && gave_up.is_some());
        assert!((stats.search.expanded as f64) < 400.0, "{stats:?}");
    }
    // As many as was foreseen.
    let options = NearestOptions { alternative: alternative(3000.0, 0.1), ..WANTED };
    let (given, gave_up, _) = search(&table, Some(&query), options, 10, one_of_ten);
    assert!(given.len() == 10 && gave_up.is_none());
    // Once as many have passed, it is known how far it has to go, whatever was foreseen.
    let spent = |stats: ScanStats| stats.search.expanded as f64 + 0.5 * stats.tested_rows as f64;
    let whole = spent(search(&table, Some(&query), WANTED, 10, one_of_ten).2);
    for (cost, is_too_dear, least, most) in [(0.9, false, 0.95, 1.05), (0.5, true, 0.0, 0.45)] {
        let options = NearestOptions { alternative: alternative(cost * whole, 0.9), ..WANTED };
        let (_, gave_up, stats) = search(&table, Some(&query), options, 10, one_of_ten);
        assert_eq!(gave_up, is_too_dear.then_some(Reason::Dear), "{whole}, {stats:?}");
        assert!((least..most).contains(&(spent(stats) / whole)), "{whole}, {stats:?}");
    }
    // What can be reached has fewer rows than are wanted.
    let three = |tid: HeapTid| tid.block() == 7 && tid.offset() <= 3;
    let options = NearestOptions { alternative: alternative(1e9, 0.001), ..WANTED };
    let (given, gave_up, _) = search(&table, Some(&query), options, 10, three);
    assert!(given.is_empty() && gave_up == Some(Reason::Unreachable));
    // Or more nodes than it may remember lie between them.
    let mut little = options;
    little.scan.memory = 10_000;
    let (given, gave_up, _) = search(&table, Some(&query), little, 10, three);
    assert!(given.is_empty() && gave_up == Some(Reason::Memory));
    let (given, gave_up, _) = search(&table, Some(&query), WANTED, 10, three);
    assert!(given.len() == 3 && gave_up.is_none());
    // Nor does it rank what has no distance.
    assert!(search(&table, None, options, 10, three).1.is_some());
}

/// A node may have very many rows, of which as many are tested as are wanted.
#[test]
fn few_rows_of_a_node_are_tested() {
    let (table, vector, _) = rows_that_share_a_vector(4000);
    let (given, _, stats) = search(&table, Some(&vector), WANTED, 10, |_| true);
    assert!(given.len() == 10 && stats.tested_rows <= 20, "{stats:?}");
    // To the end, all are given.
    let (given, _, stats) = search(&table, Some(&vector), WANTED, usize::MAX, third);
    assert_eq!(given.len(), table.rows.keys().filter(|tid| third(**tid)).count());
    assert!(stats.tested_rows <= table.rows.len() as u64 + stats.second_run, "{stats:?}");
}

/// Whoever reads on and on pays in proportion.
#[test]
fn work_grows_with_the_rows_that_are_read() {
    let mut table = Table::new(MemoryStore::new(), parameters(6, Metric::L2));
    for _ in 0..6000 {
        let vector = table.random_vector();
        table.insert(Some(vector)).unwrap();
    }
    let query = table.random_vector();
    let [some, more] = [300, 1200].map(|rows| {
        let (given, _, stats) = search(&table, Some(&query), WANTED, rows, |tid| tid.offset() % 2 == 0);
        assert_eq!(given.len(), rows);
        stats.search.expanded + stats.tested_rows
    });
    assert!(more <= 6 * some, "{some} steps for 300 rows, {more} for 1200");
}
