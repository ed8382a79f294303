//! The check's last pass: links and their codes, entry point, reachability.

use super::Findings;
use super::facts::{Facts, NodeFacts};
use super::vectors::{Hash, Hashes, hash};
use crate::page::format::meta::META_BLOCK;
use crate::page::format::node::Node;
use crate::page::format::owned::Owned;
use crate::page::format::tuple::TupleKind;
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::types::{Link, Result};

/// The meta page, as findings name it.
const META_PAGE: Link = Link { block: META_BLOCK, slot: 0, version: 0 };

/// Checks all links, and that all live nodes are reached from the entry point.
pub(super) fn check<Store: PageStore>(
    index: &Index<Store>,
    facts: &Facts,
    vectors: &[Hashes],
    findings: &mut Findings,
) -> Result<()> {
    for node in facts.nodes.iter().filter(|node| node.header.is_live()) {
        index.store.interrupt_point();
        for layer in 0..=node.header.level {
            let links = read_links(index, facts, node, layer)?;
            check_links(facts, vectors, node, layer, &links, findings);
        }
    }
    let reached = reach(index, facts, findings)?;
    for (node, _) in
        facts.nodes.iter().zip(&reached).filter(|(node, reached)| node.header.is_live() && !**reached)
    {
        findings.warning(node.link, "live node that cannot be reached from the entry point");
    }
    Ok(())
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
    let code = |position| places.codes().and_then(|_| hash(places.code(position)));
    let coded = (0..places.len()).map(|position| (places.link(position), code(position)));
    Ok(coded.filter(|(link, _)| !link.is_none()).collect())
}

fn check_links(
    facts: &Facts,
    vectors: &[Hashes],
    node: &NodeFacts,
    layer: u8,
    links: &[CodedLink],
    findings: &mut Findings,
) {
    let Link { block, slot, .. } = node.link;
    for (position, (link, code)) in links.iter().enumerate() {
        if *link == node.link {
            findings.warning(node.link, "link of a node to itself");
        }
        if links[..position].iter().any(|(other, _)| other == link) {
            findings.warning(node.link, "duplicate link");
        }
        let found = facts.node_in_slot(*link);
        let expected = found.and_then(|found| vectors[found].code);
        match found.map(|found| &facts.nodes[found]) {
            Some(target) if target.link.version == link.version => {
                if target.header.level < layer {
                    findings.error(block, slot, "link to a node that is not on this layer");
                }
                if target.header.is_pending() {
                    findings.warning(node.link, "link to an unpublished node");
                }
                if facts.meta.is_some_and(|meta| meta.is_removable(&target.header)) {
                    findings.warning(node.link, "link to a tombstone whose slot may be reused");
                }
                if code.zip(expected).is_some_and(|(code, expected)| code != expected) {
                    findings.warning(node.link, "link with a code that is not that of its node");
                }
            }
            _ => findings.warning(node.link, "stale link"),
        }
    }
}

/// Which nodes a walk from the entry point over the links of all layers reaches.
fn reach<Store: PageStore>(
    index: &Index<Store>,
    facts: &Facts,
    findings: &mut Findings,
) -> Result<Vec<bool>> {
    let mut reached = Vec::new();
    reached.try_reserve_exact(facts.nodes.len())?;
    reached.resize(facts.nodes.len(), false);
    let Some(meta) = &facts.meta else { return Ok(reached) };
    let highest = facts.nodes.iter().filter(|node| node.header.is_live()).map(|node| node.header.level).max();
    let entry =
        facts.node_in_slot(meta.entry_point).filter(|found| facts.nodes[*found].link == meta.entry_point);
    let Some(entry) = entry else {
        if highest.is_some() {
            findings.warning(META_PAGE, "no entry point though there are live nodes");
        }
        return Ok(reached);
    };
    if u16::from(facts.nodes[entry].header.level) != meta.entry_level {
        findings.warning(META_PAGE, "entry point whose level is not as noted");
    } else if highest > Some(facts.nodes[entry].header.level) {
        findings.warning(META_PAGE, "entry point below the highest layer");
    }
    reached[entry] = true;
    let mut waiting = vec![entry as u32];
    while let Some(position) = waiting.pop() {
        index.store.interrupt_point();
        let node = &facts.nodes[position as usize];
        for layer in 0..=node.header.level {
            for (link, _) in read_links(index, facts, node, layer)? {
                let found = facts.node_in_slot(link).filter(|found| facts.nodes[*found].link == link);
                if let Some(found) = found
                    && !std::mem::replace(&mut reached[found], true)
                {
                    waiting.try_reserve(1)?;
                    waiting.push(found as u32);
                }
            }
        }
    }
    Ok(reached)
}
