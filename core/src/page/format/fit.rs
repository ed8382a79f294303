//! Chooses what of an index's parameters depends on the page: codes, places for links on layer 0, and the
//! encoding of payloads, so that nodes fill pages without waste.

use crate::code::{Sample, rotated_dimensions};
use crate::page::format::layout::Layout;
use crate::page::format::meta::META_BLOCK;
use crate::page::format::slotted::{HEADER_SIZE, LINE_POINTER_SIZE, SPECIAL_OFFSET};
use crate::types::{ElementType, Error, Metric, Parameters, PayloadEncoding, Result};

/// Which codes an index shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// As many bits as the dimensions need.
    Auto,
    /// None: neighbours are measured by their own payloads.
    None,
    /// So many bits a dimension: 1, 2 or 4.
    Bits(u8),
}

/// How an index shall store vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In binary16 where that saves pages, else in the column's own precision.
    Auto,
    /// As said.
    Encoding(PayloadEncoding),
}

/// Fewest dimensions that have codes by themselves: with fewer, near neighbours differ by less than an
/// estimate's error.
const MIN_DIMENSIONS: usize = 16;
/// Fewest dimensions for which 2 bits will do, and 1: the error of an estimate is about k/√D of the distances
/// themselves, with k of 0.10, 0.34 and 0.75 for 4, 2 and 1 bits, and at most 0.04 costs few expansions.
const TWO_BITS: usize = 75;
const ONE_BIT: usize = 350;

/// What is wished for when an index is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Dimensions of the column.
    pub dimensions: usize,
    /// Element type of the column.
    pub element: ElementType,
    /// Distance that orders the graph.
    pub metric: Metric,
    /// Links a node keeps on every layer above 0.
    pub m: u16,
    /// Candidates kept while looking for a new node's neighbours.
    pub ef_construction: u16,
    /// Which codes it shall have.
    pub quantization: Quantization,
    /// How it shall store vectors.
    pub storage: Storage,
}

/// The parameters of an index with these wishes. Some metrics have no codes, whatever is wished for, nor have
/// bits and sparse vectors, which are stored as they are.
///
/// With codes, a node has 1.5m places for links on layer 0, and as many more, up to 2m, as cost no page.
pub fn fit(wishes: Wishes) -> Parameters {
    let Wishes { dimensions, element, metric, m, ef_construction, quantization, storage } = wishes;
    let plain = Parameters::plain(dimensions, element, metric, m, ef_construction);
    let bits = match quantization {
        _ if !metric.has_codes() || !element.is_quantizable() => 0,
        Quantization::None => 0,
        Quantization::Bits(bits) => bits,
        Quantization::Auto if dimensions < MIN_DIMENSIONS => 0,
        Quantization::Auto if dimensions < TWO_BITS => 4,
        Quantization::Auto if dimensions < ONE_BIT => 2,
        Quantization::Auto => 1,
    };
    let column = match storage {
        Storage::Encoding(payload) if element.is_quantizable() => Parameters { payload, ..plain },
        _ => plain,
    };
    if bits == 0 {
        return column;
    }
    let coded = with_codes(column, bits);
    if storage == Storage::Auto && element == ElementType::F32 {
        let halves = with_codes(Parameters { payload: PayloadEncoding::F16, ..plain }, bits);
        if bytes_per_node(&halves) < bytes_per_node(&coded) {
            return filled(halves);
        }
    }
    filled(coded)
}

/// What binary16 may lose beside what vectors differ by. A search that cannot measure nodes as it meets them,
/// as their vectors lie apart, errs by more than one that measures them so.
const LOST: f64 = 1.0 / 32.0;
const LOST_BESIDE_APART: f64 = 0.5;

/// [`fit()`], where a sample of the vectors is known: they are stored in binary16 by themselves only where
/// that tells them apart.
pub fn fit_to_sample(wishes: Wishes, sample: &Sample) -> Parameters {
    let fitted = fit(wishes);
    if wishes.storage != Storage::Auto || fitted.payload != PayloadEncoding::F16 {
        return fitted;
    }
    let precise = fit(Wishes { storage: Storage::Encoding(PayloadEncoding::Column), ..wishes });
    let is_apart = layout(&precise).is_none_or(|layout| layout.payload_offset.is_none());
    if sample.lost_in_f16() > if is_apart { LOST_BESIDE_APART } else { LOST } { precise } else { fitted }
}

/// The highest level that a node of an index with these parameters may have.
pub fn max_level(parameters: &Parameters) -> Result<u8> {
    let corrupt = |what| Error::Corrupt { block: META_BLOCK, slot: 0, what };
    Ok(Layout::of_new(parameters).map_err(corrupt)?.max_level)
}

/// With 1.5m links on layer 0, and codes of as many dimensions as fit a page beside them.
fn with_codes(parameters: Parameters, bits: u8) -> Parameters {
    /// Codes that do not fit whole are cut in these steps.
    const STEP: u16 = 64;
    let all = rotated_dimensions(parameters.dimensions) as u16;
    let m0 = parameters.m + parameters.m / 2;
    let with = |code_dimensions| Parameters { m0, code_bits: bits, code_dimensions, ..parameters };
    let cut = (1..all.div_ceil(STEP)).rev().map(|steps| steps * STEP);
    let fits = |fitted: &Parameters| layout(fitted).is_some();
    [all].into_iter().chain(cut).map(with).find(fits).unwrap_or(parameters)
}

/// With as many places for links as cost no page, up to 2m.
fn filled(parameters: Parameters) -> Parameters {
    let per_page = |parameters: &Parameters| {
        layout(parameters).map(|layout| (layout.nodes_per_page(), layout.payload_offset.is_some()))
    };
    let now = per_page(&parameters);
    (parameters.m0..=2 * parameters.m)
        .map(|m0| Parameters { m0, ..parameters })
        .take_while(|more| per_page(more) == now)
        .last()
        .unwrap_or(parameters)
}

fn layout(parameters: &Parameters) -> Option<Layout> {
    Layout::of_new(parameters).ok()
}

/// Bytes of the index that a node takes: its share of its page, and its payload tuples where it has some.
fn bytes_per_node(parameters: &Parameters) -> usize {
    let Some(layout) = layout(parameters) else { return usize::MAX };
    let apart: usize = layout
        .payload_parts(layout.payload_size)
        .map(|part| Layout::payload_tuple_size(&part) + LINE_POINTER_SIZE)
        .sum();
    (SPECIAL_OFFSET - HEADER_SIZE) / layout.nodes_per_page() + apart
}
