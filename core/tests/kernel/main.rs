//! Every kernel that this machine has, against sums in double precision.

use half::f16;
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};
use walia_core::kernel::{InstructionSet, Measure};
use walia_core::types::{ElementType, MAX_DIMENSIONS, Metric};

mod bits;
mod sparse;

const METRICS: [Metric; 4] = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1];
/// Of numbers; bits have tests of their own.
const ELEMENTS: [ElementType; 2] = [ElementType::F32, ElementType::F16];

/// Every combination that this machine can run.
fn measures() -> impl Iterator<Item = (InstructionSet, Metric, ElementType, Measure)> {
    InstructionSet::available().flat_map(|set| {
        METRICS.into_iter().flat_map(move |metric| {
            ELEMENTS.into_iter().map(move |element| {
                (set, metric, element, Measure::with_instruction_set(metric, element, set).unwrap())
            })
        })
    })
}

/// The bytes of a vector with these elements, rounded to the element type.
fn encode(element: ElementType, values: &[f64]) -> Vec<u8> {
    match element {
        ElementType::F32 => values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect(),
        ElementType::F16 => values.iter().flat_map(|value| f16::from_f64(*value).to_le_bytes()).collect(),
        ElementType::Bit | ElementType::Sparse => unreachable!("not each a number"),
    }
}

/// The elements that are really stored.
fn decode(element: ElementType, bytes: &[u8]) -> Vec<f64> {
    match element {
        ElementType::F32 => {
            bytes.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
        }
        ElementType::F16 => {
            bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f64()).collect()
        }
        ElementType::Bit | ElementType::Sparse => unreachable!("not each a number"),
    }
}

/// A distance in double precision, and how far from it a sum in single precision may be.
fn reference(metric: Metric, a: &[f64], b: &[f64]) -> (f64, f64) {
    let sum = |term: fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| term(*a, *b)).sum::<f64>();
    // Each of at least 16 partial sums rounds once an element, and so does each term; joining them takes a
    // few more.
    let rounding = (a.len() as f64 / 16.0 + 16.0) * f64::from(f32::EPSILON);
    let product = sum(|a, b| a * b);
    let products = sum(|a, b| (a * b).abs());
    match metric {
        Metric::L2 => {
            let squares = sum(|a, b| (a - b) * (a - b));
            (squares, squares * rounding)
        }
        Metric::L1 => {
            let differences = sum(|a, b| (a - b).abs());
            (differences, differences * rounding)
        }
        Metric::InnerProduct => (-product, products * rounding),
        Metric::Cosine => {
            let norms = (sum(|a, _| a * a) * sum(|_, b| b * b)).sqrt();
            (1.0 - product / norms, (products / norms + 1.0) * rounding)
        }
        Metric::Hamming | Metric::Jaccard => unreachable!("of bits"),
    }
}

/// The value of all three methods in both orders, which must have the same bits.
fn agreed(measure: &Measure, a: &[u8], b: &[u8]) -> f64 {
    let (prepared_a, prepared_b) = (measure.prepare(a), measure.prepare(b));
    let values = [
        measure.distance(a, b),
        measure.distance(b, a),
        measure.distance_from(a, prepared_a, b),
        measure.distance_from(b, prepared_b, a),
        measure.distance_between(a, prepared_a, b, prepared_b),
        measure.distance_between(b, prepared_b, a, prepared_a),
    ];
    assert!(values.iter().all(|value| value.to_bits() == values[0].to_bits()), "{measure:?}: {values:?}");
    values[0]
}

fn random(rng: &mut StdRng, dimensions: usize, scale: f64) -> Vec<f64> {
    (0..dimensions).map(|_| rng.random_range(-scale..scale)).collect()
}

proptest! {
    #[test]
    fn random_vectors_are_within_rounding(
        seed: u64,
        dimensions in 1usize..=2100,
        scale in -6i32..=6,
        offset in 0usize..64,
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let [a, b] = [0, 1].map(|_| random(&mut rng, dimensions, 2f64.powi(scale)));
        for (set, metric, element, measure) in measures() {
            let bytes_a = encode(element, &a);
            // Any alignment will do.
            let mut unaligned = vec![0; offset];
            unaligned.extend(encode(element, &b));
            let bytes_b = &unaligned[offset..];
            let (expected, tolerance) = reference(metric, &decode(element, &bytes_a), &decode(element, bytes_b));
            let value = agreed(&measure, &bytes_a, bytes_b);
            prop_assert!(
                (value - expected).abs() <= tolerance,
                "{set:?} {metric:?} {element:?}: {value} is not {expected} ± {tolerance}"
            );
        }
    }
}

/// Sums of small integers are exact in any order, so that an element lost or counted twice cannot hide.
fn check_exactly(dimensions: usize, rng: &mut StdRng) {
    let mut integers = || (0..dimensions).map(|_| f64::from(rng.random_range(1..=8i32))).collect::<Vec<_>>();
    let (a, b) = (integers(), integers());
    for (set, metric, element, measure) in measures() {
        let value = agreed(&measure, &encode(element, &a), &encode(element, &b));
        let (expected, _) = reference(metric, &a, &b);
        let exact = match metric {
            Metric::Cosine => (value - expected).abs() <= 4.0 * f64::EPSILON,
            _ => value == expected,
        };
        assert!(exact, "{set:?} {metric:?} {element:?} {dimensions}: {value} is not {expected}");
    }
}

#[test]
fn every_length_counts_every_element_once() {
    let mut rng = StdRng::seed_from_u64(1);
    for dimensions in (1..=2100).chain([MAX_DIMENSIONS - 1, MAX_DIMENSIONS]) {
        check_exactly(dimensions, &mut rng);
    }
}

#[test]
fn the_largest_vectors_are_within_rounding() {
    let mut rng = StdRng::seed_from_u64(2);
    let [a, b] = [0, 1].map(|_| random(&mut rng, MAX_DIMENSIONS, 1.0));
    for (set, metric, element, measure) in measures() {
        let (a, b) = (encode(element, &a), encode(element, &b));
        let (expected, tolerance) = reference(metric, &decode(element, &a), &decode(element, &b));
        let value = agreed(&measure, &a, &b);
        assert!(
            (value - expected).abs() <= tolerance,
            "{set:?} {metric:?} {element:?}: {value} is not {expected}"
        );
    }
}

#[test]
fn every_half_is_widened_exactly() {
    const DIMENSIONS: usize = 127;
    for set in InstructionSet::available() {
        let measure = Measure::with_instruction_set(Metric::InnerProduct, ElementType::F16, set).unwrap();
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            // Positions take turns, in whole registers and in the partial one at the end.
            let position = usize::from(bits) % DIMENSIONS;
            let (mut vector, mut one) = ([f16::ZERO; DIMENSIONS], [f16::ZERO; DIMENSIONS]);
            vector[position] = half;
            one[position] = f16::ONE;
            let value = -measure.distance(bytemuck::cast_slice(&vector), bytemuck::cast_slice(&one));
            assert!(
                value == half.to_f64() || value.is_nan() && half.is_nan(),
                "{set:?}: {value} is not {half}"
            );
        }
    }
}

#[test]
fn a_vector_is_at_no_distance_from_itself() {
    let mut rng = StdRng::seed_from_u64(3);
    for dimensions in [1, 2, 3, 31, 100, 384, 1536] {
        let vector = random(&mut rng, dimensions, 3.0);
        for (set, metric, element, measure) in measures() {
            let vector = encode(element, &vector);
            if metric != Metric::InnerProduct {
                assert_eq!(agreed(&measure, &vector, &vector), 0.0, "{set:?} {metric:?} {element:?}");
            }
        }
    }
}

#[test]
fn only_cosine_prepares_a_squared_norm() {
    for (set, metric, element, measure) in measures() {
        let prepared = measure.prepare(&encode(element, &[3.0, -4.0]));
        assert_eq!(prepared, if metric == Metric::Cosine { 25.0 } else { 0.0 }, "{set:?} {element:?}");
    }
}

#[test]
fn cosine_keeps_its_range_and_has_no_value_for_a_zero_vector() {
    let mut rng = StdRng::seed_from_u64(4);
    for (set, _, element, measure) in measures().filter(|(_, metric, ..)| *metric == Metric::Cosine) {
        for dimensions in 1..200 {
            let values = random(&mut rng, dimensions, 1.0);
            let [one, same, opposite, zero] = [1.0, 3.0, -7.0, 0.0].map(|factor| {
                encode(element, &values.iter().map(|value| value * factor).collect::<Vec<_>>())
            });
            let (near, far) = (agreed(&measure, &one, &same), agreed(&measure, &one, &opposite));
            assert!((0.0..1e-3).contains(&near), "{set:?} {element:?}: {near}");
            assert!(far > 2.0 - 1e-3 && far <= 2.0, "{set:?} {element:?}: {far}");
            assert!(
                measure.distance(&one, &zero).is_nan() && measure.distance(&zero, &one).is_nan(),
                "{set:?}"
            );
        }
    }
}

#[test]
fn the_shorter_vector_counts() {
    let mut rng = StdRng::seed_from_u64(5);
    let [a, b] = [0, 1].map(|_| random(&mut rng, 150, 1.0));
    for (set, metric, element, measure) in measures() {
        let (a, b) = (encode(element, &a), encode(element, &b));
        for length in 1..b.len() {
            // Bytes that do not make up an element do not count either.
            let whole = length - length % element.bytes(1);
            let value = measure.distance_between(&a, 1.0, &b[..length], 1.0);
            let expected = measure.distance_between(&a[..whole], 1.0, &b[..whole], 1.0);
            assert_eq!(value, expected, "{set:?} {metric:?} {element:?} {length}");
            assert_eq!(measure.distance_between(&b[..length], 1.0, &a, 1.0), expected);
        }
    }
}

#[test]
fn the_environment_chooses_the_instruction_set() {
    let in_use = InstructionSet::in_use();
    let wanted = std::env::var("WALIA_KERNEL").ok();
    match InstructionSet::available().find(|set| wanted.as_deref() == Some(set.name())) {
        Some(available) => assert_eq!(in_use, available),
        None => assert_eq!(in_use, InstructionSet::detect()),
    }
    // The choice is made once a process, so that each takes a process of its own.
    if wanted.is_none() {
        for wanted in ["scalar", "neon", "avx2", "avx512", "AVX2", "mmx", ""] {
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "the_environment_chooses_the_instruction_set"])
                .env("WALIA_KERNEL", wanted)
                .output()
                .unwrap();
            let output = String::from_utf8_lossy(&child.stdout);
            assert!(child.status.success() && output.contains("1 passed"), "{wanted}: {output}");
        }
    }
}
