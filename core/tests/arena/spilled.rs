//! Builds in less memory than all vectors take, against builds in memory.

use crate::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use walia_core::arena::Marks;
use walia_core::arena::{VectorFile, VectorReader};
use walia_core::code::Moments;
use walia_core::graph::{Candidate, Contents, EntryPoint, Expanded, NodeStore, Visited};
use walia_core::types::{Error, Result};

/// A file in RAM.
#[derive(Clone, Default)]
pub struct RamFile {
    bytes: Arc<RwLock<Vec<u8>>>,
    reads: Arc<AtomicU64>,
    /// Reads that succeed.
    limit: Option<u64>,
}

impl RamFile {
    /// Bytes that it holds.
    pub fn size(&self) -> u64 {
        self.bytes.read().unwrap().len() as u64
    }
}

impl VectorFile for RamFile {
    fn append(&mut self, bytes: &[u8]) {
        self.bytes.write().unwrap().extend_from_slice(bytes);
    }

    fn reader(&self) -> Box<dyn VectorReader> {
        Box::new(self.clone())
    }
}

impl VectorReader for RamFile {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        if self.limit.is_some_and(|limit| self.reads.load(Ordering::Relaxed) >= limit) {
            return Err(Error::TemporaryFile { errno: 5 });
        }
        self.reads.fetch_add(1, Ordering::Relaxed);
        let from = offset as usize;
        bytes.copy_from_slice(&self.bytes.read().unwrap()[from..from + bytes.len()]);
        Ok(())
    }
}

/// Pushes all vectors, which move to the file where memory ends; the number of moves.
fn feed(feeder: &mut Feeder, vectors: &[Vec<u8>], file: &mut RamFile) -> usize {
    let mut moves = 0;
    for (i, vector) in vectors.iter().enumerate() {
        while feeder.push(vector, tid(i)).is_err() {
            assert!(feeder.spill(file, |_| ()).unwrap(), "no room after {i} rows");
            moves += 1;
        }
    }
    moves
}

pub fn coded(dimensions: usize, element: ElementType, metric: Metric) -> Parameters {
    fit(Wishes {
        dimensions,
        element,
        metric,
        m: 16,
        ef_construction: 100,
        quantization: Quantization::Auto,
        storage: Storage::Auto,
    })
}

/// A graph as a search by measured distances sees it, whatever the arena keeps: it tells what links are
/// worth.
struct Measured<'a> {
    arena: &'a Arena,
    /// By node.
    vectors: &'a [Vec<u8>],
    measure: Measure,
    query: &'a [u8],
}

impl NodeStore for Measured<'_> {
    type Node = u32;
    type Visited = Marks;

    fn entry_point(&self) -> Result<Option<EntryPoint<u32>>> {
        Ok(self.arena.entry_point())
    }

    fn expand(
        &self,
        candidate: Candidate<u32>,
        layer: u8,
        _limit: Option<f64>,
        visited: &mut Marks,
        found: &mut Vec<Candidate<u32>>,
    ) -> Result<Expanded<u32>> {
        let measured =
            |node| Candidate::new(self.measure.distance(self.query, &self.vectors[node as usize]), node);
        let unvisited = self.arena.links(candidate.node, layer).filter(|node| visited.insert(*node));
        found.extend(unvisited.map(measured));
        Ok(Expanded::Live(measured(candidate.node)))
    }
}

/// The part of the 10 nearest vectors that searches by measured distances find.
pub fn measured_recall(arena: &Arena, queries: &[Vec<u8>]) -> f64 {
    let vectors: Vec<Vec<u8>> =
        (0..arena.len()).map(|node| arena.vector(node, &mut Vec::new()).unwrap().to_vec()).collect();
    let Parameters { metric, element, .. } = *arena.parameters();
    let measure = Measure::new(metric, element);
    let mut hits = 0;
    for query in queries {
        let mut distances: Vec<f64> = vectors.iter().map(|vector| measure.distance(query, vector)).collect();
        distances.sort_unstable_by(f64::total_cmp);
        let store = Measured { arena, vectors: &vectors, measure, query };
        let mut search = LayerSearch::new(Marks::default(), Purpose::Scan { resumable: false });
        let entries = descend(&store, &mut search, arena.entry_point().unwrap(), 0).unwrap();
        let found = search.run(&store, &entries, 0, 20).unwrap();
        hits += found.iter().take(10).filter(|candidate| candidate.distance <= distances[9]).count();
    }
    hits as f64 / (10 * queries.len()) as f64
}

/// A build with little more memory than codes and links take, against one in memory.
fn assert_alike(parameters: Parameters, vectors: &[Vec<f32>], queries: &[Vec<f32>]) {
    let [vectors, queries] = [vectors, queries].map(|vectors| encode(parameters.element, vectors));
    let mut moments = Moments::new(&parameters);
    vectors.iter().step_by(7).for_each(|vector| moments.add(vector));
    let pool = pool(2);
    let distinct: BTreeSet<_> = vectors.iter().collect();
    let (nodes, rows) = (distinct.len() as u64, vectors.len() as u64);
    let contents =
        Contents { nodes, duplicates: rows - nodes, asides: 0, vector_size: parameters.vector_size() };
    let little = Arena::estimate(&parameters, 2, &contents).spilled.unwrap() as usize * 5 / 4;
    let [whole, spilled] = [ROOM, little].map(|limit| {
        let (started, mut file) = (Instant::now(), RamFile::default());
        let mut feeder = Feeder::new(Settings::new(parameters, &moments.mean(), MAX_LEVEL, limit), &pool);
        let moves = feed(&mut feeder, &vectors, &mut file);
        assert_eq!(moves > 0, limit == little);
        let arena = feeder.finish(|_| ()).unwrap().unwrap();
        check(&arena, &vectors);
        let reads = file.reads.load(Ordering::Relaxed) as f64 / vectors.len() as f64;
        println!("{limit} bytes: {moves} moves, {reads:.1} reads a row, {:?}", started.elapsed());
        measured_recall(&arena, &queries)
    });
    println!("recall {spilled}, in memory {whole}: {parameters:?}");
    assert!(spilled >= whole - 0.005, "recall {spilled}, in memory {whole}: {parameters:?}");
}
#[test]
fn recall_is_that_of_a_build_in_memory() {
    let centres = uniform(200, 128, 20);
    let mut random = StdRng::seed_from_u64(21);
    let mut around = |centre: &Vec<f32>| -> Vec<f32> {
        centre.iter().map(|value| value + 0.7 * symmetric(&mut random)).collect()
    };
    let vectors: Vec<_> = (0..5000).map(|i| around(&centres[i % 200])).collect();
    let queries: Vec<_> = (0..200).map(|i| around(&centres[i % 200])).collect();
    for (element, metric) in [
        (ElementType::F32, Metric::L2),
        (ElementType::F16, Metric::InnerProduct),
        (ElementType::F32, Metric::Cosine),
    ] {
        assert_alike(coded(128, element, metric), &vectors, &queries);
    }
}

#[test]
fn recall_in_tight_clusters_is_that_of_a_build_in_memory() {
    let centres = uniform(60, 384, 22);
    let mut random = StdRng::seed_from_u64(23);
    let mut around = |centre: &Vec<f32>| -> Vec<f32> {
        centre.iter().map(|value| value + 0.1 * symmetric(&mut random)).collect()
    };
    let vectors: Vec<_> = (0..6000).map(|i| around(&centres[i % 60])).collect();
    let queries: Vec<_> = (0..240).map(|i| around(&centres[i % 60])).collect();
    assert_alike(coded(384, ElementType::F32, Metric::L2), &vectors, &queries);
}

#[test]
fn recall_of_sentence_embeddings_is_that_of_a_build_in_memory() {
    let Some([vectors, queries]) = embeddings(6000, 400) else { return };
    assert_alike(coded(384, ElementType::F32, Metric::Cosine), &vectors, &queries);
}

#[test]
fn equal_vectors_are_one_node_wherever_the_first_is() {
    let mut vectors = uniform(4000, 64, 24);
    vectors.extend(vectors.clone());
    let vectors = encode(ElementType::F32, &vectors);
    let (parameters, pool) = (coded(64, ElementType::F32, Metric::L2), pool(2));
    let mut feeder = Feeder::new(settings(parameters, 2_000_000), &pool);
    assert!(feed(&mut feeder, &vectors, &mut RamFile::default()) > 0);
    check(&feeder.finish(|_| ()).unwrap().unwrap(), &vectors);
}

#[test]
fn memory_that_codes_do_not_fit_is_full() {
    let vectors = encode(ElementType::F32, &uniform(6000, 64, 25));
    let (parameters, pool) = (coded(64, ElementType::F32, Metric::L2), pool(2));
    for limit in [0, 100_000, 1_000_000] {
        let (mut file, mut taken) = (RamFile::default(), 0);
        let mut feeder = Feeder::new(settings(parameters, limit), &pool);
        loop {
            match feeder.push(&vectors[taken], tid(taken)) {
                Ok(()) => taken += 1,
                Err(Full) if feeder.spill(&mut file, |_| ()).unwrap() => {}
                Err(Full) => break,
            }
        }
        let vector_size = parameters.vector_size();
        let contents = Contents { nodes: taken as u64, duplicates: 0, asides: 0, vector_size };
        let memory = Arena::estimate(&parameters, 2, &contents).spilled.unwrap() as usize;
        // What threads read is taken where the first vectors move, whatever the limit.
        let fetched = 2 * usize::from(parameters.ef_construction) * parameters.vector_size();
        assert!(taken == 0 || memory <= limit * 21 / 20 + fetched, "{taken} rows in {limit} bytes: {memory}");
        assert!(limit < 1_000_000 || memory >= limit * 7 / 10, "only {taken} rows in {limit} bytes");
        let arena = feeder.finish(|_| ()).unwrap().unwrap();
        if taken > 0 {
            check(&arena, &vectors[..taken]);
        }
    }
}

#[test]
fn without_codes_nothing_moves() {
    let vectors = encode(ElementType::F32, &uniform(2000, 64, 26));
    let (parameters, pool) = (parameters(64, ElementType::F32, Metric::L2), pool(1));
    let mut feeder = Feeder::new(settings(parameters, 300_000), &pool);
    let taken =
        vectors.iter().enumerate().take_while(|(i, vector)| feeder.push(vector, tid(*i)).is_ok()).count();
    assert!(taken < vectors.len() && !feeder.spill(&mut RamFile::default(), |_| ()).unwrap());
}

#[test]
fn a_file_that_cannot_be_read_ends_the_build() {
    let vectors = encode(ElementType::F32, &uniform(6000, 64, 27));
    let (parameters, pool) = (coded(64, ElementType::F32, Metric::L2), pool(2));
    let mut file = RamFile { limit: Some(1000), ..RamFile::default() };
    let mut feeder = Feeder::new(settings(parameters, 2_000_000), &pool);
    let fed = vectors.iter().enumerate().try_for_each(|(i, vector)| {
        while feeder.push(vector, tid(i)).is_err() {
            feeder.spill(&mut file, |_| ())?;
        }
        Ok(())
    });
    let failure = fed.and_then(|()| feeder.finish(|_| ()).map(|_| ()));
    assert_eq!(failure, Err(Error::TemporaryFile { errno: 5 }));
}

/// Waits until no node does.
fn wait_for(feeder: &Feeder) {
    let begin = Instant::now();
    while feeder.waiting() > 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} nodes wait", feeder.waiting());
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_waited_for_after_a_failure() {
    let vectors = encode(ElementType::F32, &uniform(6000, 64, 30));
    let (parameters, pool) = (coded(64, ElementType::F32, Metric::L2), pool(2));
    let mut file = RamFile { limit: Some(0), ..RamFile::default() };
    let mut feeder = Feeder::new(settings(parameters, 2_000_000), &pool);
    let mut rows = vectors.iter().enumerate();
    assert!(rows.by_ref().any(|(i, vector)| feeder.push(vector, tid(i)).is_err()));
    assert!(feeder.spill(&mut file, |_| ()).unwrap() && feeder.check().is_ok());
    assert!(rows.any(|(i, vector)| feeder.push(vector, tid(i)).is_err()));
    wait_for(&feeder);
    assert_eq!(feeder.check(), Err(Error::TemporaryFile { errno: 5 }));
}

/// A file that is full unwinds, as Postgres's errors do.
#[test]
fn a_file_that_unwinds_stops_the_build() {
    struct Broken;
    impl VectorFile for Broken {
        fn append(&mut self, _: &[u8]) {
            std::panic::resume_unwind(Box::new("no space left on device"));
        }

        fn reader(&self) -> Box<dyn VectorReader> {
            RamFile::default().reader()
        }
    }
    let vectors = encode(ElementType::F32, &uniform(6000, 64, 28));
    let (parameters, pool) = (coded(64, ElementType::F32, Metric::L2), pool(2));
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut feeder = Feeder::new(settings(parameters, 1_000_000), &pool);
        for (i, vector) in vectors.iter().enumerate() {
            while feeder.push(vector, tid(i)).is_err() {
                feeder.spill(&mut Broken, |_| ()).unwrap();
            }
        }
    }));
    assert!(unwound.is_err());
}

#[test]
fn a_thread_that_panics_ends_the_build() {
    struct Broken;
    impl VectorFile for Broken {
        fn append(&mut self, _: &[u8]) {}

        fn reader(&self) -> Box<dyn VectorReader> {
            Box::new(Self)
        }
    }
    impl VectorReader for Broken {
        fn read(&self, _: u64, _: &mut [u8]) -> Result<()> {
            std::panic::resume_unwind(Box::new("a thread's panic"));
        }
    }
    let vectors = encode(ElementType::F32, &uniform(6000, 64, 29));
    let (parameters, pool) = (coded(64, ElementType::F32, Metric::L2), pool(2));
    let mut feeder = Feeder::new(settings(parameters, 1_500_000), &pool);
    let fed = vectors.iter().enumerate().all(|(i, vector)| {
        while feeder.push(vector, tid(i)).is_err() {
            if !feeder.spill(&mut Broken, |_| ()).unwrap() {
                return false;
            }
        }
        true
    });
    wait_for(&feeder);
    assert_eq!(feeder.check(), Ok(false));
    assert!(!fed || feeder.finish(|_| ()).unwrap().is_none());
}
