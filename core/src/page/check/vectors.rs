//! The check's pass over vectors: payloads, and the codes made from them.

use super::Findings;
use super::facts::Facts;
use crate::kernel::is_sparse_vector;
use crate::page::format::node::Node;
use crate::page::format::tuple::AsideKind;
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::types::{ElementType, Error, Result};
use half::f16;
use std::num::NonZeroU64;
use xxhash_rust::xxh3::xxh3_64;

/// Hashes of what belongs to a node's vector; `None` where that was not found, which has been noted before,
/// and of the code in an index without codes.
#[derive(Clone, Copy, Default)]
pub(super) struct Hashes {
    /// Of the payload.
    pub payload: Hash,
    /// Of the code that links to the node must have beside them.
    pub code: Hash,
}

/// A hash in eight bytes.
pub(super) type Hash = Option<NonZeroU64>;

/// The hash of some bytes. One in 2^64 has none, which is then not compared.
pub(super) fn hash(bytes: &[u8]) -> Hash {
    NonZeroU64::new(xxh3_64(bytes))
}

/// Checks all payloads, and the codes that nodes keep of themselves.
pub(super) fn check<Store: PageStore>(
    index: &Index<Store>,
    facts: &Facts,
    findings: &mut Findings,
) -> Result<Vec<Hashes>> {
    let mut hashes = Vec::new();
    hashes.try_reserve_exact(facts.nodes.len())?;
    hashes.resize(facts.nodes.len(), Hashes::default());
    let parameters = &index.schema.layout.parameters;
    for (node, hashes) in facts.nodes.iter().zip(&mut hashes) {
        index.store.interrupt_point();
        // Damage has been noted before.
        let payload = match index.payload(node.link) {
            Err(error @ Error::OutOfMemory) => return Err(error),
            payload => payload.unwrap_or_default(),
        };
        let Some(payload) = payload else { continue };
        hashes.payload = hash(&payload);
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
        hashes.code = hash(&made);
    }
    Ok(hashes)
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
