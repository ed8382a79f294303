//! Layers above 0 whose lists have no room for codes, in an index whose payloads lie apart.

use crate::table::{OPTIONS, Table, bytes};
use rand::Rng;
use walia_core::page::format::layout::Layout;
use walia_core::page::scan::{IterativeScan, ScanOptions};
use walia_core::page::{MemoryStore, Quantization, Storage, Wishes, fit};
use walia_core::types::{ElementType, Metric, PayloadEncoding};

const CLUSTERS: usize = 60;

/// A vector near the centre of a cluster.
fn vector(table: &mut Table, cluster: usize) -> Vec<u8> {
    let centre = |i: usize| ((cluster * 7919 + i * 104_729) % 1009 % 7) as f32 - 3.0;
    let dimensions = table.parameters.dimensions;
    let elements = (0..dimensions).map(|i| centre(i) + table.random.random_range(-0.5..0.5));
    bytes(elements.collect::<Vec<f32>>(), ElementType::F32)
}

#[test]
fn descents_lead_to_the_query() {
    let parameters = fit(Wishes {
        dimensions: 3000,
        element: ElementType::F32,
        metric: Metric::L2,
        m: 12,
        ef_construction: 24,
        quantization: Quantization::Bits(1),
        storage: Storage::Encoding(PayloadEncoding::F16),
    });
    let layout = Layout::of_new(&parameters).unwrap();
    assert_eq!((layout.upper_code_size, layout.payload_offset), (0, None));
    let mut table = Table::new(MemoryStore::new(), parameters);
    let mut clusters = Vec::new();
    for _ in 0..CLUSTERS * 25 {
        let cluster = table.random.random_range(0..CLUSTERS);
        let value = Some(vector(&mut table, cluster));
        clusters.push((table.insert(value).unwrap(), cluster));
    }
    let options = ScanOptions { ef_search: 10, iterative: IterativeScan::Off, ..OPTIONS };
    let (mut expanded, mut found) = (0, 0);
    for cluster in 0..CLUSTERS {
        let query = vector(&mut table, cluster);
        let (hits, stats) = table.scan(Some(&query), options).unwrap();
        expanded += stats.search.expanded;
        found += hits.iter().filter(|hit| clusters.contains(&(hit.heap_tid, cluster))).count();
    }
    println!("{} expanded a query, {found} of {} found", expanded / CLUSTERS as u64, CLUSTERS * 10);
    // Where descents end at the entry point, it is 258, in graphs that such descents have made; 435 where
    // they end on the highest layer.
    assert!(found > CLUSTERS * 8, "{found} of {} found", CLUSTERS * 10);
}
