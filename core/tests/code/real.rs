//! Estimates on real embeddings, where there are any: `$WALIA_DATA/minilm384`, by default `../shared/data`
//! beside the checkout.

use crate::estimates::normalized_errors;
use crate::vectors::{BITS, METRICS, centroid, distance, parameters};
use std::path::{Path, PathBuf};
use walia_core::code::CodeParameters;

const DIMENSIONS: usize = 384;

type Vectors = Vec<Vec<f32>>;

/// The first rows of an array of int8 as NumPy writes it, or `None` where there is no such file.
fn rows(name: &str, count: usize) -> Option<Vectors> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("WALIA_DATA").map_or_else(beside, PathBuf::from);
    let path = data.join("minilm384").join(name);
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("skipped: there is no {}", path.display());
        return None;
    };
    // Magic, version, and a header of this length.
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(&bytes[..start]);
    assert!(header.contains("'|i1'") && header.contains(", 384)"), "{header}");
    let rows = bytes[start..].chunks_exact(DIMENSIONS).take(count);
    Some(rows.map(|row| row.iter().map(|byte| f32::from(*byte as i8)).collect()).collect())
}

/// Vectors and queries, and half of each scaled, so that their norms differ.
fn data() -> Option<(Vectors, Vectors)> {
    let (mut vectors, mut queries) = (rows("base.i8.npy", 2000)?, rows("query.i8.npy", 60)?);
    for vector in vectors.iter_mut().chain(&mut queries).step_by(2) {
        vector.iter_mut().for_each(|value| *value *= 0.7);
    }
    Some((vectors, queries))
}

#[test]
fn estimates_of_real_vectors_are_unbiased_and_err_as_they_say() {
    let Some((vectors, queries)) = data() else { return };
    for metric in METRICS {
        let centroid = centroid(metric, &vectors);
        // Each query's nearest vectors alone: there an error matters, and x could lean towards p.
        let near: Vec<_> = queries
            .iter()
            .map(|query| {
                let mut nearest: Vec<_> = vectors.iter().map(|v| (distance(metric, query, v), v)).collect();
                nearest.sort_by(|a, b| a.0.total_cmp(&b.0));
                nearest[..10].iter().map(|(_, vector)| (*vector).clone()).collect::<Vec<_>>()
            })
            .collect();
        for bits in BITS {
            for code_dimensions in [DIMENSIONS, 256] {
                let (mut all_mean, mut all_deviation, mut near_mean, mut near_squares) =
                    (0.0, 0.0f64, 0.0, 0.0);
                for seed in 0..8 {
                    let parameters =
                        CodeParameters { code_dimensions, ..parameters(metric, bits, DIMENSIONS, seed) };
                    let (mean, deviation) =
                        normalized_errors(parameters, &centroid, &vectors[..250], &queries);
                    all_mean += mean / 8.0;
                    all_deviation = all_deviation.max(deviation);
                    for (query, near) in queries.iter().zip(&near) {
                        let (mean, deviation) =
                            normalized_errors(parameters, &centroid, near, std::slice::from_ref(query));
                        near_mean += mean / 8.0 / queries.len() as f64;
                        near_squares += deviation * deviation / 8.0 / queries.len() as f64;
                    }
                }
                let what = format!(
                    "{metric:?} {bits} bits {code_dimensions}: {all_mean:.3} ± {all_deviation:.3}, near {near_mean:.3} ± {:.3}",
                    f64::sqrt(near_squares)
                );
                eprintln!("{what}");
                assert!(all_mean.abs() < 0.03 && near_mean.abs() < 0.06, "{what}");
                assert!((0.9..1.1).contains(&all_deviation) && near_squares < 1.0, "{what}");
            }
        }
    }
}
