//! The check's pass over vectors: payloads, and the codes made from them.

use super::Findings;
use super::facts::{Facts, NodeFacts};
use super::hash::Hash;
use super::records::Records;
use crate::kernel::is_sparse_vector;
use crate::page::format::node::Node;
use crate::page::format::tuple::AsideKind;
use crate::page::query::index::Index;
use crate::page::store::{PageStore, Phase};
use crate::types::{ElementType, Error, Result};
use half::f16;

/// Checks all payloads, and the codes that nodes keep of themselves. Hashes of the codes are noted with the
/// nodes; those of the payloads are returned.
pub(super) fn check<'m, Store: PageStore>(
    index: &Index<Store>,
    facts: &mut Facts<'m>,
    findings: &mut Findings,
) -> Result<Records<'m, Hash>> {
    let mut payloads = Records::new(&facts.pool);
    let parameters = &index.schema.layout.parameters;
    for position in 0..facts.nodes.records.len() {
        index.store.interrupt_point();
        index.store.progress(Phase::ReadingVectors, position as u64, facts.nodes.records.len() as u64);
        let node = facts.nodes.records.get(position)?;
        // Damage has been noted before.
        let payload = match index.payload(node.link) {
            Err(error @ Error::OutOfMemory) => return Err(error),
            payload => payload.unwrap_or_default(),
        };
        payloads.push(payload.as_deref().map_or_else(Hash::default, Hash::of))?;
        let Some(payload) = payload else { continue };
        let vector = index.schema.decode(&payload);
        let lost = index.schema.layout.encoding.residual(&payload);
        if !is_finite(&vector, parameters.element) || !lost.is_finite() || lost < 0.0 {
            findings.error(node.link.block, node.link.slot, "node with a payload that is not finite");
        }
        match parameters.element {
            ElementType::Bit if has_further_bits(&vector, parameters.dimensions) => {
                findings.error(node.link.block, node.link.slot, "node with bits past the last dimension");
            }
            ElementType::Sparse if !is_sparse_vector(&vector, parameters.dimensions) => {
                findings.error(
                    node.link.block,
                    node.link.slot,
                    "node with indices in disorder or past the last dimension",
                );
            }
            _ => {}
        }
        if node.header.is_live() && index.schema.measure.overflows(&vector) {
            facts.check_presence(AsideKind::ZeroVector, node.link, findings);
        }
        if index.schema.quantizer.is_none() {
            continue;
        }
        let made = index.schema.code(&vector);
        let page = index.store.read(node.link.block)?;
        let tuple = Node::at(&index.schema.layout, &page, node.link).ok().flatten();
        if tuple.and_then(|tuple| tuple.code()).is_some_and(|own| own != made) {
            findings.warning(node.link, "node whose own code is not that of its vector");
        }
        drop(page);
        facts.nodes.records.set(position, NodeFacts { code: Hash::of(&made), ..node })?;
    }
    Ok(payloads)
}

fn is_finite(vector: &[u8], element: ElementType) -> bool {
    match element {
        ElementType::F32 => {
            vector.chunks_exact(4).all(|bytes| bytemuck::pod_read_unaligned::<f32>(bytes).is_finite())
        }
        ElementType::F16 => {
            vector.chunks_exact(2).all(|bytes| bytemuck::pod_read_unaligned::<f16>(bytes).is_finite())
        }
        ElementType::Bit => true,
        ElementType::Sparse => is_finite(&vector[vector.len() / 2..], ElementType::F32),
    }
}

/// Whether bits that are no element are set: they would be counted.
fn has_further_bits(vector: &[u8], dimensions: usize) -> bool {
    let last = vector.last().copied().unwrap_or(0);
    !dimensions.is_multiple_of(8) && last << (dimensions % 8) != 0
}
