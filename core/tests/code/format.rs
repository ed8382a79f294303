//! The bytes of codes: what the module's page says, the same on every machine, for ever.

use crate::vectors::{BITS, METRICS, bytes, gaussian, parameters, product, rng};
use std::fmt::Write;
use walia_core::code::{
    CodeParameters, FACTORS_SIZE, Quantizer, ROTATION_ALGORITHM, code_size, rotated_dimensions,
};
use walia_core::kernel::InstructionSet;
use walia_core::types::{ElementType, Metric};

/// Steps of the levels, as the format has them.
const STEPS: [f64; 5] = [0.0, 1.596, 0.9957, 0.0, 0.3352];

/// The rotation as its page describes it, by the definition of the Hadamard matrix.
fn rotate(values: &[f64], seed: u64) -> Vec<f64> {
    let dimensions = values.len();
    let window = 1 << dimensions.ilog2();
    let words: Vec<u64> = (1..=(4 * dimensions).div_ceil(64) as u64)
        .map(|i| {
            let mut word = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ word >> 31
        })
        .collect();
    let mut values = values.to_vec();
    for round in 0..4 {
        for (i, value) in values.iter_mut().enumerate() {
            let bit = round * dimensions + i;
            if words[bit / 64] >> (bit % 64) & 1 == 1 {
                *value = -*value;
            }
        }
        let start = if round % 2 == 0 { 0 } else { dimensions - window };
        let transformed: Vec<f64> = (0..window)
            .map(|row: usize| {
                let terms = (0..window).map(|column| {
                    let sign = if (row & column).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                    sign * values[start + column]
                });
                terms.sum::<f64>() / (window as f64).sqrt()
            })
            .collect();
        values[start..start + window].copy_from_slice(&transformed);
        if window < dimensions {
            let half = dimensions / 2;
            for i in 0..half {
                let (low, high) = (values[i], values[i + half]);
                values[i] = (low + high) / 2f64.sqrt();
                values[i + half] = (low - high) / 2f64.sqrt();
            }
        }
    }
    values
}

/// The rotated rest of a vector and the coefficient of the centroid's direction.
fn split(parameters: &CodeParameters, centroid: &[f32], vector: &[f32]) -> (Vec<f64>, f64) {
    let norm = |values: &[f32]| product(values, values).sqrt();
    let scale = if parameters.metric == Metric::Cosine { norm(vector) } else { 1.0 };
    let vector: Vec<f64> = vector.iter().map(|value| f64::from(*value) / scale).collect();
    let (along, centre): (f64, Vec<f64>) = if parameters.metric == Metric::L2 {
        (1.0, centroid.iter().map(|value| f64::from(*value)).collect())
    } else {
        let direction: Vec<f64> =
            centroid.iter().map(|value| f64::from(*value) / norm(centroid).max(1e-300)).collect();
        (vector.iter().zip(&direction).map(|(a, b)| a * b).sum(), direction)
    };
    let mut rest: Vec<f64> =
        vector.iter().zip(centre).map(|(value, centre)| value - along * centre).collect();
    rest.resize(rotated_dimensions(parameters.dimensions), 0.0);
    (rotate(&rest, parameters.seed), along)
}

fn level(code: &[u8], bits: u8, dimension: usize) -> u8 {
    let packed = &code[FACTORS_SIZE..];
    packed[dimension % packed.len()] >> (usize::from(bits) * (dimension / packed.len())) & ((1 << bits) - 1)
}

fn factor(code: &[u8], number: usize) -> f64 {
    f64::from(f32::from_le_bytes(code[4 * number..][..4].try_into().unwrap()))
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-4 * scale
}

/// All shapes of codes that are tested.
fn all_parameters() -> impl Iterator<Item = CodeParameters> {
    let shapes = [1, 2, 3, 5, 16, 31, 64, 100, 255, 384]
        .map(|dimensions| (dimensions, rotated_dimensions(dimensions)));
    let truncated = [(2, 1), (100, 37), (384, 200), (384, 1)];
    shapes.into_iter().chain(truncated).flat_map(|(dimensions, code_dimensions)| {
        METRICS.into_iter().flat_map(move |metric| {
            let of =
                move |bits| CodeParameters { code_dimensions, ..parameters(metric, bits, dimensions, 42) };
            BITS.into_iter().map(of)
        })
    })
}

#[test]
fn codes_and_estimates_are_what_their_page_says() {
    let mut rng = rng(1);
    for parameters in all_parameters() {
        let CodeParameters { metric, bits, code_dimensions, dimensions, .. } = parameters;
        let [centroid, vector, query] = [0, 1, 2].map(|_| gaussian(&mut rng, dimensions, 0.5));
        let quantizer = Quantizer::new(parameters, &centroid);
        let mut code = vec![0xff; quantizer.code_size()];
        quantizer.encode(&bytes(ElementType::F32, &vector), &mut code);

        let (rest, along) = split(&parameters, &centroid, &vector);
        let half = f64::from((1 << bits) - 1) / 2.0;
        let squares: f64 = rest.iter().map(|value| value * value).sum();
        let step = STEPS[usize::from(bits)] * (squares / rest.len() as f64).sqrt();
        // Where all of a vector lies along the centroid, its rest is nothing but rounding.
        if squares < 1e-9 {
            assert!(factor(&code, 1).abs() < 1e-4, "{parameters:?}");
            continue;
        }
        let mut product = 0.0;
        for (i, value) in rest[..code_dimensions].iter().enumerate() {
            let exact = (value / step + half).clamp(0.0, 2.0 * half);
            let level = f64::from(level(&code, bits, i));
            assert!((level - exact).abs() <= 0.501, "{parameters:?}: {level} for {exact}");
            product += (level - half) * value;
        }
        let unused = code_dimensions..8 * (code.len() - FACTORS_SIZE) / usize::from(bits);
        assert!(unused.into_iter().all(|i| level(&code, bits, i) == 0), "{parameters:?}");
        let ratio = squares / product;
        let (add, scale) = if metric == Metric::L2 { (squares, -2.0 * ratio) } else { (-along, -ratio) };
        assert!(close(factor(&code, 0), add, squares + 1.0), "{parameters:?}: {} {add}", factor(&code, 0));
        assert!(close(factor(&code, 1), scale, scale.abs() * (1.0 + 1e-3 * squares.sqrt() / product.abs())));

        // Of the query's levels only the rounding is not known here, at most half a step for each dimension.
        let (query_rest, query_along) = split(&parameters, &centroid, &query);
        let coded = &query_rest[..code_dimensions];
        let query_step = coded.iter().fold(0f64, |largest, value| largest.max(value.abs())) / 127.0;
        let sum: f64 = (0..code_dimensions)
            .map(|i| (f64::from(level(&code, bits, i)) - half) * (coded[i] / query_step).round() * query_step)
            .sum();
        let query_squares: f64 = query_rest.iter().map(|value| value * value).sum();
        let expected = factor(&code, 1) * sum
            + match metric {
                Metric::L2 => query_squares + factor(&code, 0),
                Metric::InnerProduct => query_along * factor(&code, 0),
                _ => 1.0 + query_along * factor(&code, 0),
            };
        // A value halfway between two levels may go either way.
        let scale = query_squares + squares + 1.0 + (factor(&code, 1) * query_step).abs() * 2e4;
        let estimate = f64::from(quantizer.query(&bytes(ElementType::F32, &query)).estimate(&code));
        assert!(close(estimate, expected, scale), "{parameters:?}: {estimate} is not {expected}");
    }
}

#[test]
fn instruction_sets_give_the_same_bits() {
    let mut rng = rng(2);
    for parameters in all_parameters() {
        for element in [ElementType::F32, ElementType::F16] {
            let parameters = CodeParameters { element, ..parameters };
            let centroid = gaussian(&mut rng, parameters.dimensions, 0.5);
            let vectors: Vec<_> =
                (0..40).map(|_| bytes(element, &gaussian(&mut rng, parameters.dimensions, 0.5))).collect();
            let mut expected = None;
            for set in InstructionSet::available() {
                let quantizer = Quantizer::with_instruction_set(parameters, &centroid, set).unwrap();
                let query = quantizer.query(&vectors[0]);
                // Codes lie apart and unaligned, as beside links.
                let stride = quantizer.code_size() + 8;
                let mut codes = vec![0xff; 3 + vectors.len() * stride];
                for (i, vector) in vectors.iter().enumerate() {
                    quantizer.encode(vector, &mut codes[3 + i * stride..][..quantizer.code_size()]);
                }
                let mut estimates = vec![7.0];
                query.estimate_all(&codes[3..], stride, vectors.len(), &mut estimates);
                assert_eq!(estimates.len(), 1 + vectors.len());
                for (i, estimate) in estimates[1..].iter().enumerate() {
                    let code = &codes[3 + i * stride..][..quantizer.code_size()];
                    assert_eq!(query.estimate(code).to_bits(), estimate.to_bits(), "{set:?} {parameters:?}");
                }
                let bits: Vec<_> = estimates.into_iter().map(f32::to_bits).collect();
                let got = (codes, bits, query.deviation(&vec![1; quantizer.code_size()]).to_bits());
                assert!(*expected.get_or_insert_with(|| got.clone()) == got, "{set:?} {parameters:?}");
            }
        }
    }
}

#[test]
fn codes_never_change() {
    assert_eq!(ROTATION_ALGORITHM, 1);
    let mut text = String::new();
    for parameters in all_parameters().filter(|parameters| parameters.dimensions <= 100) {
        let values = |factor: usize| -> Vec<f32> {
            (0..parameters.dimensions).map(|i| (i * factor + 11) as f32 % 64.0 / 8.0 - 4.0).collect()
        };
        let quantizer = Quantizer::new(parameters, &values(5));
        let mut code = vec![0; quantizer.code_size()];
        quantizer.encode(&bytes(ElementType::F32, &values(37)), &mut code);
        let CodeParameters { dimensions, metric, bits, code_dimensions, .. } = parameters;
        write!(text, "{metric:?} {bits} {code_dimensions} of {dimensions}:").unwrap();
        code.chunks(4)
            .for_each(|word| write!(text, " {:08x}", u32::from_be_bytes(word.try_into().unwrap())).unwrap());
        text.push('\n');
    }
    let golden = include_str!("../golden/codes-1.txt");
    assert!(text == golden, "codes have changed:\n{text}");
}

#[test]
fn sizes_and_parameters() {
    assert_eq!([1, 2, 4].map(|bits| code_size(bits, 384)), [56, 104, 200]);
    assert_eq!([1, 2, 4].map(|bits| code_size(bits, 100)), [24, 36, 60]);
    assert_eq!(code_size(1, 1), 12);
    assert_eq!([1, 2, 3, 384].map(rotated_dimensions), [2, 2, 4, 384]);

    let valid = parameters(Metric::L2, 1, 100, 1);
    assert!(valid.is_valid() && CodeParameters { code_dimensions: 1, ..valid }.is_valid());
    assert!(parameters(Metric::Cosine, 4, 1, 0).is_valid());
    let invalid = [
        CodeParameters { metric: Metric::L1, ..valid },
        CodeParameters { bits: 0, ..valid },
        CodeParameters { bits: 3, ..valid },
        CodeParameters { bits: 8, ..valid },
        CodeParameters { code_dimensions: 0, ..valid },
        CodeParameters { code_dimensions: 101, ..valid },
    ];
    assert!(invalid.iter().all(|parameters| !parameters.is_valid()));
    let quantizer = Quantizer::new(valid, &[0.0; 100]);
    assert_eq!(*quantizer.parameters(), valid);
}
