//! Step 6 of a join: nodes that others have inserted meanwhile.

use super::Batch;
use crate::graph::EditableGraph;
use crate::page::query::access::live_nodes;
use crate::page::store::PageStore;
use crate::types::{Link, Result};

impl<Store: PageStore, Graph: EditableGraph> Batch<'_, '_, Store, Graph> {
    /// Links the nodes again that others have inserted while the index seemed to be empty.
    pub(super) fn link_others(&self) -> Result<()> {
        if !self.was_empty {
            return Ok(());
        }
        let (index, own) = (self.index, self.own_places()?);
        for (block, page) in index.data_pages()? {
            let nodes = live_nodes(index, &*page?, block)?;
            for node in nodes.iter().filter(|node| own.binary_search(&node.link).is_err()) {
                index.store.interrupt_point();
                if let Some(payload) = index.payload(node.link)? {
                    index.link(node.link, payload)?;
                }
            }
        }
        Ok(())
    }

    /// Where the nodes are that were published, in order.
    pub(super) fn own_places(&self) -> Result<Vec<Link>> {
        let mut own = Vec::new();
        own.try_reserve_exact(self.published.len())?;
        own.extend(self.published.iter().map(|node| self.places[*node as usize]));
        own.sort_unstable();
        Ok(own)
    }
}
