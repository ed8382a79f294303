//! Kernels of bits, by every instruction set that this machine has.

use super::agreed;
use rand::{Rng, SeedableRng, rngs::StdRng};
use walia_core::kernel::{InstructionSet, Measure};
use walia_core::types::{ElementType, MAX_BITS, Metric};

const METRICS: [Metric; 6] =
    [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1, Metric::Hamming, Metric::Jaccard];

/// A vector as bits, the first the most significant of its byte, and as numbers.
fn random(rng: &mut StdRng, dimensions: usize, ones: f64) -> (Vec<u8>, Vec<u8>) {
    let (mut bits, mut numbers) = (vec![0; dimensions.div_ceil(8)], Vec::new());
    for place in 0..dimensions {
        let one = rng.random_bool(ones);
        bits[place / 8] |= u8::from(one) << (7 - place % 8);
        numbers.extend(f32::from(u8::from(one)).to_le_bytes());
    }
    (bits, numbers)
}

/// pgvector's formulas, one bit at a time.
fn reference(metric: Metric, a: &[u8], b: &[u8]) -> f64 {
    let ones =
        |of: fn(u8, u8) -> u8| a.iter().zip(b).map(|(a, b)| u64::from(of(*a, *b).count_ones())).sum::<u64>();
    let (common, of_a, of_b) = (ones(|a, b| a & b), ones(|a, _| a), ones(|_, b| b));
    match metric {
        Metric::Hamming => ones(|a, b| a ^ b) as f64,
        Metric::Jaccard if common == 0 => 1.0,
        Metric::Jaccard => 1.0 - (common as f64 / (of_a + of_b - common) as f64),
        _ => unreachable!("of numbers"),
    }
}

/// Kernels of numbers, whose sums are exact here, count as those of bits do.
#[test]
fn every_length_counts_every_bit_once() {
    let mut rng = StdRng::seed_from_u64(1);
    for dimensions in (1..=1600).chain([16_000, MAX_BITS - 1, MAX_BITS]) {
        let [(bits_a, a), (bits_b, b)] = [0.5, 0.3].map(|ones| random(&mut rng, dimensions, ones));
        // Any alignment will do.
        let offset = dimensions % 64;
        let unaligned = [vec![0xff; offset], bits_b.clone()].concat();
        for metric in METRICS {
            let of_numbers =
                Measure::with_instruction_set(metric, ElementType::F32, InstructionSet::Scalar).unwrap();
            let expected = of_numbers.distance(&a, &b);
            for set in InstructionSet::available() {
                let measure = Measure::with_instruction_set(metric, ElementType::Bit, set).unwrap();
                let value = agreed(&measure, &bits_a, &unaligned[offset..]);
                assert_eq!(value.to_bits(), expected.to_bits(), "{set:?} {metric:?} {dimensions}");
                if metric.measures(ElementType::Bit) {
                    let expected = reference(metric, &bits_a, &bits_b);
                    assert_eq!(value.to_bits(), expected.to_bits(), "{set:?} {metric:?} {dimensions}");
                }
            }
        }
    }
}

#[test]
fn extremes_are_as_pgvector_has_them() {
    for set in InstructionSet::available() {
        let [hamming, jaccard] = [Metric::Hamming, Metric::Jaccard]
            .map(|metric| Measure::with_instruction_set(metric, ElementType::Bit, set).unwrap());
        for bytes in [1, 7, 8, 48, 63, 64, 65, MAX_BITS / 8] {
            let (zeros, ones) = (vec![0; bytes], vec![0xff; bytes]);
            assert_eq!(agreed(&hamming, &zeros, &zeros), 0.0);
            assert_eq!(agreed(&hamming, &ones, &ones), 0.0);
            assert_eq!(agreed(&hamming, &zeros, &ones), 8.0 * bytes as f64, "{set:?}");
            // A zero vector has nothing in common with itself.
            assert_eq!(agreed(&jaccard, &zeros, &zeros), 1.0);
            assert_eq!(agreed(&jaccard, &zeros, &ones), 1.0);
            assert_eq!(agreed(&jaccard, &ones, &ones), 0.0);
            assert!([&hamming, &jaccard].iter().all(|measure| {
                !measure.is_undefined(&zeros) && measure.is_ordinary(&ones) && !measure.overflows(&ones)
            }));
        }
    }
}

#[test]
fn the_shorter_vector_counts() {
    let mut rng = StdRng::seed_from_u64(2);
    let [(a, _), (b, _)] = [0, 1].map(|_| random(&mut rng, 1600, 0.5));
    for set in InstructionSet::available() {
        let measure = Measure::with_instruction_set(Metric::Hamming, ElementType::Bit, set).unwrap();
        for length in 0..=a.len() {
            let expected = reference(Metric::Hamming, &a[..length], &b);
            assert_eq!(measure.distance(&a[..length], &b), expected, "{set:?} {length}");
            assert_eq!(measure.distance(&b, &a[..length]), expected);
        }
    }
}
