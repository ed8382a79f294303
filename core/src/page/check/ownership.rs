//! The check's second pass: the tuples that belong to nodes are claimed by them.

use super::Findings;
use super::facts::{Facts, NodeFacts, OwnedFacts};
use crate::page::format::tuple::TupleKind;
use crate::page::query::index::Index;
use crate::page::store::{PageStore, Phase};
use crate::types::{Link, Result};

impl Facts<'_> {
    /// Checks that every tuple that belongs to a node is used by it, once, and that nodes have what they
    /// need.
    pub fn check_ownership<Store: PageStore>(
        &mut self,
        index: &Index<Store>,
        findings: &mut Findings,
    ) -> Result<()> {
        let layout = &index.schema.layout;
        for position in 0..self.nodes.records.len() {
            index.store.interrupt_point();
            index.store.progress(Phase::CheckingTuples, position as u64, self.nodes.records.len() as u64);
            let node = self.nodes.records.get(position)?;
            let NodeFacts { link: Link { block, slot, .. }, header, .. } = node;
            if header.level > 0 {
                match self.claim(header.upper, TupleKind::Upper, node.link, findings)? {
                    Some(upper) if upper.header.level == header.level => {
                        if upper.size as usize != layout.upper_size(header.level) {
                            findings.error(
                                upper.link.block,
                                upper.link.slot,
                                "upper tuple of impossible size",
                            );
                        }
                    }
                    _ if node.is_abandoned() => {}
                    _ => findings.warning(node.link, "node without the links of its upper layers"),
                }
            }
            if header.is_pending() && !node.is_abandoned() {
                findings.warning(node.link, "node whose insertion did not end");
            }
            let mut next = node.payload;
            for part in 0..layout.payload_parts(layout.payload_size).count() {
                match self.claim(next, TupleKind::Payload, node.link, findings)? {
                    Some(tuple) if usize::from(tuple.header.count) == part => next = tuple.header.next,
                    _ => {
                        // A node that never ended needs none.
                        if !header.is_pending() {
                            findings.error(block, slot, "node without its payload");
                        }
                        break;
                    }
                }
            }
            let mut has_rows = header.tid_count > 0;
            let mut next = header.overflow;
            while !next.is_none() {
                index.store.interrupt_point();
                let Some(tuple) = self.claim(next, TupleKind::HeapTids, node.link, findings)? else {
                    findings.error(block, slot, "node with a broken chain of heap TIDs");
                    break;
                };
                has_rows |= tuple.header.count > 0;
                next = tuple.header.next;
            }
            if has_rows && !header.is_live() {
                findings.error(block, slot, "heap TIDs in a tombstone or an unpublished node");
            } else if !has_rows && header.is_live() {
                findings.warning(node.link, "live node without heap TIDs");
            }
        }
        for position in 0..self.owned.records.len() {
            index.store.interrupt_point();
            let tuple = self.owned.records.get(position)?;
            if tuple.claimed != 0 {
                continue;
            }
            if tuple.header.kind == TupleKind::HeapTids as u8 && tuple.header.count > 0 {
                findings.error(tuple.link.block, tuple.link.slot, "heap TIDs that no node leads to");
            } else {
                findings.warning(tuple.link, "tuple that its owner does not lead to");
            }
        }
        Ok(())
    }

    /// The tuple of a kind and an owner that `link` leads to, which nobody else may use. A chain that runs in
    /// a circle ends here.
    fn claim(
        &mut self,
        link: Link,
        kind: TupleKind,
        owner: Link,
        findings: &mut Findings,
    ) -> Result<Option<OwnedFacts>> {
        let Some((position, tuple)) = self.owned.find(link)? else { return Ok(None) };
        if tuple.link != link || tuple.header.kind != kind as u8 || tuple.header.owner != owner {
            return Ok(None);
        }
        if tuple.claimed != 0 {
            findings.error(link.block, link.slot, "tuple that is used twice");
            return Ok(None);
        }
        self.owned.records.set(position, OwnedFacts { claimed: 1, ..tuple })?;
        Ok(Some(tuple))
    }
}
