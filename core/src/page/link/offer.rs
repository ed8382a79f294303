//! Offering a node to its neighbours: back-links.

use crate::page::format::node::Slots;
use crate::page::link::change::Change;
use crate::page::link::prune::prune;
use crate::page::query::access::Places;
use crate::page::query::index::Index;
use crate::page::query::vectors::Vectors;
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

impl<Store: PageStore> Index<Store> {
    /// Offers `to` the published node `from` as a neighbour on `layer`.
    ///
    /// A free place is taken. Otherwise a link that leads to nothing live is replaced, or algorithm 4 decides, measured
    /// from `from`, which link gives way. All of that is decided without a lock and tested again under it.
    pub(in crate::page) fn offer_link(
        &self,
        vectors: &mut Vectors<'_, Store>,
        from: Link,
        to: Link,
        layer: u8,
    ) -> Result<Offer> {
        for _ in 0..TRIES {
            let Some(places) = self.places(from, layer)? else { return Ok(Offer::Gone) };
            if places.links.contains(&to) {
                return Ok(Offer::Linked);
            }
            let position = match places.links.iter().position(|link| link.is_none()) {
                Some(free) => free,
                None => match self.place_for(vectors, from, to, layer, &places)? {
                    Some(position) => position,
                    None => return Ok(Offer::Refused),
                },
            };
            let change = Change { position: position as u16, old: places.links[position], new: to };
            if !self.change_links(vectors, from, layer, places.upper, &[change])?.is_empty() {
                return Ok(Offer::Linked);
            }
        }
        Ok(Offer::Refused)
    }

    /// The link of `from` that gives way to one to `to`; `None` when all are better.
    fn place_for(
        &self,
        vectors: &mut Vectors<'_, Store>,
        from: Link,
        to: Link,
        layer: u8,
        places: &Places,
    ) -> Result<Option<usize>> {
        if places.slots().codes().is_some() {
            return vectors.place_by_codes(from, to, places.slots());
        }
        let links = &places.links;
        for (position, link) in links.iter().enumerate() {
            if vectors.is_live(*link)? != Some(true) {
                return Ok(Some(position));
            }
        }
        let candidates = vectors.candidates(from, layer, links.iter().copied().chain([to]))?;
        let chosen = vectors.select(&candidates, layer)?;
        if !chosen.iter().any(|candidate| candidate.node == to) {
            return Ok(None);
        }
        Ok(links.iter().position(|link| !chosen.iter().any(|candidate| candidate.node == *link)))
    }
}

impl<Store: PageStore> Vectors<'_, Store> {
    /// Which link of a full list of `from` gives way to one to `to`, decided from the codes in the list; `None` when all
    /// are better, or one of the two is gone.
    pub fn place_by_codes(&mut self, from: Link, to: Link, slots: Slots) -> Result<Option<usize>> {
        let Some(quantizer) = self.index.quantizer.as_deref() else { return Ok(None) };
        let Some(owner) = self.vector(from)?.map(|vector| quantizer.query(vector)) else { return Ok(None) };
        let Some(code) = self.code(to)? else { return Ok(None) };
        prune(quantizer, slots, (from, &owner), (to, &code))
    }
}
