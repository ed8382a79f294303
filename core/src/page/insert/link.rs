//! Links: writing them in place, and offering a node to its neighbours (back-links).

use crate::graph::{Candidate, Neighbours};
use crate::page::index::Index;
use crate::page::node::{NodeMut, OwnedMut};
use crate::page::store::{PageStore, WriteUnit};
use crate::page::tuple::TupleKind;
use crate::page::vectors::Vectors;
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

/// One place for a link: what it held when the change was decided, and what it shall hold.
#[derive(Clone, Copy, Debug)]
pub(in crate::page) struct Change {
    /// The place.
    pub position: u16,
    /// What it held.
    pub old: Link,
    /// What it shall hold.
    pub new: Link,
}

impl<Store: PageStore> Index<Store> {
    /// Changes links of a node on one layer, in one unit on one page. `upper` is where [`Places`](crate::page::access::Places)
    /// found them.
    ///
    /// What was decided without a lock is tested again under it: a change is left out when the node is gone or dead, when its
    /// place no longer holds the old link, or when the new link is there already. Returns the number of changes made.
    pub(in crate::page) fn change_links(
        &self,
        node: Link,
        layer: u8,
        upper: Link,
        changes: &[Change],
    ) -> Result<usize> {
        if changes.is_empty() {
            return Ok(0);
        }
        let places = self.layout.parameters.max_links(layer) as u16;
        let mut unit = self.store.begin();
        let made = if layer == 0 {
            unit.lock(node.block)?;
            match NodeMut::at(&self.layout, unit.edit(node.block), node)? {
                Some(mut tuple) if tuple.view().is_live() => apply(
                    &mut tuple,
                    changes,
                    places,
                    |tuple, position| tuple.view().link(position),
                    |tuple, position, link| tuple.set_link(position, link),
                ),
                _ => 0,
            }
        } else {
            unit.lock(upper.block)?;
            match OwnedMut::at(unit.edit(upper.block), upper, TupleKind::Upper, node)? {
                Some(mut tuple) => apply(
                    &mut tuple,
                    changes,
                    places,
                    |tuple, position| tuple.view().link(&self.layout, layer, position).unwrap_or(Link::NONE),
                    |tuple, position, link| tuple.set_link(&self.layout, layer, position, link),
                ),
                None => 0,
            }
        };
        if made > 0 {
            unit.commit()?;
        }
        Ok(made)
    }

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
                None => match self.place_for(vectors, from, to, layer, &places.links)? {
                    Some(position) => position,
                    None => return Ok(Offer::Refused),
                },
            };
            let change = Change { position: position as u16, old: places.links[position], new: to };
            if self.change_links(from, layer, places.upper, &[change])? > 0 {
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
        links: &[Link],
    ) -> Result<Option<usize>> {
        for (position, link) in links.iter().enumerate() {
            if vectors.is_live(*link)? != Some(true) {
                return Ok(Some(position));
            }
        }
        let candidates = vectors.candidates(from, layer, links.iter().copied().chain([to]))?;
        let chosen = self.select(vectors, &candidates, layer)?;
        if !chosen.iter().any(|candidate| candidate.node == to) {
            return Ok(None);
        }
        Ok(links.iter().position(|link| !chosen.iter().any(|candidate| candidate.node == *link)))
    }

    /// Algorithm 4 for a layer.
    pub(in crate::page) fn select(
        &self,
        vectors: &mut Vectors<'_, Store>,
        candidates: &[Candidate<Link>],
        layer: u8,
    ) -> Result<Neighbours<Link>> {
        Neighbours::select(candidates, self.layout.parameters.max_links(layer), |a, b| vectors.distance(a, b))
    }
}

fn apply<Tuple>(
    tuple: &mut Tuple,
    changes: &[Change],
    places: u16,
    read: impl Fn(&Tuple, u16) -> Link,
    write: impl Fn(&mut Tuple, u16, Link),
) -> usize {
    let mut made = 0;
    for Change { position, old, new } in changes {
        let present = || (0..places).any(|other| read(tuple, other) == *new);
        if read(tuple, *position) == *old && (new.is_none() || !present()) {
            write(tuple, *position, *new);
            made += 1;
        }
    }
    made
}
