//! Time of codes: encoding, preparing a query, and the estimates for the neighbours of one node, by bits,
//! instruction set and dimensions.

use criterion::{BenchmarkId, Criterion, Throughput};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;
use walia_core::code::{CodeParameters, Quantizer, rotated_dimensions};
use walia_core::kernel::InstructionSet;
use walia_core::types::{ElementType, Metric, PayloadEncoding};

/// Bytes of the link before each code.
const LINK_SIZE: usize = 8;
/// Nodes whose neighbours are estimated in turn; their codes fit a second-level cache.
const NODES: usize = 16;

fn random_vector(rng: &mut StdRng, dimensions: usize) -> Vec<u8> {
    (0..dimensions).flat_map(|_| rng.random_range(-1.0..1.0f32).to_le_bytes()).collect()
}

fn codes(criterion: &mut Criterion) {
    let mut rng = StdRng::seed_from_u64(1);
    for bits in [1, 2, 4] {
        for dimensions in [100, 128, 384, 768, 1536] {
            let parameters = CodeParameters {
                dimensions,
                element: ElementType::F32,
                metric: Metric::Cosine,
                bits,
                code_dimensions: rotated_dimensions(dimensions),
                seed: 1,
            };
            let centroid = vec![0.01; dimensions];
            let vector = random_vector(&mut rng, dimensions);
            for set in InstructionSet::available() {
                let Some(quantizer) = Quantizer::with_instruction_set(parameters, &centroid, set) else {
                    continue;
                };
                let name = |what: &str| BenchmarkId::new(format!("{what}/{}", set.name()), dimensions);
                let mut group = criterion.benchmark_group(format!("{bits} bits"));
                let mut code = vec![0; quantizer.code_size()];
                group.bench_function(name("encode"), |bencher| {
                    bencher.iter(|| quantizer.encode(&vector, &mut code));
                });
                group.bench_function(name("query"), |bencher| bencher.iter(|| quantizer.query(&vector)));

                let query = quantizer.query(&vector);
                let stride = LINK_SIZE + quantizer.code_size();
                let mut estimates = Vec::new();
                for neighbours in [24, 32] {
                    let nodes: Vec<_> = (0..NODES)
                        .map(|_| {
                            let mut node = vec![0; neighbours * stride];
                            for slot in node.chunks_exact_mut(stride) {
                                let neighbour = random_vector(&mut rng, dimensions);
                                quantizer.encode(&neighbour, &mut slot[LINK_SIZE..]);
                            }
                            node
                        })
                        .collect();
                    let mut nodes = nodes.iter().cycle();
                    group.throughput(Throughput::Elements(neighbours as u64));
                    group.bench_function(name(&format!("estimate {neighbours}")), |bencher| {
                        bencher.iter(|| {
                            estimates.clear();
                            if let Some(node) = nodes.next() {
                                query.estimate_all(&node[LINK_SIZE..], stride, neighbours, &mut estimates);
                            }
                            estimates.last().copied()
                        });
                    });
                }
            }
        }
    }
}

fn payloads(criterion: &mut Criterion) {
    let mut rng = StdRng::seed_from_u64(2);
    for encoding in [PayloadEncoding::F16, PayloadEncoding::Sq8] {
        let mut group = criterion.benchmark_group(format!("{encoding:?}"));
        for dimensions in [100, 384, 1536] {
            let vector = random_vector(&mut rng, dimensions);
            let mut payload = vec![0; encoding.size(dimensions, ElementType::F32)];
            let mut scratch = Vec::new();
            group.bench_function(BenchmarkId::new("encode", dimensions), |bencher| {
                bencher.iter(|| encoding.encode(&vector, ElementType::F32, &mut payload));
            });
            group.bench_function(BenchmarkId::new("decode", dimensions), |bencher| {
                bencher.iter(|| encoding.decode(&payload, ElementType::F32, &mut scratch).len());
            });
        }
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .sample_size(20)
        .configure_from_args();
    codes(&mut criterion);
    payloads(&mut criterion);
    criterion.final_summary();
}
