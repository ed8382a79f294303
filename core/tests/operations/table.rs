//! A table as the tests of the page operations see it: rows with heap TIDs, an index on them, and what must
//! hold.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use walia_core::kernel::Measure;
use walia_core::page::format::tuple::AsideKind;
use walia_core::page::scan::{
    ColumnVectors, Hit, HitClass, IterativeScan, Next, RunSorter, Scan, ScanOptions, ScanStats,
};
use walia_core::page::vacuum::{VacuumStatistics, bulk_delete, cleanup, repair};
use walia_core::page::{
    Index, MemoryStore, Meta, PageStore, Quantization, Severity, Storage, Wishes, check, fit,
};
use walia_core::types::{ElementType, HeapTid, Metric, Parameters, PayloadEncoding, Result};

/// A row's value: a vector's bytes, or NULL.
pub type Value = Option<Vec<u8>>;

/// Parameters for a test.
pub fn parameters(dimensions: usize, metric: Metric) -> Parameters {
    Parameters::plain(dimensions, ElementType::F32, metric, 6, 40)
}

/// As [`parameters`], of sparse vectors.
pub fn sparse(dimensions: usize, metric: Metric) -> Parameters {
    Parameters { element: ElementType::Sparse, ..parameters(dimensions, metric) }
}

/// As [`parameters`], with codes and payloads.
pub fn coded(dimensions: usize, metric: Metric, bits: u8, payload: PayloadEncoding) -> Parameters {
    let storage = Storage::Encoding(payload);
    fit(Wishes {
        dimensions,
        element: ElementType::F32,
        metric,
        m: 6,
        ef_construction: 40,
        quantization: Quantization::Bits(bits),
        storage,
    })
}

/// The bytes of a vector.
pub fn bytes(elements: impl IntoIterator<Item = f32>, element: ElementType) -> Vec<u8> {
    let elements = elements.into_iter();
    match element {
        ElementType::F32 => elements.flat_map(f32::to_le_bytes).collect(),
        ElementType::F16 => elements.flat_map(|value| half::f16::from_f32(value).to_le_bytes()).collect(),
        ElementType::Bit => {
            let bits: Vec<bool> = elements.map(|value| value > 0.0).collect();
            let byte = |bits: &[bool]| {
                bits.iter().zip((0..8).rev()).map(|(bit, place)| u8::from(*bit) << place).sum()
            };
            bits.chunks(8).map(byte).collect()
        }
        ElementType::Sparse => {
            let kept: Vec<_> = (0u32..).zip(elements).filter(|(_, value)| *value != 0.0).collect();
            let values = kept.iter().flat_map(|(_, value)| value.to_le_bytes());
            kept.iter().flat_map(|(index, _)| index.to_le_bytes()).chain(values).collect()
        }
    }
}

/// Memory of a vacuum, enough for all tombstones.
pub const MEMORY: usize = 1 << 20;

/// Scan options that leave room for nothing unusual.
pub const OPTIONS: ScanOptions = ScanOptions {
    ef_search: 40,
    iterative: IterativeScan::StrictOrder,
    max_tuples: 20_000,
    memory: 4 << 20,
    members: 1,
};

/// Sorts the second run in RAM.
#[derive(Default)]
pub struct RamSorter {
    rows: Vec<(HitClass, Hit)>,
}

impl RunSorter for RamSorter {
    fn add(&mut self, class: HitClass, hit: Hit) {
        self.rows.push((class, hit));
    }

    fn sort(&mut self) {
        self.rows.sort_by(|(class, hit), (other_class, other)| {
            let distances = hit.distance.total_cmp(&other.distance);
            class.cmp(other_class).then(distances).then(hit.heap_tid.cmp(&other.heap_tid)).reverse()
        });
    }

    fn next(&mut self) -> Option<Hit> {
        self.rows.pop().map(|(_, hit)| hit)
    }
}

/// The vectors of live rows, as a query is to rank them.
pub struct Rows<'a> {
    rows: &'a BTreeMap<HeapTid, Value>,
    measure: Measure,
    query: Option<&'a [u8]>,
}

impl ColumnVectors for Rows<'_> {
    fn prefetch(&mut self, _: &[HeapTid]) {}

    fn distance(&mut self, heap_tid: HeapTid) -> Option<f64> {
        let vector = self.rows.get(&heap_tid)?.as_deref()?;
        Some(self.measure.distance(self.query?, vector))
    }
}

/// Nobody asks for the vectors of rows whose payloads are exact.
pub struct NotAsked;

impl ColumnVectors for NotAsked {
    fn prefetch(&mut self, _: &[HeapTid]) {}

    fn distance(&mut self, heap_tid: HeapTid) -> Option<f64> {
        panic!("{heap_tid:?} has an exact payload")
    }
}

/// A scan of an index whose payloads are exact.
pub fn exact_scan<Store: PageStore>(
    index: Index<Store>,
    query: Option<&[u8]>,
    options: ScanOptions,
) -> Scan<Store, RamSorter, NotAsked> {
    let meta = Meta::read(&index.store).unwrap();
    Scan::new(index, meta, query, options, RamSorter::default(), NotAsked)
}

/// A table with an index.
pub struct Table {
    /// The index's pages.
    pub store: MemoryStore,
    /// What the index was built with.
    pub parameters: Parameters,
    /// Live rows.
    pub rows: BTreeMap<HeapTid, Value>,
    /// Dead rows that no vacuum has removed yet.
    pub dead: BTreeSet<HeapTid>,
    /// The source of everything random.
    pub random: SmallRng,
    next_row: u32,
}

impl Table {
    /// An empty table over a store without pages.
    pub fn new(store: MemoryStore, parameters: Parameters) -> Self {
        Index::create(&store, &parameters).unwrap();
        let random = SmallRng::seed_from_u64(parameters.dimensions as u64);
        Self { store, parameters, rows: BTreeMap::new(), dead: BTreeSet::new(), random, next_row: 0 }
    }

    /// The table as it is after a crash that lost all but the first `commits` units, of a recording store.
    pub fn crashed(&self, commits: u64, zero_pages: u32) -> Self {
        Self {
            store: self.store.committed_prefix(commits, zero_pages),
            rows: self.rows.clone(),
            dead: self.dead.clone(),
            random: self.random.clone(),
            ..*self
        }
    }

    /// The index.
    pub fn index(&self) -> Index<&MemoryStore> {
        Index::open(&self.store, &()).unwrap()
    }

    /// A vector with elements around one of sixteen centres; of a sparse one, half of them.
    pub fn random_vector(&mut self) -> Vec<u8> {
        let centre = self.random.random_range(0..16u32);
        let random = &mut self.random;
        let sparse = self.parameters.element == ElementType::Sparse;
        let elements = (0..self.parameters.dimensions as u32)
            .map(|i| (centre.wrapping_mul(i + 7) % 11) as f32 - 5.0 + random.random_range(-1.0..1.0f32))
            .map(|element| if sparse && element.abs() < 2.5 { 0.0 } else { element });
        bytes(elements.collect::<Vec<_>>(), self.parameters.element)
    }

    /// Inserts a row.
    pub fn insert(&mut self, value: Value) -> Result<HeapTid> {
        self.insert_hinted(value, false)
    }

    /// Gives a row a new version with the same value.
    pub fn update(&mut self, tid: HeapTid) -> Result<HeapTid> {
        let value = self.rows.remove(&tid).unwrap();
        self.dead.insert(tid);
        self.insert_hinted(value, true)
    }

    /// Deletes a row.
    pub fn delete(&mut self, tid: HeapTid) {
        self.rows.remove(&tid).unwrap();
        self.dead.insert(tid);
    }

    /// The heap TID of the next row.
    pub fn next_tid(&mut self) -> HeapTid {
        let tid = HeapTid::new(self.next_row / 50, (self.next_row % 50) as u16 + 1);
        self.next_row += 1;
        tid
    }

    fn insert_hinted(&mut self, value: Value, unchanged: bool) -> Result<HeapTid> {
        let tid = self.next_tid();
        // Until the insertion has ended the row may be in the index or not.
        self.dead.insert(tid);
        match &value {
            Some(vector) => self.index().insert(vector, tid, unchanged)?,
            None => self.index().insert_aside(AsideKind::Null, tid)?,
        }
        self.dead.remove(&tid);
        self.rows.insert(tid, value);
        Ok(tid)
    }

    /// One of the live rows.
    pub fn any_row(&mut self) -> Option<HeapTid> {
        let number = self.random.random_range(0..self.rows.len().max(1));
        self.rows.keys().nth(number).copied()
    }

    /// Vacuums; every row must be asked about once.
    pub fn vacuum(&mut self) -> Result<()> {
        let index = self.index();
        let mut asked = BTreeSet::new();
        let statistics = bulk_delete(&index, MEMORY, &mut |tid| {
            assert!(asked.insert(tid), "asked twice about {tid:?}");
            self.dead.contains(&tid)
        })?;
        assert!(self.rows.keys().all(|tid| asked.contains(tid)), "a row was not asked about");
        assert_eq!(statistics.heap_tids_kept, self.rows.len() as u64);
        cleanup(&index, MEMORY)?;
        self.dead.clear();
        Ok(())
    }

    /// Repairs the index; nothing may be wrong with it afterwards.
    pub fn repair(&self) -> VacuumStatistics {
        // As a transaction's: what dies now cannot be removed.
        let _snapshot = self.store.hold_snapshot();
        let statistics = repair(&self.index(), MEMORY).unwrap();
        assert_eq!(check(&self.index()).unwrap(), [], "after {statistics:?}");
        statistics
    }

    /// Asserts that the index has no error, and nothing that matches `unwanted` among its warnings.
    pub fn assert_sound(&self, unwanted: &[&str]) {
        for finding in check(&self.index()).unwrap() {
            assert_ne!(finding.severity, Severity::Error, "{finding:?}");
            assert!(!unwanted.iter().any(|what| finding.what.contains(what)), "{finding:?}");
        }
    }

    /// All rows that a scan gives.
    pub fn scan(&self, query: Option<&[u8]>, options: ScanOptions) -> Result<(Vec<Hit>, ScanStats)> {
        let measure = Measure::new(self.parameters.metric, self.parameters.element);
        let rows = Rows { rows: &self.rows, measure, query };
        let meta = Meta::read(&self.store)?;
        let mut scan = Scan::new(self.index(), meta, query, options, RamSorter::default(), rows);
        let mut hits = Vec::new();
        while let Next::Row(hit) = scan.next()? {
            hits.push(hit);
        }
        Ok((hits, scan.stats()))
    }

    /// Asserts that the index does not deny rows without a distance that a snapshot of now sees.
    fn assert_presence(&self) {
        let measure = Measure::new(self.parameters.metric, self.parameters.element);
        for row in self.rows.values() {
            let kind = match row {
                None => AsideKind::Null,
                Some(vector) if measure.distance(vector, vector).is_nan() => AsideKind::ZeroVector,
                Some(_) => continue,
            };
            assert!(Meta::read(&self.store).unwrap().may_hold(&self.store, &[kind]).unwrap(), "{kind:?}");
        }
    }

    /// Asserts that a scan to the end gives every live row once, in two sorted runs, with its exact distance.
    pub fn assert_complete(&self, query: Option<&[u8]>, options: ScanOptions) {
        self.assert_presence();
        let (hits, stats) = self.scan(query, options).unwrap();
        let measure = Measure::new(self.parameters.metric, self.parameters.element);
        let mut seen = BTreeSet::new();
        for hit in &hits {
            assert!(seen.insert(hit.heap_tid), "{:?} was given twice", hit.heap_tid);
            let Some(row) = self.rows.get(&hit.heap_tid) else {
                assert!(self.dead.contains(&hit.heap_tid), "{:?} was never there", hit.heap_tid);
                continue;
            };
            let (_, exact) = rank(&measure, query, row.as_deref());
            let known = hit.distance.total_cmp(&exact) == Ordering::Equal;
            let within = hit.distance <= exact && exact <= hit.distance + f64::from(hit.uncertainty);
            assert!(known || hit.uncertainty > 0.0 && within, "{hit:?} is at {exact}");
        }
        assert!(self.rows.keys().all(|tid| seen.contains(tid)), "a row was not given");

        assert_eq!((stats.first_run + stats.second_run) as usize, hits.len());
        let (first, second) = hits.split_at(stats.first_run as usize);
        let rank = |hit: &Hit| self.rows.get(&hit.heap_tid).map(|row| rank(&measure, query, row.as_deref()));
        let sorted = |a: (u8, f64), b: (u8, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).is_le();
        if options.iterative == IterativeScan::StrictOrder {
            assert!(first.iter().filter_map(rank).is_sorted_by(|a, b| sorted(*a, *b)), "first run");
        }
        assert!(second.iter().filter_map(rank).is_sorted_by(|a, b| sorted(*a, *b)), "second run");
    }

    /// The share of the true nearest `k` rows among the first `k` of a scan, over some queries.
    pub fn recall(&mut self, k: usize, queries: usize, options: ScanOptions) -> f64 {
        let measure = Measure::new(self.parameters.metric, self.parameters.element);
        let mut found = 0;
        for _ in 0..queries {
            let query = self.random_vector();
            let mut truth: Vec<(f64, HeapTid)> = self
                .rows
                .iter()
                .filter_map(|(tid, row)| Some((measure.distance(&query, row.as_deref()?), *tid)))
                .filter(|(distance, _)| !distance.is_nan())
                .collect();
            truth.sort_by(|a, b| a.0.total_cmp(&b.0));
            let furthest = truth[k - 1].0;
            let options = ScanOptions { iterative: IterativeScan::Off, ..options };
            let (hits, _) = self.scan(Some(&query), options).unwrap();
            let live = hits.iter().filter_map(|hit| self.rows.get(&hit.heap_tid)?.as_deref());
            found += live.take(k).filter(|row| measure.distance(&query, row) <= furthest).count();
        }
        found as f64 / (k * queries) as f64
    }
}

/// Where a row belongs in the order: its class and distance.
fn rank(measure: &Measure, query: Option<&[u8]>, row: Option<&[u8]>) -> (u8, f64) {
    let is_aside = |vector: &[u8]| measure.is_undefined(vector);
    match (query, row) {
        (_, None) => (HitClass::Null as u8, f64::NAN),
        (_, Some(row)) if is_aside(row) => (HitClass::ZeroVector as u8, f64::NAN),
        (Some(query), Some(row)) if !is_aside(query) => {
            (HitClass::Vector as u8, measure.distance(query, row) + 0.0)
        }
        _ => (HitClass::Vector as u8, f64::NAN),
    }
}
