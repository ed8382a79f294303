//! No request for memory that grows with data ends the process: all that are above a limit fail, and each
//! operation ends with an error value, or does without.
//!
//! A request that must not fail ends this test's process where it is above the limit: that is how one is
//! found. What remains below is bounded by ef, m0, dimensions or a page, or it would be above the limit with
//! so many rows.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use walia_core::arena::{Arena, Feeder, Settings};
use walia_core::cluster::Clusters;
use walia_core::page::check::statistics::statistics;
use walia_core::page::format::node::NodeMut;
use walia_core::page::scan::{
    ColumnVectors, Federation, Hit, HitClass, IterativeScan, Next, RunSorter, Scan, ScanOptions,
};
use walia_core::page::vacuum::{bulk_delete, repair};
use walia_core::page::{Index, JoinOptions, MemoryStore, Meta, Pages, Plan, WriteUnit, check, write_graph};
use walia_core::types::{ElementType, Error, HeapTid, Link, MAX_LEVEL, Metric, Parameters, Result};

/// malloc, which serves no request above a limit.
struct Limited(AtomicUsize);

#[global_allocator]
static ALLOCATOR: Limited = Limited(AtomicUsize::new(usize::MAX));

// SAFETY: all is left to malloc, or refused.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > self.0.load(Ordering::Relaxed) {
            return null_mut();
        }
        // SAFETY: by the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: by the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > layout.size() && size > self.0.load(Ordering::Relaxed) {
            return null_mut();
        }
        // SAFETY: by the caller's promise.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Does something while no request above so many bytes is served.
fn limited<T>(most: usize, work: impl FnOnce() -> T) -> T {
    ALLOCATOR.0.store(most, Ordering::Relaxed);
    let result = work();
    ALLOCATOR.0.store(usize::MAX, Ordering::Relaxed);
    result
}

/// Room for a search of 4,096 nodes, and for an ef of 1,000.
const MOST: usize = 128 << 10;
const ROWS: u32 = 20_000;
/// Some vectors are there twice.
const VALUES: i32 = 12;
const QUERY: [f32; 6] = [3.0; 6];

fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap()
}

/// A graph of rows from this one on; `most` limits requests after the last row was pushed.
fn graph(code_bits: u8, first: u32, most: usize) -> Result<Arena> {
    let plain = Parameters::plain(6, ElementType::F32, Metric::L2, 4, 30);
    let parameters = Parameters { code_bits, code_dimensions: if code_bits > 0 { 6 } else { 0 }, ..plain };
    let centroid = if code_bits > 0 { vec![0.0; 6] } else { Vec::new() };
    let pool = pool();
    let settings = Settings::new(parameters, &centroid, MAX_LEVEL, 1 << 28);
    let mut feeder = Feeder::new(settings, &pool);
    let mut random = StdRng::seed_from_u64(1 + u64::from(first));
    let push = |row| {
        let vector: [f32; 6] = std::array::from_fn(|_| random.random_range(0..VALUES) as f32);
        feeder.push(bytemuck::cast_slice(&vector), HeapTid::new(row, 1)).unwrap();
    };
    // Where a slab with huge pages cannot be had, small ones do.
    limited(if code_bits > 0 { 8 << 20 } else { usize::MAX }, || (first..first + ROWS).for_each(push));
    limited(most, || feeder.finish(|_| ())).map(|arena| arena.expect("not stopped"))
}

/// An index of rows in RAM, limited as their graph is.
fn try_build(store: &MemoryStore, code_bits: u8, most: usize) -> Result<()> {
    write_graph(&graph(code_bits, 0, most)?, &[], &mut &*store, &mut |_| ())
}

fn built(code_bits: u8) -> MemoryStore {
    let store = MemoryStore::new();
    try_build(&store, code_bits, usize::MAX).unwrap();
    store
}

/// Keeps nothing: what a server sorts is not core's memory.
#[derive(Default)]
struct Counter(usize);

impl RunSorter for Counter {
    fn add(&mut self, _: HitClass, _: Hit) {
        self.0 += 1;
    }

    fn sort(&mut self) {}

    fn next(&mut self) -> Option<Hit> {
        None
    }
}

struct NoTable;

impl ColumnVectors for NoTable {
    fn prefetch(&mut self, _: &[HeapTid]) {}

    fn distance(&mut self, _: HeapTid) -> Option<f64> {
        None
    }
}

const OPTIONS: ScanOptions = ScanOptions {
    ef_search: 1000,
    iterative: IterativeScan::StrictOrder,
    max_tuples: usize::MAX,
    memory: usize::MAX,
    members: 1,
};

fn begin(store: &MemoryStore, options: ScanOptions) -> Result<Scan<&MemoryStore, Counter, NoTable>> {
    let query = bytemuck::cast_slice(&QUERY);
    let meta = Meta::read(&store)?;
    let index = Index::with_meta(store, &meta, &())?;
    Ok(Scan::new(index, meta, Some(query), options, Counter::default(), NoTable))
}

/// Rows that a scan gives or has sorted.
fn scan(store: &MemoryStore, options: ScanOptions) -> Result<usize> {
    let mut scan = begin(store, options)?;
    let mut rows = 0;
    while scan.next()? != Next::End {
        rows += 1;
    }
    Ok(rows + scan.sorter.0)
}

/// Rows of the first rounds of two indexes that are searched as one.
fn search_together(stores: [&MemoryStore; 2]) -> Result<usize> {
    let options = ScanOptions { members: 2, ..OPTIONS };
    let mut scans = Vec::new();
    for store in stores {
        scans.push(begin(store, options)?);
    }
    let mut federation = Federation::new(options)?;
    let mut rows = 0;
    let mut walks: Vec<_> = scans.iter_mut().map(|scan| &mut scan.walk).collect();
    federation.join(&mut walks, None).map_err(|(_, error)| error)?;
    while scans.iter().any(|scan| scan.walk.is_member()) {
        let mut walks: Vec<_> = scans.iter_mut().map(|scan| &mut scan.walk).collect();
        federation.next_round(&mut walks, || true).map_err(|(_, error)| error)?;
        for scan in scans.iter_mut().filter(|scan| scan.walk.is_member()) {
            while let Next::Row(_) = scan.next()? {
                rows += 1;
            }
        }
    }
    Ok(rows)
}

/// Centres of many dimensions, which take more than is served.
fn cluster(count: usize) -> Result<usize> {
    const DIMENSIONS: usize = 16_000;
    let parameters = Parameters::plain(DIMENSIONS, ElementType::F32, Metric::L2, 4, 30);
    let sample = vec![vec![0; parameters.vector_size()]; Clusters::sampled(count)];
    limited(MOST, || Clusters::new(&parameters, &sample, count, &mut || ())).map(|clusters| clusters.count())
}

/// One test, as the limit is that of the process.
#[test]
fn what_grows_may_fail() {
    const OUT_OF_MEMORY: Error = Error::OutOfMemory;
    // The centres, and the sums of which they are made.
    assert!([4, 2].into_iter().all(|count| cluster(count) == Err(OUT_OF_MEMORY)));
    for code_bits in [0, 4] {
        // A byte a node is more than that.
        assert_eq!(try_build(&MemoryStore::new(), code_bits, 16 << 10), Err(OUT_OF_MEMORY));
        // To plan its pages takes a number for each node, twice, and no more at once.
        let arena = graph(code_bits, 0, usize::MAX).unwrap();
        let plan =
            |most| limited(most, || Plan::new(&arena, &mut || ()).map(|plan| plan.pages(0, &mut || ())));
        assert_eq!(plan(64 << 10), Err(OUT_OF_MEMORY));
        assert!(plan(4 * ROWS as usize).unwrap() > 100);
        drop(arena);
        let store = built(code_bits);
        assert_eq!(limited(MOST, || scan(&store, OPTIONS)), Err(OUT_OF_MEMORY));
        assert_eq!(scan(&store, OPTIONS), Ok(ROWS as usize));
        // The second run remembers no more than what the first one gave.
        let short = ScanOptions { max_tuples: 1, ..OPTIONS };
        assert_eq!(limited(MOST, || scan(&store, short)), Ok(ROWS as usize));

        let other = built(code_bits);
        assert_eq!(limited(MOST, || search_together([&store, &other])), Err(OUT_OF_MEMORY));
        assert!(search_together([&store, &other]).unwrap() > 0);

        let joined = Index::open(&other, &()).unwrap();
        let (pool, mut more) = (pool(), graph(code_bits, ROWS, usize::MAX).unwrap());
        let mut join = || {
            let options = JoinOptions { adopted: Vec::new(), is_dense: true, memory: MOST, pool: &pool };
            joined.join_graph(&mut more, &[], options, &mut (), &mut |_| ())
        };
        // The store takes memory for many pages at a time: it shall have it.
        while other.block_count().unwrap() < 1100 {
            other.begin().extend().unwrap();
        }
        // A place for each node is more than that, and after those it needs no more.
        assert_eq!(limited(MOST, &mut join), Err(OUT_OF_MEMORY));
        limited(2 * MOST, join).unwrap();
        assert_eq!(scan(&other, OPTIONS), Ok(2 * ROWS as usize));

        let index = Index::open(&store, &()).unwrap();
        assert_eq!(limited(MOST, || check(&index)), Err(OUT_OF_MEMORY));
        assert_eq!(check(&index).unwrap(), []);
        let counts = limited(MOST, || statistics(&index)).unwrap();
        assert_eq!((counts.heap_tids, counts.unreachable_nodes), (ROWS.into(), 0));

        // Nor does a damaged link say how much is needed.
        let damaged = built(code_bits);
        let mut unit = damaged.begin();
        let block = Meta::read(&damaged).unwrap().entry().unwrap().node.block;
        unit.lock(block).unwrap();
        let mut node = NodeMut::in_slot(&index.schema.layout, unit.edit(block), block, 1).unwrap().unwrap();
        node.set_link(0, Link { block: u32::MAX - 1, slot: 1, version: 1 });
        unit.commit().unwrap();
        let damaged = Index::open(&damaged, &()).unwrap();
        assert!(matches!(limited(MOST, || statistics(&damaged)), Err(Error::Corrupt { .. })));

        let mut is_dead = |tid: HeapTid| !tid.block().is_multiple_of(8);
        assert_eq!(limited(MOST, || bulk_delete(&index, usize::MAX, &mut is_dead)), Err(OUT_OF_MEMORY));
        bulk_delete(&index, usize::MAX, &mut is_dead).unwrap();
        assert_eq!(check(&index).unwrap(), []);
        limited(MOST, || repair(&index, MOST / 4)).unwrap();
        assert_eq!(scan(&store, OPTIONS), Ok(ROWS as usize / 8));
    }
}
