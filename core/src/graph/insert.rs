//! A new node's level and neighbours (the paper's algorithm 1, up to the point where links are written).

use super::{Candidate, LayerSearch, Neighbours, NodeStore, descend};
use crate::types::{HeapTid, MAX_LEVEL, Parameters, Result};

/// The neighbours chosen for a new node, by layer from 0, and what else the search of layer 0 found.
pub struct NewNeighbours<Node> {
    /// The chosen neighbours of each layer that the node and the graph share.
    pub layers: Vec<Neighbours<Node>>,
    /// The nearest candidates of layer 0, before selection: nodes that hold the same vector are among them.
    pub nearest: Vec<Candidate<Node>>,
}

/// The level of a node from uniformly distributed bits: floor(−ln U · 1/ln m), capped.
pub fn draw_level(random: u64, m: u16) -> u8 {
    // 53 bits, shifted away from 0 so that the logarithm is finite.
    let uniform = ((random >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    let level = -uniform.ln() / f64::from(m).ln();
    (level as u8).min(MAX_LEVEL)
}

/// The level of the node that a row makes.
///
/// It depends on nothing but the row's address, so that builds and tests can be repeated.
pub fn level_of(heap_tid: HeapTid, m: u16) -> u8 {
    // The output function of splitmix64 (Steele, Lea & Flood, 2014) spreads neighbouring addresses over all
    // bits.
    let mut bits = u64::from(heap_tid.block()) << 16 | u64::from(heap_tid.offset());
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    draw_level(bits ^ bits >> 31, m)
}

/// Searches the neighbours for a node of `level`; no layers when the graph is empty.
///
/// `distance_between` measures two nodes of the store; `accept` refuses candidates that must not be linked to
/// (the node itself, when it is already published).
pub fn choose_neighbours<Store: NodeStore>(
    store: &Store,
    search: &mut LayerSearch<Store>,
    parameters: &Parameters,
    level: u8,
    mut accept: impl FnMut(Store::Node) -> bool,
    mut distance_between: impl FnMut(Store::Node, Store::Node) -> Result<f64>,
) -> Result<NewNeighbours<Store::Node>> {
    let mut chosen = NewNeighbours { layers: Vec::new(), nearest: Vec::new() };
    search_layers(store, search, parameters, level, |layer, nearest| {
        nearest.retain(|candidate| accept(candidate.node));
        chosen.layers.push(Neighbours::select(nearest, parameters.max_links(layer), &mut distance_between)?);
        chosen.nearest.clone_from(nearest);
        Ok(())
    })?;
    chosen.layers.reverse();
    Ok(chosen)
}

/// Searches all layers that a node of `level` and the graph share, downwards. `see` is shown what was found
/// on each, nearest first, and may take out what the search of the next layer shall not begin with.
pub fn search_layers<Store: NodeStore>(
    store: &Store,
    search: &mut LayerSearch<Store>,
    parameters: &Parameters,
    level: u8,
    mut see: impl FnMut(u8, &mut Vec<Candidate<Store::Node>>) -> Result<()>,
) -> Result<()> {
    let Some(entry) = store.entry_point()? else { return Ok(()) };
    let top = level.min(entry.level);
    let mut entries = descend(store, search, entry, top)?;
    for layer in (0..=top).rev() {
        let mut nearest = search.run(store, &entries, layer, usize::from(parameters.ef_construction))?;
        see(layer, &mut nearest)?;
        if !nearest.is_empty() {
            entries = nearest;
        }
    }
    Ok(())
}
