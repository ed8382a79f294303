//! Estimates against exact distances.

use crate::vectors::{BITS, METRICS, bytes, centroid, distance, gaussian, parameters, rng};
use walia_core::code::{CodeParameters, Quantizer};

/// Mean and standard deviation of the errors, in units of the deviation that each estimate claims.
pub fn normalized_errors(
    parameters: CodeParameters,
    centroid: &[f32],
    vectors: &[Vec<f32>],
    queries: &[Vec<f32>],
) -> (f64, f64) {
    let quantizer = Quantizer::new(parameters, centroid);
    let mut codes = vec![0; vectors.len() * quantizer.code_size()];
    for (vector, code) in vectors.iter().zip(codes.chunks_exact_mut(quantizer.code_size())) {
        quantizer.encode(&bytes(parameters.element, vector), code);
    }
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for query in queries {
        let code_query = quantizer.query(&bytes(parameters.element, query));
        for (vector, code) in vectors.iter().zip(codes.chunks_exact(quantizer.code_size())) {
            let error = f64::from(code_query.estimate(code)) - distance(parameters.metric, query, vector);
            let error = error / f64::from(code_query.deviation(code));
            count += 1.0;
            sum += error;
            squares += error * error;
        }
    }
    (sum / count, (squares / count).sqrt())
}

#[test]
fn estimates_of_random_vectors_are_unbiased_and_err_as_they_say() {
    let mut rng = rng(1);
    for dimensions in [33, 100, 384, 1536] {
        let vectors: Vec<_> = (0..300).map(|_| gaussian(&mut rng, dimensions, 0.3)).collect();
        let queries: Vec<_> = (0..30).map(|_| gaussian(&mut rng, dimensions, 0.3)).collect();
        for metric in METRICS {
            let centroid = centroid(metric, &vectors);
            for bits in BITS {
                let (mean, deviation) =
                    normalized_errors(parameters(metric, bits, dimensions, 7), &centroid, &vectors, &queries);
                assert!(mean.abs() < 0.05, "{metric:?} {bits} {dimensions}: {mean}");
                assert!((0.9..1.1).contains(&deviation), "{metric:?} {bits} {dimensions}: {deviation}");
            }
        }
    }
}
