//! Codes that stand alone: one code for all metrics, and bytes that never change.

use crate::vectors::{BITS, METRICS, bytes, distance, gaussian, product, rng};
use std::fmt::Write;
use walia_core::code::Quantizer;
use walia_core::code::standalone::{self, Said, StandaloneCode, StandaloneQuery};
use walia_core::kernel::InstructionSet;
use walia_core::types::{ElementType, Metric};

fn quantizer(dimensions: usize, element: ElementType, metric: Metric, bits: u8) -> Quantizer {
    Quantizer::new(standalone::parameters(dimensions, element, metric, bits), &vec![0.0; dimensions])
}

fn encode(vector: &[f32], bits: u8) -> Vec<u8> {
    let quantizer = quantizer(vector.len(), ElementType::F32, Metric::Cosine, bits);
    standalone::encode(&quantizer, &bytes(ElementType::F32, vector))
}

fn query(vector: &[f32], metric: Metric, bits: u8) -> StandaloneQuery {
    let quantizer = quantizer(vector.len(), ElementType::F32, metric, bits);
    StandaloneQuery::new(&quantizer, &bytes(ElementType::F32, vector))
}

#[test]
fn estimates_are_unbiased_and_err_as_they_say() {
    let mut rng = rng(4);
    for dimensions in [33, 100, 384, 1536] {
        // Norms differ, and all vectors lie on one side of zero, where a centroid would help.
        let mut scaled =
            |scale: f32| gaussian(&mut rng, dimensions, 0.3).iter().map(|value| value * scale).collect();
        let vectors: Vec<Vec<f32>> = (0..300).map(|number| scaled(1.0 + (number % 7) as f32)).collect();
        let queries: Vec<Vec<f32>> = (0..30).map(|_| scaled(2.0)).collect();
        for bits in BITS {
            let codes: Vec<_> = vectors.iter().map(|vector| encode(vector, bits)).collect();
            for metric in METRICS {
                let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
                for vector in &queries {
                    let query = query(vector, metric, bits);
                    let mut said = Vec::new();
                    query.say_all(&codes.concat(), |of_code| said.push(of_code));
                    assert_eq!(said, codes.iter().map(|code| query.say(code)).collect::<Vec<_>>());
                    for (said, other) in said.into_iter().zip(&vectors) {
                        let Said::Estimate(estimate, deviation) = said else { panic!("{said:?}") };
                        let error = f64::from(estimate) - distance(metric, vector, other);
                        let error = error / f64::from(deviation);
                        count += 1.0;
                        sum += error;
                        squares += error * error;
                    }
                }
                let (mean, deviation) = (sum / count, f64::sqrt(squares / count));
                assert!(mean.abs() < 0.1, "{metric:?} {bits} {dimensions}: {mean}");
                assert!((0.85..1.15).contains(&deviation), "{metric:?} {bits} {dimensions}: {deviation}");
            }
        }
    }
}

#[test]
fn a_code_says_what_it_is() {
    let vector = gaussian(&mut rng(5), 20, 0.0);
    for bits in BITS {
        let bytes = encode(&vector, bits);
        let code = StandaloneCode::parse(&bytes).expect("a code");
        assert_eq!((code.bits(), code.dimensions()), (bits, 20));
        assert_eq!(code.norm(), product(&vector, &vector).sqrt() as f32);
        assert!(StandaloneCode::parse(&bytes[..bytes.len() - 1]).is_none());
        assert!(StandaloneCode::parse(&[&bytes[..], &[0]].concat()).is_none());
        for place in 0..2 {
            let mut other = bytes.clone();
            other[place] = 7;
            assert!(StandaloneCode::parse(&other).is_none(), "byte {place}");
        }
    }
    assert!(StandaloneCode::parse(&[]).is_none());
}

#[test]
fn codes_of_many_dimensions_fit_an_index() {
    for (dimensions, bits) in [(16_000, 1), (16_000, 2), (16_000, 4), (4096, 4)] {
        let vector = gaussian(&mut rng(6), dimensions, 0.1);
        let code = encode(&vector, bits);
        assert!(code.len() <= 2000, "{dimensions} {bits}: {}", code.len());
        let query = query(&vector, Metric::Cosine, bits);
        let Said::Estimate(estimate, deviation) = query.say(&code) else { panic!("no estimate") };
        assert!(estimate.abs() < 4.0 * deviation, "{dimensions} {bits}: {estimate} {deviation}");
    }
}

#[test]
fn what_cannot_be_estimated_is_said_to_be_unknown() {
    let ordinary = vec![1.0, 2.0, 3.0];
    let of = |vector: &[f32], metric, code: &[f32]| query(vector, metric, 2).say(&encode(code, 2));
    for metric in METRICS {
        assert_eq!(of(&ordinary, metric, &[1e30; 3]), Said::Unknown, "{metric:?}");
        assert_eq!(of(&ordinary, metric, &[1e-30; 3]), Said::Unknown, "{metric:?}");
        assert_eq!(of(&[1e30; 3], metric, &ordinary), Said::Unknown, "{metric:?}");
        assert_eq!(of(&[0.0; 3], metric, &ordinary), Said::Unknown, "{metric:?}");
        assert_eq!(of(&ordinary, metric, &[1.0, 2.0]), Said::Unknown, "{metric:?}: other dimensions");
        let query = query(&ordinary, metric, 2);
        assert_eq!(query.say(&encode(&ordinary, 4)), Said::Unknown, "{metric:?}: other bits");
        assert_eq!(query.say(&[1, 2]), Said::Unknown, "{metric:?}: no code");
    }
    assert_eq!(of(&ordinary, Metric::Cosine, &[0.0; 3]), Said::Undefined);
}

#[test]
fn both_element_types_have_one_code() {
    let vector: Vec<f32> = (0..50).map(|number| number as f32 / 4.0 - 6.0).collect();
    let of_f16 = quantizer(50, ElementType::F16, Metric::Cosine, 2);
    assert_eq!(standalone::encode(&of_f16, &bytes(ElementType::F16, &vector)), encode(&vector, 2));
}

#[test]
fn bytes_never_change() {
    let mut text = String::new();
    for (dimensions, bits) in [(1, 1), (3, 2), (16, 4), (100, 2), (20, 1)] {
        let vector: Vec<f32> = (0..dimensions).map(|i| ((i * 37 % 19) as f32 - 9.0) / 8.0).collect();
        let expected = encode(&vector, bits);
        for set in InstructionSet::available() {
            let parameters = standalone::parameters(dimensions, ElementType::F32, Metric::Cosine, bits);
            let zero = vec![0.0; dimensions];
            let Some(quantizer) = Quantizer::with_instruction_set(parameters, &zero, set) else { continue };
            assert_eq!(
                standalone::encode(&quantizer, &bytes(ElementType::F32, &vector)),
                expected,
                "{set:?}"
            );
        }
        writeln!(
            text,
            "{dimensions} {bits} {}",
            expected.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        )
        .unwrap();
    }
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/standalone-1.txt");
    if std::env::var_os("WALIA_WRITE_GOLDEN").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap());
}
