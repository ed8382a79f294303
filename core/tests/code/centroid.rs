//! Centroids, and what it costs when vectors move away from one.

use crate::vectors::{METRICS, bytes, centroid, gaussian, product, rng};
use walia_core::code::{Moments, Sample};
use walia_core::types::{ElementType, Metric, Parameters};

const DIMENSIONS: usize = 24;

fn moments(metric: Metric, element: ElementType, vectors: &[Vec<f32>]) -> Moments {
    let mut moments = Moments::new(&Parameters::plain(DIMENSIONS, element, metric, 16, 100));
    vectors.iter().for_each(|vector| moments.add(&bytes(element, vector)));
    moments
}

/// The mean of the squared norms of what codes keep: what a vector, or its direction, is besides its part
/// along the centroid.
fn squared_rests(metric: Metric, centroid: &[f32], vectors: &[Vec<f32>]) -> f64 {
    let square = |vector: &Vec<f32>| {
        let norm = if metric == Metric::Cosine { product(vector, vector).sqrt() } else { 1.0 };
        let vector: Vec<f32> = vector.iter().map(|value| (f64::from(*value) / norm) as f32).collect();
        let squares = product(centroid, centroid);
        let along = match metric {
            Metric::L2 | Metric::L1 | Metric::Hamming => 1.0,
            _ if squares == 0.0 => 0.0,
            Metric::InnerProduct | Metric::Cosine | Metric::Jaccard => product(&vector, centroid) / squares,
        };
        let rest = vector.iter().zip(centroid).map(|(value, c)| f64::from(*value) - along * f64::from(*c));
        rest.map(|value| value * value).sum::<f64>()
    };
    vectors.iter().map(square).sum::<f64>() / vectors.len() as f64
}

#[test]
fn the_drift_is_by_how_much_rests_have_grown() {
    let mut rng = rng(3);
    let vectors: Vec<_> = (0..2000).map(|_| gaussian(&mut rng, DIMENSIONS, 0.7)).collect();
    for metric in METRICS {
        let moments = moments(metric, ElementType::F32, &vectors);
        let mean = moments.mean();
        assert!(mean.iter().zip(centroid(metric, &vectors)).all(|(a, b)| (a - b).abs() < 1e-5), "{metric:?}");
        assert!(moments.drift(&mean).unwrap() < 1e-9, "{metric:?}");

        let at_mean = squared_rests(metric, &mean, &vectors);
        let other: Vec<f32> = (0..DIMENSIONS).map(|i| mean[i] * (i % 2) as f32).collect();
        for centroid in [vec![0.0; DIMENSIONS], other] {
            let grown = squared_rests(metric, &centroid, &vectors) / at_mean - 1.0;
            let drift = moments.drift(&centroid).unwrap();
            assert!(grown > 0.2, "{metric:?}: {grown}");
            // The part along the direction of a centroid varies too, which the drift leaves out: by one of
            // all dimensions.
            assert!((drift / grown - 1.0).abs() < 0.15, "{metric:?}: {drift}, but {grown}");
        }
    }
}

#[test]
fn only_the_direction_of_a_centroid_counts_where_only_it_is_used() {
    let mut rng = rng(4);
    let vectors: Vec<_> = (0..500).map(|_| gaussian(&mut rng, DIMENSIONS, 1.0)).collect();
    let longer = |metric| {
        let moments = moments(metric, ElementType::F16, &vectors);
        let centroid: Vec<f32> = moments.mean().iter().map(|value| 3.0 * value).collect();
        moments.drift(&centroid).unwrap()
    };
    assert!(longer(Metric::InnerProduct) < 1e-9);
    assert!(longer(Metric::Cosine) < 1e-9);
    assert!(longer(Metric::L2) > 3.0);
}

#[test]
fn vectors_that_do_not_differ_have_no_drift() {
    let zero = vec![0.0; DIMENSIONS];
    for metric in METRICS {
        for vectors in [vec![], vec![zero.clone()], vec![vec![0.3; DIMENSIONS]; 7]] {
            let moments = moments(metric, ElementType::F32, &vectors);
            assert_eq!(moments.drift(&zero), None, "{metric:?}");
            assert!(moments.mean().iter().all(|value| value.is_finite()));
        }
    }
}

#[test]
fn zero_vectors_have_no_direction() {
    let vectors = [vec![0.0; DIMENSIONS], vec![2.0; DIMENSIONS]];
    let direction = (DIMENSIONS as f32).sqrt().recip();
    let mean = moments(Metric::Cosine, ElementType::F32, &vectors).mean();
    assert!(mean.iter().all(|value| (value - direction).abs() < 1e-6));
    assert_eq!(moments(Metric::L2, ElementType::F32, &vectors).mean(), [1.0; DIMENSIONS]);
}

fn sample(metric: Metric, vectors: &[Vec<f32>]) -> Sample {
    let mut sample = Sample::new(&Parameters::plain(DIMENSIONS, ElementType::F32, metric, 16, 100));
    vectors.iter().for_each(|vector| sample.add(&bytes(ElementType::F32, vector)));
    sample
}

#[test]
fn far_outliers_have_no_say_in_the_centroid() {
    let mut rng = rng(5);
    let typical: Vec<_> = (0..2000).map(|_| gaussian(&mut rng, DIMENSIONS, 0.7)).collect();
    for far in [1e3, 1e6, 1e15] {
        let mut vectors = typical.clone();
        vectors.extend((0..100).map(|_| vec![far; DIMENSIONS]));
        for metric in [Metric::L2, Metric::InnerProduct] {
            let mean = centroid(metric, &typical);
            let found = sample(metric, &vectors).centroid();
            assert!(mean.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-5), "{metric:?}, {far}");
        }
        // Directions have no outliers.
        let mean = centroid(Metric::Cosine, &vectors);
        let found = sample(Metric::Cosine, &vectors).centroid();
        assert!(mean.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-5), "{far}");
    }
    assert_eq!(sample(Metric::L2, &[]).centroid(), [0.0; DIMENSIONS]);
    let zeros = vec![vec![0.0; DIMENSIONS]; 100];
    assert_eq!(sample(Metric::L2, &[zeros, typical[..5].to_vec()].concat()).centroid(), [0.0; DIMENSIONS]);
}

#[test]
fn binary16_loses_much_of_vectors_that_lie_together() {
    let mut rng = rng(6);
    let mut around = |middle: f32| -> Vec<_> {
        let vectors = (0..500).map(|_| gaussian(&mut rng, DIMENSIONS, 0.0));
        vectors.map(|vector| vector.iter().map(|value| value + middle).collect()).collect()
    };
    let few = |mut vectors: Vec<Vec<f32>>| {
        vectors.push(vec![1e9; DIMENSIONS]);
        vectors
    };
    for middle in [0.0, 10.0, 100.0, 200.0, 10_000.0] {
        let vectors = around(middle);
        let lost = f64::from(middle).hypot(1.0) / 4096.0;
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            let found = sample(metric, &vectors).lost_in_f16();
            assert!((found / lost - 1.0).abs() < 0.1, "{metric:?}, {middle}: {found}, not {lost}");
        }
        assert!((sample(Metric::L2, &few(vectors)).lost_in_f16() / lost - 1.0).abs() < 0.1, "{middle}");
    }
    let of_equal = |value| sample(Metric::L2, &vec![vec![value; DIMENSIONS]; 10]).lost_in_f16();
    assert_eq!(
        [sample(Metric::L2, &[]).lost_in_f16(), of_equal(0.0), of_equal(1.0)],
        [0.0, 0.0, f64::INFINITY]
    );
}
