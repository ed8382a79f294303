//! `walia_info(regclass)`: what an index is and holds.
//!
//! Imports `open`, `am`, `store`, `error` and walia-core.

use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};
use walia_core::kernel::InstructionSet;
use walia_core::page::Index;
use walia_core::page::statistics::statistics;

use super::open::{OpenIndex, Purpose};
use crate::am::column::{metric_name, storage_name, type_name};
use crate::error::OrRaise;
use crate::error_context::ErrorContext;
use crate::store::error::index_error;

/// One row about an index; it reads all of its pages, and follows all links.
#[expect(clippy::type_complexity, reason = "the columns of the result, which pgrx takes from the type")]
#[pg_extern(sql = false)]
fn walia_info(
    index: pg_sys::Oid,
) -> TableIterator<
    'static,
    (
        name!(format_version, i32),
        name!(element_type, &'static str),
        name!(dimensions, i32),
        name!(metric, &'static str),
        name!(m, i32),
        name!(m0, i32),
        name!(ef_construction, i32),
        name!(quantization, i32),
        name!(code_dimensions, i32),
        name!(code_bytes, i32),
        name!(storage, &'static str),
        name!(nodes, i64),
        name!(nodes_by_level, Vec<i64>),
        name!(tombstones, i64),
        name!(unreachable_nodes, i64),
        name!(heap_tids, i64),
        name!(zero_vectors, i64),
        name!(nulls, i64),
        name!(pages, i64),
        name!(bytes, i64),
        name!(free_bytes, i64),
        name!(centroid_drift, Option<f64>),
        name!(reindex_recommended, bool),
        name!(kernel, &'static str),
    ),
> {
    let mut context = ErrorContext::new();
    let _pushed = context.push();
    let opened = OpenIndex::new(index, Purpose::Read).or_raise();
    // SAFETY: the index is open as long as `opened`.
    let failed = |error| unsafe { index_error(opened.relation(), error) };
    let index = Index::open(opened.store()).map_err(failed).or_raise();
    let counts = statistics(&index).map_err(failed).or_raise();
    let parameters = index.layout.parameters;
    let top = counts.nodes_by_level.iter().rposition(|nodes| *nodes > 0).map_or(0, |level| level + 1);
    TableIterator::once((
        index.meta.format_version as i32,
        type_name(parameters.element),
        parameters.dimensions.into(),
        metric_name(parameters.metric),
        parameters.m.into(),
        parameters.m0.into(),
        parameters.ef_construction.into(),
        parameters.code_bits.into(),
        parameters.code_dimensions.into(),
        index.layout.code_size as i32,
        storage_name(&parameters),
        counts.nodes() as i64,
        counts.nodes_by_level[..top].iter().map(|nodes| *nodes as i64).collect(),
        counts.tombstones as i64,
        counts.unreachable_nodes as i64,
        counts.heap_tids as i64,
        counts.zero_vectors as i64,
        counts.nulls as i64,
        (counts.bytes / pg_sys::BLCKSZ as u64) as i64,
        counts.bytes as i64,
        counts.free_bytes as i64,
        counts.centroid_drift,
        counts.reindex_recommended(),
        InstructionSet::in_use().name(),
    ))
}
