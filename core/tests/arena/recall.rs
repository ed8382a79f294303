//! How many of the nearest rows searches of a built graph find.

use crate::*;

/// The part of the 10 nearest rows that searches find; any row as near as the tenth counts.
fn recall(arena: &Arena, vectors: &[Vec<u8>], queries: &[Vec<u8>], ef: usize) -> f64 {
    let measure = Measure::new(arena.parameters().metric, arena.parameters().element);
    let mut hits = 0;
    for query in queries {
        let mut distances: Vec<f64> = vectors.iter().map(|vector| measure.distance(query, vector)).collect();
        distances.sort_unstable_by(f64::total_cmp);
        let found = search(arena, query, ef, 10);
        hits += found.iter().filter(|(distance, _)| *distance <= distances[9]).count();
    }
    hits as f64 / (10 * queries.len()) as f64
}

fn assert_recall(
    parameters: Parameters,
    vectors: &[Vec<f32>],
    queries: &[Vec<f32>],
    threads: usize,
    at_least: f64,
) {
    let vectors = encode(parameters.element, vectors);
    let queries = encode(parameters.element, queries);
    let arena = build(parameters, &vectors, threads);
    let recall = recall(&arena, &vectors, &queries, 100);
    assert!(recall >= at_least, "recall {recall} of {parameters:?} on {threads} threads");
}

#[test]
fn uniform_vectors_are_found() {
    for (len, dimensions, at_least) in [(2000, 2, 0.99), (2000, 32, 0.95), (1000, 384, 0.9)] {
        let vectors = uniform(len, dimensions, 1);
        let queries = uniform(30, dimensions, 2);
        for metric in METRICS {
            for (element, threads) in [(ElementType::F32, 1), (ElementType::F16, 2)] {
                let parameters = parameters(dimensions, element, metric);
                assert_recall(parameters, &vectors, &queries, threads, at_least);
            }
        }
    }
}

#[test]
fn clustered_and_repeated_vectors_are_found() {
    for dimensions in [2, 32, 384] {
        let vectors = clusters(1500, dimensions, 3);
        let queries: Vec<Vec<f32>> = clusters(30, dimensions, 3);
        for metric in METRICS {
            for (element, threads) in [(ElementType::F32, 4), (ElementType::F16, 1)] {
                let parameters = parameters(dimensions, element, metric);
                assert_recall(parameters, &vectors, &queries, threads, 0.95);
            }
        }
    }
}

/// Many vectors are as near as each other.
#[test]
fn bits_are_found() {
    for (len, dimensions, at_least) in [(2000, 20, 0.99), (2000, 67, 0.95), (1000, 384, 0.9)] {
        let (vectors, queries) = (uniform(len, dimensions, 1), uniform(30, dimensions, 2));
        for metric in [Metric::Hamming, Metric::Jaccard] {
            let parameters = parameters(dimensions, ElementType::Bit, metric);
            assert_recall(parameters, &vectors, &queries, 2, at_least);
        }
    }
    let (vectors, queries) = (clusters(1500, 384, 3), clusters(30, 384, 3));
    assert_recall(parameters(384, ElementType::Bit, Metric::Hamming), &vectors, &queries, 1, 0.95);
}

#[test]
fn sparse_vectors_are_found() {
    for (dimensions, at_least) in [(10, 0.97), (60, 0.9)] {
        let (vectors, queries) = (uniform(2000, dimensions, 1), uniform(30, dimensions, 2));
        for (metric, threads) in METRICS.into_iter().zip([1, 4, 2, 4]) {
            let parameters = parameters(dimensions, ElementType::Sparse, metric);
            assert_recall(parameters, &vectors, &queries, threads, at_least);
        }
    }
}

/// Codes tell little about vectors whose distances are small beside that from the centroid: links must not
/// rest on them.
#[test]
fn tight_clusters_are_found_with_codes() {
    let mut random = StdRng::seed_from_u64(8);
    let mut around = |centre: &[f32], width: f32| {
        // A sum of uniform values is near enough to a normal one.
        let normal = |random: &mut StdRng| (0..6).map(|_| symmetric(random)).sum::<f32>() / 1.41;
        centre.iter().map(|value| value + width * normal(&mut random)).collect::<Vec<f32>>()
    };
    let centres: Vec<Vec<f32>> = (0..60).map(|_| around(&[0.0; 384], 1.0)).collect();
    let vectors: Vec<Vec<f32>> = (0..6000).map(|i| around(&centres[i % 60], 0.1)).collect();
    let queries: Vec<Vec<f32>> = (0..60).map(|i| around(&centres[i], 0.1)).collect();
    let parameters = fit(Wishes {
        dimensions: 384,
        element: ElementType::F32,
        metric: Metric::L2,
        m: 16,
        ef_construction: 100,
        quantization: Quantization::Auto,
        storage: Storage::Auto,
    });
    assert_eq!(parameters.code_bits, 1);
    assert_recall(parameters, &vectors, &queries, 2, 0.99);
}

#[test]
fn clusters_that_come_one_after_the_other_are_found() {
    let mut vectors = clusters(3000, 32, 5);
    vectors.sort_unstable_by(|a, b| a[0].total_cmp(&b[0]));
    let queries: Vec<Vec<f32>> = vectors.iter().step_by(100).cloned().collect();
    // The hardest order: a node finds all of its neighbours in its own cluster, and few links lead to
    // another.
    assert_recall(parameters(32, ElementType::F32, Metric::L2), &vectors, &queries, 2, 0.8);
}

#[test]
fn many_threads_insert_into_few_lists() {
    // Short lists, in which links displace each other all the time.
    let vectors = encode(ElementType::F32, &uniform(6000, 2, 15));
    let parameters =
        Parameters { m: 4, m0: 8, ef_construction: 16, ..parameters(2, ElementType::F32, Metric::L2) };
    let arena = build(parameters, &vectors, 16);
    let queries = encode(ElementType::F32, &uniform(50, 2, 16));
    assert!(recall(&arena, &vectors, &queries, 100) >= 0.97);
}

#[test]
fn sentence_embeddings_are_found() {
    let Some([vectors, queries]) = embeddings(4000, 50) else { return };
    let parameters = parameters(384, ElementType::F32, Metric::Cosine);
    assert_recall(parameters, &vectors, &queries, 2, 0.98);
}
