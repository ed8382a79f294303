//! Estimates between two codes, from which lists of links are pruned.

use crate::vectors::{BITS, METRICS, bytes, centroid, distance, gaussian, parameters, rng};
use walia_core::code::{CodeParameters, Quantizer};
use walia_core::types::{ElementType, Metric};

/// Mean and standard deviation of the errors, in units of the deviations that the two codes claim as codes of
/// a query.
fn normalized_errors(
    parameters: CodeParameters,
    centroid: &[f32],
    pairs: &[(Vec<f32>, Vec<f32>)],
) -> (f64, f64) {
    let quantizer = Quantizer::new(parameters, centroid);
    let [mut code, mut other_code] = [(); 2].map(|()| vec![0; quantizer.code_size()]);
    let (mut sum, mut squares) = (0.0, 0.0);
    for (vector, other) in pairs {
        let [vector_bytes, other_bytes] = [vector, other].map(|vector| bytes(ElementType::F32, vector));
        quantizer.encode(&vector_bytes, &mut code);
        quantizer.encode(&other_bytes, &mut other_code);
        let estimate = f64::from(quantizer.query_of_code(&code).estimate(&other_code));
        let deviations = [
            quantizer.query(&vector_bytes).deviation(&other_code),
            quantizer.query(&other_bytes).deviation(&code),
        ];
        let deviation = deviations.map(|deviation| f64::from(deviation).powi(2)).iter().sum::<f64>().sqrt();
        let error = (estimate - distance(parameters.metric, vector, other)) / deviation;
        sum += error;
        squares += error * error;
    }
    let count = pairs.len() as f64;
    (sum / count, (squares / count).sqrt())
}

#[test]
fn estimates_between_codes_are_unbiased_within_the_errors_of_both() {
    let mut rng = rng(5);
    for (dimensions, code_dimensions) in [(100, 100), (384, 384), (384, 256)] {
        // From pairs that have nothing in common to near neighbours.
        for noise in [1.0f32, 0.5, 0.2] {
            let pairs: Vec<_> = (0..600)
                .map(|_| {
                    let [vector, other] = [(); 2].map(|()| gaussian(&mut rng, dimensions, 0.4));
                    let mix = |(a, b): (&f32, &f32)| {
                        0.4 + (a - 0.4) * (1.0 - noise * noise).sqrt() + (b - 0.4) * noise
                    };
                    let near = vector.iter().zip(&other).map(mix).collect();
                    (vector, near)
                })
                .collect();
            for metric in METRICS {
                let centroid = centroid(metric, pairs.iter().map(|(vector, _)| vector));
                for bits in BITS {
                    let of = CodeParameters { code_dimensions, ..parameters(metric, bits, dimensions, 9) };
                    let (mean, deviation) = normalized_errors(of, &centroid, &pairs);
                    assert!(
                        mean.abs() < 0.4,
                        "{metric:?} {bits} {code_dimensions} of {dimensions}, {noise}: {mean}"
                    );
                    assert!(
                        deviation < 1.3,
                        "{metric:?} {bits} {code_dimensions} of {dimensions}, {noise}: {deviation}"
                    );
                }
            }
        }
    }
}

/// A vector is at no distance from itself, and codes that are equal are estimated so, on average.
#[test]
fn a_code_is_at_no_distance_from_itself() {
    let mut rng = rng(6);
    let vectors: Vec<_> = (0..100).map(|_| gaussian(&mut rng, 384, 0.0)).collect();
    for bits in BITS {
        let quantizer = Quantizer::new(parameters(Metric::L2, bits, 384, 1), &[0.0; 384]);
        let relative = |vector: &Vec<f32>| {
            let mut code = vec![0; quantizer.code_size()];
            quantizer.encode(&bytes(ElementType::F32, vector), &mut code);
            let estimate = f64::from(quantizer.query_of_code(&code).estimate(&code));
            estimate / distance(Metric::L2, vector, &[0.0; 384])
        };
        let mean = vectors.iter().map(relative).sum::<f64>() / vectors.len() as f64;
        assert!(mean.abs() < 0.04, "{bits}: {mean}");
    }
}
