//! Time of one distance, by metric, element type, instruction set and dimensions.

use criterion::{BenchmarkId, Criterion};
use half::f16;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;
use walia_core::kernel::{InstructionSet, Measure};
use walia_core::types::{ElementType, Metric};

/// Vectors that a query is compared with in turn; at 1536 dimensions they still fit a second-level cache.
const VECTORS: usize = 64;

fn random_vector(rng: &mut StdRng, element: ElementType, dimensions: usize) -> Vec<u8> {
    let values = (0..dimensions).map(|_| rng.random_range(-1.0..1.0f32));
    match element {
        ElementType::F32 => values.flat_map(f32::to_le_bytes).collect(),
        ElementType::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
        ElementType::Bit => (0..dimensions.div_ceil(8)).map(|_| rng.random()).collect(),
        // So many of 100 times as many.
        ElementType::Sparse => {
            let values: Vec<f32> = values.collect();
            let indices = (0..dimensions as u32).map(|place| 100 * place + rng.random_range(0..100));
            let indices: Vec<u8> = indices.flat_map(u32::to_le_bytes).collect();
            [indices, values.into_iter().flat_map(f32::to_le_bytes).collect()].concat()
        }
    }
}

fn distances(criterion: &mut Criterion) {
    let mut rng = StdRng::seed_from_u64(1);
    for metric in
        [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1, Metric::Hamming, Metric::Jaccard]
    {
        let elements = [ElementType::F32, ElementType::F16, ElementType::Bit, ElementType::Sparse];
        for element in elements.into_iter().filter(|element| metric.measures(*element)) {
            let mut group = criterion.benchmark_group(format!("{metric:?}/{element:?}"));
            for dimensions in [100, 128, 384, 768, 1536] {
                let query = random_vector(&mut rng, element, dimensions);
                let vectors: Vec<_> =
                    (0..VECTORS).map(|_| random_vector(&mut rng, element, dimensions)).collect();
                for set in InstructionSet::available() {
                    let Some(measure) = Measure::with_instruction_set(metric, element, set) else { continue };
                    let prepared = measure.prepare(&query);
                    let mut vectors = vectors.iter().cycle();
                    group.bench_function(BenchmarkId::new(set.name(), dimensions), |bencher| {
                        bencher.iter(|| {
                            vectors.next().map(|vector| measure.distance_from(&query, prepared, vector))
                        });
                    });
                }
            }
        }
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(20)
        .configure_from_args();
    distances(&mut criterion);
    criterion.final_summary();
}
