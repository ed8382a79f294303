//! `walia_info(regclass)`: what an index is and holds.

use pgrx::pg_sys;
use walia_core::kernel::InstructionSet;
use walia_core::page::Meta;
use walia_core::page::check::statistics::statistics;

use super::open::{OpenIndex, Purpose};
use super::rows::{export, row};
use crate::am::column::{metric_name, storage_name};
use crate::error::OrRaise;
use crate::store;

row! {
    /// About an index.
    Info {
        format_version: i32,
        element_type: String,
        dimensions: i32,
        metric: &'static str,
        m: i32,
        m0: i32,
        ef_construction: i32,
        quantization: i32,
        code_dimensions: i32,
        code_bytes: i32,
        storage: &'static str,
        nodes: i64,
        nodes_by_level: Vec<i64>,
        tombstones: i64,
        unreachable_nodes: i64,
        heap_tids: i64,
        zero_vectors: i64,
        nulls: i64,
        pages: i64,
        bytes: i64,
        free_bytes: i64,
        centroid_drift: Option<f64>,
        reindex_recommended: bool,
        kernel: &'static str,
    }
}

export!("walia_info_wrapper": call(REGCLASSOID) -> Info => [walia_info(call.oid(0))]);

/// What an index is and holds; it reads all of its pages, and follows all links.
fn walia_info(index: pg_sys::Oid) -> Info {
    let opened = OpenIndex::new(index, Purpose::Read).or_raise();
    let failed = |error| opened.error(error);
    let index = store::open(opened.store()).map_err(failed).or_raise();
    let Meta { format_version, .. } = Meta::read(&index.store).map_err(failed).or_raise();
    let counts = statistics(&index).map_err(failed).or_raise();
    let parameters = index.schema.layout.parameters;
    let top = counts.nodes_by_level.iter().rposition(|nodes| *nodes > 0).map_or(0, |level| level + 1);
    Info {
        format_version: format_version as i32,
        element_type: opened.type_name(),
        dimensions: parameters.dimensions as i32,
        metric: metric_name(parameters.metric),
        m: parameters.m.into(),
        m0: parameters.m0.into(),
        ef_construction: parameters.ef_construction.into(),
        quantization: parameters.code_bits.into(),
        code_dimensions: parameters.code_dimensions.into(),
        code_bytes: index.schema.layout.code_size as i32,
        storage: storage_name(&parameters),
        nodes: counts.nodes() as i64,
        nodes_by_level: counts.nodes_by_level[..top].iter().map(|nodes| *nodes as i64).collect(),
        tombstones: counts.tombstones as i64,
        unreachable_nodes: counts.unreachable_nodes as i64,
        heap_tids: counts.heap_tids as i64,
        zero_vectors: counts.zero_vectors as i64,
        nulls: counts.nulls as i64,
        pages: (counts.bytes / pg_sys::BLCKSZ as u64) as i64,
        bytes: counts.bytes as i64,
        free_bytes: counts.free_bytes as i64,
        centroid_drift: counts.centroid_drift,
        reindex_recommended: counts.reindex_recommended(),
        kernel: InstructionSet::in_use().name(),
    }
}
