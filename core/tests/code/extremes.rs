//! Vectors that are zero, huge, tiny, or the centroid itself.

use crate::vectors::{BITS, METRICS, bytes, gaussian, parameters, rng};
use walia_core::code::Quantizer;
use walia_core::types::{ElementType, Metric};

#[test]
fn no_vector_gives_a_code_or_an_estimate_that_is_no_number() {
    let mut rng = rng(1);
    for dimensions in [1, 2, 3, 100] {
        let ordinary = gaussian(&mut rng, dimensions, 1.0);
        let constant = |value: f32| vec![value; dimensions];
        let alternating =
            |value: f32| (0..dimensions).map(|i| if i % 2 == 0 { value } else { -value }).collect();
        let vectors: Vec<Vec<f32>> = vec![
            ordinary.clone(),
            constant(0.0),
            constant(1.0),
            constant(f32::MAX),
            constant(f32::MIN),
            alternating(f32::MAX),
            alternating(1e30),
            constant(1e19),
            constant(1e-30),
            constant(f32::MIN_POSITIVE),
            constant(1e-45),
            alternating(1e-45),
        ];
        for metric in METRICS {
            for bits in BITS {
                for centroid in
                    [constant(0.0), constant(1.0), constant(1e-30), constant(f32::MAX), constant(1e-45)]
                {
                    let quantizer = Quantizer::new(parameters(metric, bits, dimensions, 3), &centroid);
                    let mut code = vec![0; quantizer.code_size()];
                    for vector in &vectors {
                        quantizer.encode(&bytes(ElementType::F32, vector), &mut code);
                        let factors = code.as_chunks().0[..2].iter().map(|bytes| f32::from_le_bytes(*bytes));
                        assert!(
                            factors.clone().all(f32::is_finite),
                            "{metric:?} {bits} {vector:?}: {factors:?}"
                        );
                        for query in &vectors {
                            let query = quantizer.query(&bytes(ElementType::F32, query));
                            let (estimate, deviation) = (query.estimate(&code), query.deviation(&code));
                            assert!(
                                !estimate.is_nan() && !deviation.is_nan(),
                                "{metric:?} {bits} {vector:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_centroid_and_the_zero_vector_are_estimated_exactly() {
    let mut rng = rng(2);
    let [centroid, other] = [0, 1].map(|_| gaussian(&mut rng, 100, 0.5));
    for bits in BITS {
        let estimate = |metric, vector: &[f32], query: &[f32]| {
            let quantizer = Quantizer::new(parameters(metric, bits, 100, 3), &centroid);
            let mut code = vec![0; quantizer.code_size()];
            quantizer.encode(&bytes(ElementType::F32, vector), &mut code);
            let query = quantizer.query(&bytes(ElementType::F32, query));
            (f64::from(query.estimate(&code)), f64::from(query.deviation(&code)))
        };
        for metric in METRICS {
            let (value, deviation) = estimate(metric, &centroid, &other);
            let centroid = &centroid;
            let exact = crate::vectors::distance(metric, &other, centroid);
            assert!(
                (value - exact).abs() < 1e-4 * exact.abs() && deviation < 1e-3,
                "{metric:?}: {value} {exact}"
            );
        }
        assert_eq!(estimate(Metric::Cosine, &[0.0; 100], &other), (1.0, 0.0));
        assert_eq!(estimate(Metric::Cosine, &other, &[0.0; 100]), (1.0, 0.0));
        assert_eq!(estimate(Metric::InnerProduct, &[0.0; 100], &other), (0.0, 0.0));
    }
}

#[test]
fn a_vector_too_large_to_square_is_very_far() {
    let quantizer = Quantizer::new(parameters(Metric::L2, 1, 10, 3), &[0.0; 10]);
    let mut code = vec![0; quantizer.code_size()];
    quantizer.encode(&bytes(ElementType::F32, &[1e30; 10]), &mut code);
    assert!(quantizer.query(&bytes(ElementType::F32, &[1.0; 10])).estimate(&code) > 1e38);
    quantizer.encode(&bytes(ElementType::F32, &[1.0; 10]), &mut code);
    assert_eq!(quantizer.query(&bytes(ElementType::F32, &[1e30; 10])).estimate(&code), f32::INFINITY);
}
