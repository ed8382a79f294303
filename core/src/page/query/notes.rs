//! What who searches wants to know of the nodes that a walk meets.

use crate::page::format::node::Node;
use crate::page::query::schema::Schema;
use crate::page::query::vectors::Known;
use crate::types::{HeapTid, Link, Result};
use hashbrown::HashMap;

/// Stale links that a scan remembers.
const STALE_LINKS: usize = 16;
/// Expanded nodes that a scan remembers, to look for those links in their lists.
const EXPANDED: usize = 512;

/// Takes notes of a walk. Whoever wants none has `()`.
pub(in crate::page) trait Notes {
    /// A node of layer 0 is expanded.
    fn walked(&mut self, _node: Link) {}

    /// A link of `layer` has turned out to be stale.
    fn stale(&mut self, _link: Link, _layer: u8) {}

    /// The tuple of a node that is expanded, in an index with codes.
    fn expanded(&mut self, _schema: &Schema, _node: Link, _tuple: &Node) -> Result<()> {
        Ok(())
    }
}

impl Notes for () {}

/// For an insertion that chooses neighbours: the vectors of nodes that were expanded, as far as they were
/// read.
pub(in crate::page) type Expansions = Vec<(Link, Known)>;

impl Notes for Expansions {
    fn expanded(&mut self, schema: &Schema, node: Link, tuple: &Node) -> Result<()> {
        if let Some(payload) = tuple.payload() {
            let header = tuple.header();
            self.try_reserve(1)?;
            self.push((node, schema.known(payload, !header.is_tombstone(), header.level)));
        }
        Ok(())
    }
}

/// For a scan: rows of expanded nodes, and stale links with where to look for them.
#[derive(Default)]
pub(in crate::page) struct ScanNotes {
    /// The heap TID of each expanded node that held no other.
    pub only_rows: HashMap<Link, HeapTid>,
    /// The stale links of layer 0.
    pub stale: StaleLinks,
}

/// Stale links that a scan met on layer 0, and where to look for them.
#[derive(Default)]
pub(in crate::page) struct StaleLinks {
    /// The first of them.
    pub links: Vec<Link>,
    /// How many there were.
    pub count: u64,
    /// The nodes that were expanded first: those that lead there are among them, as far as they are known.
    pub walked: Vec<Link>,
}

impl Notes for ScanNotes {
    fn walked(&mut self, node: Link) {
        if self.stale.walked.len() < EXPANDED {
            self.stale.walked.push(node);
        }
    }

    fn stale(&mut self, link: Link, layer: u8) {
        if layer == 0 {
            self.stale.count += 1;
            if self.stale.links.len() < STALE_LINKS {
                self.stale.links.push(link);
            }
        }
    }

    fn expanded(&mut self, _schema: &Schema, node: Link, tuple: &Node) -> Result<()> {
        if let ([row], true) = (tuple.heap_tids(), tuple.header().overflow.is_none()) {
            self.only_rows.try_reserve(1)?;
            self.only_rows.insert(node, *row);
        }
        Ok(())
    }
}
