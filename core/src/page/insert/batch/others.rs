//! Step 6 of a join: nodes that the graph does not have, where nothing was searched for.

use super::Batch;
use crate::graph::EditableGraph;
use crate::page::insert::{Insertion, query_of};
use crate::page::query::access::{LiveNode, live_nodes};
use crate::page::store::PageStore;
use crate::types::{Link, Result};

/// The share of the batch as which others are linked again beside an index that was taken over. Who inserts
/// meanwhile as fast as many sessions can would keep the join from its end.
const BATCH_SHARE: usize = 4;

impl<Store: PageStore, Graph: EditableGraph> Batch<'_, '_, Store, Graph> {
    /// Links the nodes again that an index with few nodes had, and those that others have inserted meanwhile.
    pub(super) fn link_others(&self) -> Result<()> {
        if !self.is_whole {
            return Ok(());
        }
        let (index, own, adopted) = (self.index, self.own_places()?, &self.places[..self.adopted as usize]);
        let mut left = if adopted.is_empty() { usize::MAX } else { own.len() / BATCH_SHARE };
        for (block, page) in index.data_pages()? {
            let nodes = live_nodes(index, &*page?, block)?;
            let is_other = |link| own.binary_search(link).is_err() && adopted.binary_search(link).is_err();
            for node in nodes.iter().filter(|node| is_other(&node.link)) {
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                index.store.interrupt_point();
                self.link_other(node)?;
            }
        }
        Ok(())
    }

    /// As an insertion links a new node; its list has far neighbours as yet, which give way to near ones.
    fn link_other(&self, node: &LiveNode) -> Result<()> {
        let Some(payload) = self.index.payload(node.link)? else { return Ok(()) };
        let mut insertion = Insertion::new(self.index, query_of(self.index, &payload)?, payload, node.level);
        let layers = insertion.choose(Some(node.link))?.layers;
        for (layer, neighbours) in (0..).zip(&layers) {
            for neighbour in neighbours.iter() {
                insertion.linker.offer(node.link, layer, neighbour.node)?;
            }
        }
        insertion.offer(node.link, &layers)?;
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
