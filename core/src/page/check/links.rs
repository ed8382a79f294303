//! The check's last pass: links and their codes, entry point, reachability.

use super::Findings;
use super::facts::{Facts, NodeFacts};
use super::hash::Hash;
use super::records::Records;
use crate::page::format::meta::META_BLOCK;
use crate::page::format::node::Node;
use crate::page::format::owned::Owned;
use crate::page::format::tuple::TupleKind;
use crate::page::query::index::Index;
use crate::page::store::{PageStore, Phase};
use crate::types::{Link, Result};

/// The meta page, as findings name it.
const META_PAGE: Link = Link { block: META_BLOCK, slot: 0, version: 0 };

/// Checks all links, and that all live nodes are reached from the entry point.
pub(super) fn check<Store: PageStore>(
    index: &Index<Store>,
    facts: &Facts,
    findings: &mut Findings,
) -> Result<()> {
    let mut highest = None;
    for position in 0..facts.nodes.records.len() {
        index.store.interrupt_point();
        index.store.progress(Phase::CheckingLinks, position as u64, facts.nodes.records.len() as u64);
        let node = facts.nodes.records.get(position)?;
        if !node.header.is_live() {
            continue;
        }
        highest = highest.max(Some(node.header.level));
        for layer in 0..=node.header.level {
            let links = read_links(index, facts, &node, layer)?;
            check_links(facts, &node, layer, &links, findings)?;
        }
    }
    let reached = reach(index, facts, highest, findings)?;
    for position in 0..facts.nodes.records.len() {
        index.store.interrupt_point();
        let node = facts.nodes.records.get(position)?;
        if node.header.is_live() && !reached.contains(position)? {
            findings.warning(node.link, "live node that cannot be reached from the entry point");
        }
    }
    Ok(())
}

/// A set of positions, as bits.
struct Positions<'m>(Records<'m, u64>);

impl Positions<'_> {
    fn contains(&self, position: usize) -> Result<bool> {
        Ok(self.0.get(position / 64)? >> (position % 64) & 1 != 0)
    }

    /// Whether it was not there before.
    fn insert(&mut self, position: usize) -> Result<bool> {
        let (word, bit) = (self.0.get(position / 64)?, 1 << (position % 64));
        if word & bit == 0 {
            self.0.set(position / 64, word | bit)?;
        }
        Ok(word & bit == 0)
    }
}

/// A link, and a hash of the code beside it where there is one.
type CodedLink = (Link, Hash);

/// The links of a node that has been read before; none where the tuple has been found damaged.
fn read_links<Store: PageStore>(
    index: &Index<Store>,
    facts: &Facts,
    node: &NodeFacts,
    layer: u8,
) -> Result<Vec<CodedLink>> {
    let at = if layer == 0 { node.link } else { node.header.upper };
    if at.block >= facts.blocks {
        return Ok(Vec::new());
    }
    let page = index.store.read(at.block)?;
    let places = if layer == 0 {
        Node::at(&index.schema.layout, &page, at).ok().flatten().map(|tuple| tuple.places())
    } else {
        let tuple = Owned::at(&page, at, TupleKind::Upper, node.link).ok().flatten();
        tuple.and_then(|tuple| tuple.places(&index.schema.layout, layer))
    };
    let Some(places) = places else { return Ok(Vec::new()) };
    let code = |position| places.codes().map_or_else(Hash::default, |_| Hash::of(places.code(position)));
    let coded = (0..places.len()).map(|position| (places.link(position), code(position)));
    Ok(coded.filter(|(link, _)| !link.is_none()).collect())
}

fn check_links(
    facts: &Facts,
    node: &NodeFacts,
    layer: u8,
    links: &[CodedLink],
    findings: &mut Findings,
) -> Result<()> {
    let Link { block, slot, .. } = node.link;
    for (position, (link, code)) in links.iter().enumerate() {
        if *link == node.link {
            findings.warning(node.link, "link of a node to itself");
        }
        if links[..position].iter().any(|(other, _)| other == link) {
            findings.warning(node.link, "duplicate link");
        }
        match facts.nodes.find(*link)? {
            Some((_, target)) if target.link.version == link.version => {
                if target.header.level < layer {
                    findings.error(block, slot, "link to a node that is not on this layer");
                }
                if target.header.is_pending() {
                    findings.warning(node.link, "link to an unpublished node");
                }
                if facts.meta.is_some_and(|meta| meta.is_removable(&target.header)) {
                    findings.warning(node.link, "link to a tombstone whose slot may be reused");
                }
                if code.differs(target.code) {
                    findings.warning(node.link, "link with a code that is not that of its node");
                }
            }
            _ => findings.warning(node.link, "stale link"),
        }
    }
    Ok(())
}

/// Which nodes a walk from the entry point over the links of all layers reaches. `highest` is the highest
/// level of a live node.
fn reach<'m, Store: PageStore>(
    index: &Index<Store>,
    facts: &Facts<'m>,
    highest: Option<u8>,
    findings: &mut Findings,
) -> Result<Positions<'m>> {
    let mut reached = Positions(Records::new(&facts.pool));
    for _ in 0..facts.nodes.records.len().div_ceil(64) {
        reached.0.push(0)?;
    }
    let Some(meta) = &facts.meta else { return Ok(reached) };
    let Some(entry) = facts.node_at(meta.entry_point)? else {
        if highest.is_some() {
            findings.warning(META_PAGE, "no entry point though there are live nodes");
        }
        return Ok(reached);
    };
    let level = facts.nodes.records.get(entry)?.header.level;
    if u16::from(level) != meta.entry_level {
        findings.warning(META_PAGE, "entry point whose level is not as noted");
    } else if highest > Some(level) {
        findings.warning(META_PAGE, "entry point below the highest layer");
    }
    reached.insert(entry)?;
    let mut waiting = Records::new(&facts.pool);
    waiting.push(entry as u64)?;
    let mut walked = 0;
    while let Some(position) = waiting.pop()? {
        index.store.interrupt_point();
        index.store.progress(Phase::WalkingGraph, walked, facts.nodes.records.len() as u64);
        walked += 1;
        let node = facts.nodes.records.get(position as usize)?;
        for layer in 0..=node.header.level {
            for (link, _) in read_links(index, facts, &node, layer)? {
                if let Some(found) = facts.node_at(link)?
                    && reached.insert(found)?
                {
                    waiting.push(found as u64)?;
                }
            }
        }
    }
    Ok(reached)
}
