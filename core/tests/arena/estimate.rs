//! What builds are said to take, against what they take.

use super::spilled::{RamFile, coded};
use super::*;

/// Pushes rows until one finds no place; the number of those that did. The pool's work is dropped.
fn pushed(parameters: Parameters, rows: &[Vec<u8>], pool: &ThreadPool, limit: u64) -> usize {
    let mut feeder = Feeder::new(settings(parameters, limit as usize), pool);
    rows.iter().enumerate().take_while(|(i, row)| feeder.push(row, tid(*i)).is_ok()).count()
}

/// The same where vectors move to a file; and the file's size.
fn pushed_or_spilled(
    parameters: Parameters,
    rows: &[Vec<u8>],
    pool: &ThreadPool,
    limit: u64,
) -> (usize, u64) {
    let mut file = RamFile::default();
    let mut feeder = Feeder::new(settings(parameters, limit as usize), pool);
    let has_room = |(i, row): &(usize, &Vec<u8>)| {
        while feeder.push(row, tid(*i)).is_err() {
            if !feeder.spill(&mut file, |_| ()).unwrap() {
                return false;
            }
        }
        true
    };
    let pushed = rows.iter().enumerate().take_while(has_room).count();
    (pushed, file.size())
}

fn rows(parameters: &Parameters, nodes: usize, duplicates: usize) -> (Vec<Vec<u8>>, Contents) {
    let mut rows = encode(parameters.element, &uniform(nodes, parameters.dimensions, 7));
    rows.extend((0..duplicates).map(|i| rows[i % nodes].clone()).collect::<Vec<_>>());
    rows.shuffle(&mut StdRng::seed_from_u64(8));
    let vector_size = rows.iter().map(Vec::len).sum::<usize>() / rows.len();
    (rows, Contents { nodes: nodes as u64, duplicates: duplicates as u64, asides: 0, vector_size })
}

#[test]
fn memory_with_vectors() {
    let pool = pool(2);
    let plain = parameters(8, ElementType::F32, Metric::L2);
    let cheap = |parameters| Parameters { ef_construction: 32, ..parameters };
    for (parameters, nodes, duplicates) in [
        (plain, 30_000, 0),
        (plain, 9_000, 40_000),
        (coded(32, ElementType::F32, Metric::L2), 58_000, 0),
        (coded(128, ElementType::F32, Metric::Cosine), 28_000, 3_000),
        (coded(384, ElementType::F16, Metric::L2), 15_000, 500),
        (coded(1536, ElementType::F32, Metric::L2), 4_000, 0),
        (parameters(500, ElementType::Sparse, Metric::L2), 8_000, 300),
    ] {
        let parameters = cheap(parameters);
        let (rows, contents) = rows(&parameters, nodes, duplicates);
        let told = Arena::estimate(&parameters, 2, &contents).whole;
        let dimensions = parameters.dimensions;
        let [little, enough] = [told * 93 / 100, told * 103 / 100];
        let pushed = [little, enough].map(|limit| pushed(parameters, &rows, &pool, limit));
        println!("{dimensions}: {told} bytes, with 7% less {} of {} rows", pushed[0], rows.len());
        assert!(pushed[0] < rows.len(), "{dimensions}: {little} bytes were enough, {told} told");
        assert_eq!(pushed[1], rows.len(), "{dimensions}: {enough} bytes");
    }
}

#[test]
fn memory_and_file_without_vectors() {
    let pool = pool(2);
    let cheap = |parameters| Parameters { ef_construction: 32, ..parameters };
    // Lists that are as long as they may be take more than 64 MB, and memory is in huge pages.
    let long = Parameters { m: 100, m0: 200, ef_construction: 4, ..coded(32, ElementType::F32, Metric::L2) };
    for (parameters, nodes, duplicates) in [
        (cheap(coded(128, ElementType::F32, Metric::L2)), 9_000, 1_000),
        (cheap(coded(384, ElementType::F16, Metric::Cosine)), 6_000, 0),
        (cheap(coded(1536, ElementType::F32, Metric::L2)), 3_000, 0),
        (long, 85_000, 0),
    ] {
        let (rows, contents) = rows(&parameters, nodes, duplicates);
        let estimate = Arena::estimate(&parameters, 2, &contents);
        let told = estimate.spilled.unwrap();
        let dimensions = parameters.dimensions;
        let [little, enough] = [told * 92 / 100, told * 105 / 100];
        let pushed = [little, enough].map(|limit| pushed_or_spilled(parameters, &rows, &pool, limit).0);
        assert!(pushed[0] < rows.len(), "{dimensions}: {little} bytes were enough, {told} told");
        assert_eq!(pushed[1], rows.len(), "{dimensions}: {enough} bytes");
        for limit in [enough, enough * 5 / 4] {
            let (all, real) = pushed_or_spilled(parameters, &rows, &pool, limit);
            assert_eq!(all, rows.len());
            let told = Arena::file_size(&parameters, 2, &contents, limit);
            println!("{dimensions}: a file of {real} bytes, {told} told");
            assert!(told.abs_diff(real) * 10 <= real, "{dimensions}: {real} bytes in the file, {told} told");
        }
        assert_eq!(Arena::file_size(&parameters, 2, &contents, estimate.whole * 103 / 100), 0);
    }
}

#[test]
fn without_codes_nothing_moves() {
    let contents = Contents { nodes: 1000, duplicates: 0, asides: 0, vector_size: 1536 };
    let plain = parameters(384, ElementType::F32, Metric::L2);
    assert_eq!(Arena::estimate(&plain, 2, &contents).spilled, None);
    let nothing = Arena::estimate(&plain, 2, &Contents::default());
    assert!(nothing.whole < 1 << 16, "{nothing:?}");
}
