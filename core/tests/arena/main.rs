//! Graphs built in RAM, against brute force.

use half::f16;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use walia_core::arena::{Arena, Feeder, Full, Settings};
use walia_core::graph::{BuiltGraph, Contents, LayerSearch, Purpose, descend};
use walia_core::kernel::Measure;
use walia_core::page::{Quantization, Storage, Wishes, fit};
use walia_core::types::{ElementType, HeapTid, MAX_LEVEL, Metric, Parameters};

mod adopted;
mod estimate;
mod recall;
mod spilled;

const ROOM: usize = 1 << 30;
const METRICS: [Metric; 4] = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1];

fn parameters(dimensions: usize, element: ElementType, metric: Metric) -> Parameters {
    Parameters::plain(dimensions, element, metric, 16, 100)
}

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// The heap TID of row `row`.
fn tid(row: usize) -> HeapTid {
    HeapTid::new((row / 50) as u32, (row % 50) as u16 + 1)
}

fn row(heap_tid: HeapTid) -> usize {
    heap_tid.block() as usize * 50 + usize::from(heap_tid.offset()) - 1
}

/// A random value, uniform in −1 to 1.
fn symmetric(random: &mut StdRng) -> f32 {
    random.random_range(-1.0..1.0)
}

/// Vectors as bytes.
fn encode(element: ElementType, vectors: &[Vec<f32>]) -> Vec<Vec<u8>> {
    let byte = |bits: &[f32]| {
        bits.iter().zip((0..8).rev()).fold(0, |byte, (value, place)| byte | u8::from(*value > 0.0) << place)
    };
    let encode = |vector: &Vec<f32>| match element {
        ElementType::F32 => bytemuck::cast_slice(vector).to_vec(),
        ElementType::F16 => {
            let halves: Vec<f16> = vector.iter().map(|value| f16::from_f32(*value)).collect();
            bytemuck::cast_slice(&halves).to_vec()
        }
        ElementType::Bit => vector.chunks(8).map(byte).collect(),
        ElementType::Sparse => {
            let kept = || (0u32..).zip(vector).filter(|(_, value)| value.abs() > 0.3);
            let values = kept().flat_map(|(_, value)| value.to_le_bytes());
            kept().flat_map(|(index, _)| index.to_le_bytes()).chain(values).collect()
        }
    };
    vectors.iter().map(encode).collect()
}

fn uniform(len: usize, dimensions: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..len).map(|_| (0..dimensions).map(|_| symmetric(&mut random)).collect()).collect()
}

/// Tight clusters far from each other; a third of all rows repeats another one.
fn clusters(len: usize, dimensions: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = StdRng::seed_from_u64(seed);
    let centres = uniform(20, dimensions, seed + 1);
    let mut vectors: Vec<Vec<f32>> = (0..len * 2 / 3)
        .map(|i| centres[i % 20].iter().map(|value| value * 10.0 + 0.1 * symmetric(&mut random)).collect())
        .collect();
    for i in vectors.len()..len {
        vectors.push(vectors[i - len / 3].clone());
    }
    vectors.shuffle(&mut random);
    vectors
}

fn settings(parameters: Parameters, memory_limit: usize) -> Settings {
    // Only codes ask for a centroid.
    let centroid = if parameters.code_bits > 0 { vec![0.0; parameters.dimensions] } else { Vec::new() };
    Settings::new(parameters, &centroid, MAX_LEVEL, memory_limit)
}

fn build(parameters: Parameters, vectors: &[Vec<u8>], threads: usize) -> Arena {
    let pool = pool(threads);
    let mut feeder = Feeder::new(settings(parameters, ROOM), &pool);
    for (i, vector) in vectors.iter().enumerate() {
        feeder.push(vector, tid(i)).unwrap();
    }
    let arena = feeder.finish(|_| ()).unwrap().unwrap();
    check(&arena, vectors);
    arena
}

/// What holds of every finished graph of these vectors.
fn check(arena: &Arena, vectors: &[Vec<u8>]) {
    let entry = arena.entry_point().unwrap();
    assert_eq!(entry.level, (0..arena.len()).map(|node| arena.level(node)).max().unwrap());
    assert_eq!(entry.level, arena.level(entry.node));
    for node in 0..arena.len() {
        for layer in 0..=arena.level(node) {
            let links: Vec<u32> = arena.links(node, layer).collect();
            let distinct: BTreeSet<u32> = links.iter().copied().collect();
            assert!(links.len() <= arena.parameters().max_links(layer));
            assert_eq!(links.len(), distinct.len(), "node {node} links to one node twice");
            assert!(!distinct.contains(&node), "node {node} links to itself");
            assert!(links.iter().all(|link| arena.level(*link) >= layer));
        }
    }
    let mut reached = BTreeSet::from([entry.node]);
    let mut waiting = vec![entry.node];
    while let Some(node) = waiting.pop() {
        waiting.extend(arena.links(node, 0).filter(|neighbour| reached.insert(*neighbour)));
    }
    assert_eq!(reached.len(), arena.len() as usize);
    let (mut rows, mut buffer): (Vec<usize>, _) = (Vec::new(), Vec::new());
    for node in 0..arena.len() {
        for heap_tid in arena.heap_tids(node) {
            assert!(arena.vector(node, &mut buffer).unwrap() == vectors[row(heap_tid)]);
            rows.push(row(heap_tid));
        }
    }
    rows.sort_unstable();
    assert!(rows.into_iter().eq(0..vectors.len()), "a row is missing or there twice");
    let distinct: BTreeSet<&Vec<u8>> = vectors.iter().collect();
    assert_eq!(arena.len() as usize, distinct.len());
}

/// The rows of a two-dimensional .npy file of bytes.
fn read_npy(path: &Path, dimensions: usize, rows: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(path).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let to_f32 = |row: &[u8]| row.iter().map(|byte| f32::from(*byte as i8)).collect();
    bytes[start..].chunks(dimensions).take(rows).map(to_f32).collect()
}

/// So many vectors and queries of real embeddings, where they are there.
fn embeddings(rows: usize, queries: usize) -> Option<[Vec<Vec<f32>>; 2]> {
    let data = std::env::var_os("WALIA_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        |data| Path::new(&data).to_path_buf(),
    );
    let folder = data.join("minilm384");
    if !folder.exists() {
        println!("skipped: {} is not there", folder.display());
        return None;
    }
    let read = |file, rows| read_npy(&folder.join(file), 384, rows);
    Some([read("base.i8.npy", rows), read("query.i8.npy", queries)])
}

/// The first `k` rows of a search.
fn search(arena: &Arena, query: &[u8], ef: usize, k: usize) -> Vec<(f64, usize)> {
    let store = arena.query(query);
    let mut search = LayerSearch::new(Default::default(), Purpose::Scan { resumable: false });
    let entries = descend(&store, &mut search, arena.entry_point().unwrap(), 0).unwrap();
    let found = search.run(&store, &entries, 0, ef).unwrap();
    let rows = found.iter().flat_map(|candidate| {
        arena.heap_tids(candidate.node).map(|heap_tid| (candidate.distance, row(heap_tid)))
    });
    rows.take(k).collect()
}

#[test]
fn small_m_still_gives_one_graph() {
    let vectors = encode(ElementType::F32, &uniform(3000, 8, 6));
    let parameters =
        Parameters { m: 2, m0: 4, ef_construction: 8, ..parameters(8, ElementType::F32, Metric::L2) };
    for threads in [1, 8] {
        build(parameters, &vectors, threads);
    }
}

/// As far as lists keep distances: in 16 bits, rounded again whenever a list changes. That adds up to .004 of
/// the largest distance in the worst of 20,000 lists, and to .002 in the worst of 1,000.
#[test]
fn nearest_links_are_the_links_nearest_first() {
    let vectors = encode(ElementType::F32, &uniform(1000, 24, 5));
    for metric in METRICS {
        let arena = build(parameters(24, ElementType::F32, metric), &vectors, 2);
        let measure = Measure::new(metric, ElementType::F32);
        let mut were_nearest_first = 0;
        for node in 0..1000 {
            let nearest: Vec<u32> = arena.nearest_links(node).collect();
            let links: Vec<u32> = arena.links(node, 0).collect();
            assert_eq!(BTreeSet::from_iter(&nearest), BTreeSet::from_iter(&links));
            assert_eq!(nearest.len(), links.len());
            let vector = &vectors[node as usize];
            let distance = |next: &u32| measure.distance(vector, &vectors[*next as usize]);
            let distances: Vec<f64> = nearest.iter().map(distance).collect();
            let largest = distances.iter().fold(0.0, |most: f64, next| most.max(next.abs()));
            let is_order = |near: &f64, far: &f64| *near <= far + largest * 1e-2;
            assert!(distances.is_sorted_by(is_order), "{node}: {distances:?}");
            let of_links: Vec<f64> = links.iter().map(distance).collect();
            were_nearest_first += u32::from(of_links.is_sorted_by(is_order));
        }
        assert!(were_nearest_first < 100, "{were_nearest_first} lists tell nothing");
    }
}

#[test]
fn every_size_around_the_first_nodes_gives_one_graph() {
    let vectors = encode(ElementType::F32, &uniform(70, 4, 7));
    for len in [1, 2, 3, 33, 64, 65, 70] {
        build(parameters(4, ElementType::F32, Metric::Cosine), &vectors[..len], 3);
    }
}

#[test]
fn one_thread_builds_the_same_graph_again() {
    let vectors = encode(ElementType::F32, &uniform(1000, 16, 8));
    let graphs: Vec<Vec<Vec<u32>>> = (0..2)
        .map(|_| {
            let arena = build(parameters(16, ElementType::F32, Metric::L2), &vectors, 1);
            (0..arena.len()).map(|node| arena.links(node, 0).collect()).collect()
        })
        .collect();
    assert_eq!(graphs[0], graphs[1]);
}

#[test]
fn no_row_gives_an_empty_graph() {
    let parameters = parameters(4, ElementType::F32, Metric::L2);
    let arena = Feeder::new(settings(parameters, ROOM), &pool(2)).finish(|_| ()).unwrap().unwrap();
    assert!(arena.is_empty() && arena.entry_point().is_none());
}

#[test]
fn any_number_of_rows_may_share_a_vector() {
    let started = Instant::now();
    let mut vectors = uniform(3, 384, 9);
    vectors.extend(std::iter::repeat_n(vectors[1].clone(), 100_000));
    let vectors = encode(ElementType::F32, &vectors);
    let arena = build(parameters(384, ElementType::F32, Metric::InnerProduct), &vectors, 4);
    assert_eq!(arena.len(), 3);
    assert_eq!(arena.heap_tids(1).count(), 100_001);
    // Were it quadratic it would take minutes.
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn zeros_of_either_sign_are_two_vectors_at_no_distance() {
    let vectors = encode(ElementType::F32, &[vec![0.0, 1.0], vec![-0.0, 1.0], vec![0.0, 1.0]]);
    let arena = build(parameters(2, ElementType::F32, Metric::L2), &vectors, 1);
    let found = search(&arena, &vectors[0], 10, 10);
    assert_eq!(arena.len(), 2);
    assert!(found.len() == 3 && found.iter().all(|(distance, _)| *distance == 0.0));
}

#[test]
fn distances_that_overflow_do_no_harm() {
    let mut vectors = uniform(500, 8, 10);
    for (i, vector) in vectors.iter_mut().enumerate() {
        let scale = if i % 2 == 0 { 1e30 } else { 1e-30 };
        vector.iter_mut().for_each(|value| *value *= scale);
    }
    let vectors = encode(ElementType::F32, &vectors);
    for metric in METRICS {
        build(parameters(8, ElementType::F32, metric), &vectors, 2);
    }
}

#[test]
fn a_build_ends_at_its_memory_limit() {
    let parameters = parameters(64, ElementType::F32, Metric::L2);
    let vectors = encode(ElementType::F32, &uniform(5000, 64, 11));
    let pool = pool(2);
    for limit in [0, 1000, 100_000, 1_000_000] {
        let mut feeder = Feeder::new(settings(parameters, limit), &pool);
        let is_taken = |(i, vector): &(usize, &Vec<u8>)| feeder.push(vector, tid(*i)).is_ok();
        let taken = vectors.iter().enumerate().take_while(is_taken).count();
        assert_eq!(feeder.push(&vectors[taken], tid(taken)), Err(Full));
        let arena = feeder.finish(|_| ()).unwrap().unwrap();
        assert_eq!(arena.len() as usize, taken);
        let contents = Contents { nodes: taken as u64, duplicates: 0, asides: 0, vector_size: 256 };
        let memory = Arena::estimate(&parameters, 2, &contents).whole as usize;
        assert!(limit <= 1000 || memory <= limit * 21 / 20, "{taken} rows in {limit} bytes: {memory}");
        if limit >= 100_000 {
            assert!(memory >= limit * 8 / 10, "only {taken} rows in {limit} bytes");
            check(&arena, &vectors[..taken]);
        }
    }
}

#[test]
fn rows_that_share_a_vector_count_against_the_memory_limit() {
    let vector = encode(ElementType::F32, &uniform(1, 4, 12)).remove(0);
    let (parameters, pool) = (parameters(4, ElementType::F32, Metric::L2), pool(1));
    let mut feeder = Feeder::new(settings(parameters, 1_000_000), &pool);
    let taken = (0..1_000_000).take_while(|i| feeder.push(&vector, tid(*i)).is_ok()).count();
    assert!((10_000..1_000_000 / size_of::<HeapTid>()).contains(&taken), "{taken}");
}

#[test]
fn a_feed_that_unwinds_stops_the_build() {
    let vectors = encode(ElementType::F32, &uniform(20_000, 64, 14));
    let (parameters, pool) = (parameters(64, ElementType::F32, Metric::L2), pool(2));
    let started = Instant::now();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut feeder = Feeder::new(settings(parameters, ROOM), &pool);
        for (i, vector) in vectors.iter().enumerate() {
            feeder.push(vector, tid(i)).unwrap();
        }
        _ = feeder.finish(|_| std::panic::resume_unwind(Box::new("interrupted")));
    }));
    assert!(unwound.is_err());
    // Its end waits for what the threads still do: an insertion or so.
    drop(pool);
    assert!(started.elapsed() < Duration::from_secs(1));
}
