//! Round trips of payloads, and bounds of distances computed from them.

use crate::vectors::{bytes, gaussian, rng};
use proptest::prelude::*;
use walia_core::code::distance_bounds;
use walia_core::kernel::{InstructionSet, Measure};
use walia_core::types::PayloadEncoding;
use walia_core::types::{ElementType, Metric};

const ELEMENTS: [ElementType; 2] = [ElementType::F32, ElementType::F16];
const ENCODINGS: [PayloadEncoding; 3] = [PayloadEncoding::Column, PayloadEncoding::F16, PayloadEncoding::Sq8];

fn values(element: ElementType, vector: &[u8]) -> Vec<f32> {
    match element {
        ElementType::F32 => vector.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        ElementType::F16 => {
            vector.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect()
        }
        ElementType::Bit | ElementType::Sparse => unreachable!("these are kept as they are"),
    }
}

fn norm_of_difference(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

fn norm(element: ElementType, vector: &[u8]) -> f64 {
    let values = values(element, vector);
    norm_of_difference(&values, &vec![0.0; values.len()])
}

/// The payload of a vector, and the vector decoded.
fn round_trip(encoding: PayloadEncoding, element: ElementType, vector: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut payload = vec![0xff; encoding.size(vector.len() / element.bytes(1), element)];
    encoding.encode(vector, element, &mut payload);
    let mut scratch = vec![1, 2, 3];
    let decoded = encoding.decode(&payload, element, &mut scratch).to_vec();
    (payload, decoded)
}

/// Whether the exact distance, with every instruction set, is within the bounds computed with every
/// instruction set.
fn check_bounds(encoding: PayloadEncoding, element: ElementType, query: &[u8], vector: &[u8]) {
    let (payload, decoded) = round_trip(encoding, element, vector);
    let residual = encoding.residual(&payload);
    let dimensions = vector.len() / element.bytes(1);
    let mut scratch = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1] {
        for set in InstructionSet::available() {
            let measure = Measure::with_instruction_set(metric, element, set).unwrap();
            let prepared = measure.prepare(query);
            let (approximate, squares) =
                encoding.measure(&measure, query, prepared, &payload, element, &mut scratch);
            let (plainly, plain_squares) =
                (measure.distance(query, &decoded), measure.squared_norm(&decoded));
            assert_eq!(
                (approximate.to_bits(), squares.to_bits()),
                (plainly.to_bits(), plain_squares.to_bits())
            );
            let [query_norm, norm] =
                [measure.squared_norm(query), squares].map(|norm| f64::from(norm).sqrt());
            let (low, high) = distance_bounds(metric, dimensions, approximate, query_norm, norm, residual);
            for exact_set in InstructionSet::available() {
                let exact = Measure::with_instruction_set(metric, element, exact_set).unwrap();
                let exact = exact.distance(query, vector);
                assert!(
                    exact.is_nan() || residual == 0.0 || (low..=high).contains(&exact),
                    "{encoding:?} {element:?} {metric:?}: {exact} is not in {low} to {high}, from {approximate}"
                );
                if residual == 0.0 && set == exact_set {
                    assert!(low.to_bits() == high.to_bits() && (low == exact || exact.is_nan()));
                }
            }
        }
    }
}

fn check(element: ElementType, query: &[f32], vector: &[f32]) {
    let (query, vector) = (bytes(element, query), bytes(element, vector));
    for encoding in ENCODINGS {
        let (payload, decoded) = round_trip(encoding, element, &vector);
        let decoded = values(element, &decoded);
        assert!(decoded.iter().all(|value| value.is_finite()), "{encoding:?} {element:?}: {decoded:?}");
        let lost = norm_of_difference(&values(element, &vector), &decoded);
        let residual = f64::from(encoding.residual(&payload));
        assert!(
            lost <= residual && (residual <= lost * (1.0 + 1e-6) + 1e-44 || lost > f64::from(f32::MAX)),
            "{encoding:?}: {lost}, {residual}"
        );
        check_bounds(encoding, element, &query, &vector);
    }
}

proptest! {
    #[test]
    fn the_exact_distance_is_within_its_bounds(
        seed: u64,
        dimensions in 1usize..600,
        scale in -70i32..=70,
        query_scale in -70i32..=70,
        nearness in 0i32..30,
    ) {
        let mut rng = rng(seed);
        let vector = gaussian(&mut rng, dimensions, 0.5);
        let other = gaussian(&mut rng, dimensions, 0.5);
        // Queries from far away to nearly the same.
        let query: Vec<f32> =
            vector.iter().zip(&other).map(|(vector, other)| vector + other * 2f32.powi(-nearness)).collect();
        let scaled = |values: &[f32], scale: i32| values.iter().map(|v| v * 2f32.powi(scale)).collect::<Vec<_>>();
        check(ElementType::F32, &scaled(&query, scale), &scaled(&vector, scale));
        check(ElementType::F32, &scaled(&query, query_scale), &scaled(&vector, scale));
        // A vector of which little is lost: what sums lose by rounding is more.
        let mut halves = values(ElementType::F16, &bytes(ElementType::F16, &vector));
        halves[0] = 2f32.powi(-10) * (1.0 + f32::EPSILON);
        check(ElementType::F32, &scaled(&query, query_scale), &scaled(&halves, scale));
        check(ElementType::F16, &scaled(&query, scale % 12), &scaled(&vector, scale % 12));
    }
}

#[test]
fn extreme_elements_stay_finite_and_within_bounds() {
    let ordinary = [1.0, -2.0, 0.5, 3.0];
    let extremes: [[f32; 4]; 7] = [
        [f32::MAX, f32::MIN, 0.0, 1.0],
        [1e30, 1e-30, -1e30, 0.0],
        [70_000.0, -65_504.0, 65_520.0, 1.0],
        [f32::MIN_POSITIVE, 1e-45, -1e-40, 0.0],
        [0.0; 4],
        [-0.0, 0.0, 1e-45, 5.0],
        [3.25; 4],
    ];
    for vector in &extremes {
        check(ElementType::F32, &ordinary, vector);
        extremes.iter().for_each(|query| check(ElementType::F32, query, vector));
    }
    for vector in [[65_504.0, -65_504.0, 1.0, 0.0], [6e-8, -6e-8, 0.0, 6e-5], [0.0; 4], [65_504.0; 4]] {
        check(ElementType::F16, &ordinary, &vector);
    }
}

#[test]
fn what_an_encoding_can_hold_comes_back() {
    let mut rng = rng(1);
    for dimensions in [1, 2, 3, 63, 64, 65, 384] {
        let vector = gaussian(&mut rng, dimensions, 0.0);
        for element in ELEMENTS {
            let vector = bytes(element, &vector);
            assert_eq!(
                round_trip(PayloadEncoding::Column, element, &vector),
                (vector.clone(), vector.clone())
            );
        }
        let halves = bytes(ElementType::F16, &vector);
        assert_eq!(round_trip(PayloadEncoding::F16, ElementType::F16, &halves).1, halves);
        // Binary16 elements in a binary32 column.
        let widened = bytes(ElementType::F32, &values(ElementType::F16, &halves));
        let (payload, decoded) = round_trip(PayloadEncoding::F16, ElementType::F32, &widened);
        assert_eq!((decoded, PayloadEncoding::F16.residual(&payload)), (widened, 0.0));
        // Whole multiples of a step, from end to end.
        let multiples: Vec<f32> = (0..dimensions)
            .map(|i| if dimensions == 1 { 3.0 } else { [0.0, 255.0, i as f32 % 256.0][i.min(2)] })
            .collect();
        let multiples = bytes(ElementType::F32, &multiples);
        let (payload, decoded) = round_trip(PayloadEncoding::Sq8, ElementType::F32, &multiples);
        assert_eq!((decoded, PayloadEncoding::Sq8.residual(&payload)), (multiples, 0.0));
    }
}

#[test]
fn a_coarser_payload_loses_what_its_precision_says() {
    let mut rng = rng(2);
    let vector = bytes(ElementType::F32, &gaussian(&mut rng, 384, 0.0));
    let length = norm(ElementType::F32, &vector);
    let lost = |encoding: PayloadEncoding| {
        f64::from(encoding.residual(&round_trip(encoding, ElementType::F32, &vector).0)) / length
    };
    assert_eq!(lost(PayloadEncoding::Column), 0.0);
    assert!((1e-5..4.9e-4).contains(&lost(PayloadEncoding::F16)), "{}", lost(PayloadEncoding::F16));
    assert!((1e-3..1e-2).contains(&lost(PayloadEncoding::Sq8)), "{}", lost(PayloadEncoding::Sq8));
}
