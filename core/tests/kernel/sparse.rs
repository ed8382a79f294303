//! Kernels of sparse vectors, beside those of the same vectors with their zeros.

use super::{agreed, reference};
use rand::{Rng, SeedableRng, rngs::StdRng};
use walia_core::kernel::{InstructionSet, Measure, is_sparse_vector};
use walia_core::types::{ElementType, MAX_SPARSE_DIMENSIONS, Metric};

const METRICS: [Metric; 4] = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1];

/// The bytes of the elements that are not zero.
fn encode(elements: &[(u32, f32)]) -> Vec<u8> {
    let indices = elements.iter().flat_map(|(index, _)| index.to_le_bytes());
    indices.chain(elements.iter().flat_map(|(_, element)| element.to_le_bytes())).collect()
}

/// Each element with a probability, a small integer where that is asked for.
fn random(rng: &mut StdRng, dimensions: u32, share: f64, integers: bool) -> Vec<(u32, f32)> {
    let mut element = |index| {
        let number = if integers { rng.random_range(1..=8i32) as f32 } else { rng.random_range(-1.0..1.0) };
        (rng.random_bool(share) && number != 0.0).then_some((index, number))
    };
    (0..dimensions).filter_map(&mut element).collect()
}

fn with_zeros(elements: &[(u32, f32)], dimensions: u32) -> Vec<f64> {
    let mut numbers = vec![0.0; dimensions as usize];
    elements.iter().for_each(|(index, element)| numbers[*index as usize] = f64::from(*element));
    numbers
}

#[test]
fn elements_count_once_each() {
    let mut rng = StdRng::seed_from_u64(1);
    let shares = [0.0, 0.02, 0.3, 0.9, 1.0];
    for (share_a, share_b) in shares.iter().flat_map(|a| shares.map(|b| (*a, b))) {
        for dimensions in [1, 2, 3, 17, 300, 2000] {
            for integers in [true, false] {
                let [a, b] = [share_a, share_b].map(|share| random(&mut rng, dimensions, share, integers));
                // Any alignment will do.
                let offset = dimensions as usize % 64;
                let unaligned = [vec![0xff; offset], encode(&b)].concat();
                let numbers = [&a, &b].map(|elements| with_zeros(elements, dimensions));
                for metric in METRICS {
                    let measures = InstructionSet::available()
                        .map(|set| Measure::with_instruction_set(metric, ElementType::Sparse, set).unwrap());
                    for measure in measures {
                        let value = agreed(&measure, &encode(&a), &unaligned[offset..]);
                        let (expected, tolerance) = reference(metric, &numbers[0], &numbers[1]);
                        let what = format!("{metric:?} {dimensions}: {value} is not {expected}");
                        if metric == Metric::Cosine && (a.is_empty() || b.is_empty()) {
                            assert!(value.is_nan() && expected.is_nan(), "{what}");
                        } else if integers && metric != Metric::Cosine {
                            assert_eq!(value, expected, "{what}");
                        } else {
                            // There are no partial sums.
                            assert!((value - expected).abs() <= 16.0 * tolerance, "{what} ± {tolerance}");
                        }
                        assert_eq!(
                            measure.is_undefined(&encode(&a)),
                            metric == Metric::Cosine && a.is_empty()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_vector_is_at_no_distance_from_itself() {
    let mut rng = StdRng::seed_from_u64(2);
    let vector = encode(&random(&mut rng, 1000, 0.4, false));
    for metric in [Metric::L2, Metric::Cosine, Metric::L1] {
        assert_eq!(agreed(&Measure::new(metric, ElementType::Sparse), &vector, &vector), 0.0);
    }
}

#[test]
fn indices_reach_as_far_as_there_are_dimensions() {
    let last = MAX_SPARSE_DIMENSIONS as u32 - 1;
    let (a, b) = (encode(&[(0, 1.0), (last - 1, 2.0), (last, 3.0)]), encode(&[(1, 5.0), (last, 4.0)]));
    for (metric, expected) in [(Metric::L2, 31.0), (Metric::InnerProduct, -12.0), (Metric::L1, 9.0)] {
        assert_eq!(agreed(&Measure::new(metric, ElementType::Sparse), &a, &b), expected);
    }
    assert!(is_sparse_vector(&a, MAX_SPARSE_DIMENSIONS) && is_sparse_vector(&[], 1));
    assert!(!is_sparse_vector(&a, MAX_SPARSE_DIMENSIONS - 1));
    assert!(!is_sparse_vector(&encode(&[(1, 1.0), (1, 1.0)]), 10));
    assert!(!is_sparse_vector(&encode(&[(2, 1.0), (1, 1.0)]), 10));
    assert!(!is_sparse_vector(&encode(&[(u32::MAX, 1.0)]), MAX_SPARSE_DIMENSIONS));
}
