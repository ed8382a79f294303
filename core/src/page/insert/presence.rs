//! Marks of rows without a distance: set before, or in one unit with, the first row of a kind.

use crate::graph::BuiltGraph;
use crate::kernel::Measure;
use crate::page::format::meta::{META_BLOCK, Meta};
use crate::page::format::presence::Presence;
use crate::page::format::tuple::AsideKind;
use crate::page::store::WriteUnit;
use crate::types::{HeapTid, Result};

/// Nodes that are looked at between two calls of `progress`.
const TOGETHER: u32 = 1024;

/// Sets the marks of an index that is built of a graph and of rows outside of it. `progress` may unwind.
pub(super) fn mark_built<Graph: BuiltGraph>(
    meta: &mut Meta,
    graph: &Graph,
    asides: &[(AsideKind, HeapTid)],
    progress: &mut impl FnMut(u64),
) -> Result<()> {
    let parameters = graph.parameters();
    let measure = Measure::new(parameters.metric, parameters.element);
    let (mut buffer, mut has_extraordinary) = (Vec::new(), false);
    for node in 0..graph.len() {
        if node.is_multiple_of(TOGETHER) {
            progress(0);
        }
        if !measure.is_ordinary(graph.vector(node, &mut buffer)?) {
            has_extraordinary = true;
            break;
        }
    }
    let node = has_extraordinary.then_some(AsideKind::ZeroVector);
    for kind in asides.iter().map(|(kind, _)| *kind).chain(node) {
        meta.set_presence(kind, Presence::Present);
    }
    Ok(())
}

/// Marks a kind as present in the unit that adds rows of it, and holds the meta page.
pub(super) fn mark_present(unit: &mut impl WriteUnit, kind: AsideKind) -> Result<()> {
    let mut meta = Meta::of_page(unit.page(META_BLOCK))?;
    if meta.presence(kind) != Presence::Present {
        meta.set_presence(kind, Presence::Present);
        meta.write(unit.edit(META_BLOCK));
    }
    Ok(())
}
