//! Offering a node to its neighbours: back-links.

use crate::page::link::Linker;
use crate::page::link::change::Change;
use crate::page::link::prune::{New, Owner, prune};
use crate::page::query::access::{List, ListId};
use crate::page::store::PageStore;
use crate::types::{Link, Result};

/// How often an offer is made again when the neighbour's links change underneath.
const TRIES: usize = 4;

/// What became of an offered link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::page) enum Offer {
    /// The neighbour links to the node.
    Linked,
    /// The neighbour is live and has better links, or was changed by others again and again.
    Refused,
    /// The neighbour is gone, dead, or of a lower level.
    Gone,
}

impl<Store: PageStore> Linker<'_, Store> {
    /// Offers `owner` the published node `node` as a neighbour on `layer`.
    ///
    /// A free place is taken. Otherwise a link that leads to nothing live is replaced, or algorithm 4
    /// decides, measured from `owner`, which link gives way. All of that is decided without a lock and tested
    /// again under it.
    pub fn offer(&mut self, owner: Link, layer: u8, node: Link) -> Result<Offer> {
        for _ in 0..TRIES {
            let Some(list) = self.index.list(owner, layer)? else { return Ok(Offer::Gone) };
            if list.links.contains(&node) {
                return Ok(Offer::Linked);
            }
            let position = match list.links.iter().position(|link| link.is_none()) {
                Some(free) => free,
                None => match self.place_for(&list, node)? {
                    Some(position) => position,
                    None => return Ok(Offer::Refused),
                },
            };
            let change = Change { position: position as u16, old: list.links[position], new: node };
            if !self.change(list.id, &[change])?.is_empty() {
                if !change.old.is_none() {
                    self.index.store.link_pruned();
                }
                return Ok(Offer::Linked);
            }
        }
        Ok(Offer::Refused)
    }

    /// The link of a list that gives way to one to `node`; `None` when all are better.
    pub(super) fn place_for(&mut self, list: &List, node: Link) -> Result<Option<usize>> {
        if list.places().codes().is_some() {
            let Some(code) = self.vectors.code(node)? else { return Ok(None) };
            let places = self.places_by_codes(list, &[New { node, code: &code }])?;
            return Ok(places.first().map(|(place, _)| usize::from(*place)));
        }
        let ListId { node: owner, layer, .. } = list.id;
        let (links, vectors) = (&list.links, &mut self.vectors);
        for (position, link) in links.iter().enumerate() {
            if !vectors.is_live(*link)? {
                return Ok(Some(position));
            }
        }
        let candidates = vectors.candidates(owner, layer, links.iter().copied().chain([node]))?;
        let chosen = vectors.select(&candidates, layer)?;
        if !chosen.iter().any(|candidate| candidate.node == node) {
            return Ok(None);
        }
        Ok(links.iter().position(|link| !chosen.iter().any(|candidate| candidate.node == *link)))
    }

    /// Which links of a full list give way to which of `new`, decided from the codes in the list; none when
    /// all are better, or the owner is gone.
    fn places_by_codes(&mut self, list: &List, new: &[New]) -> Result<Vec<(u16, usize)>> {
        let Some(quantizer) = self.index.schema.quantizer.as_deref() else { return Ok(Vec::new()) };
        let owner = list.id.node;
        let Some(query) = self.vectors.vector(owner)?.map(|vector| quantizer.query(vector)) else {
            return Ok(Vec::new());
        };
        prune(quantizer, list.places(), &Owner { node: owner, query }, new)
    }
}
