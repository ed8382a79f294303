//! The search for what is near nodes of a batch. It knows of each node only what it is told, and reads pages:
//! so it can be done by others beside who joins the batch.

use super::near::Near;
use crate::graph::{Candidate, LayerSearch, Purpose, search_layers};
use crate::page::insert::query_of;
use crate::page::query::index::Index;
use crate::page::query::paged::PagedQuery;
use crate::page::store::PageStore;
use crate::types::{Link, Result};

/// Nodes where a search with a small beam begins.
pub(super) const ENTRIES: usize = 4;
/// How many of them are taken from what was found near one neighbour.
pub(super) const OF_ONE: usize = ENTRIES / 2;
/// Nodes that a search remembers whose memory is not used again.
const WIDE: usize = 1 << 14;

/// A node that is searched for.
pub(super) struct Wanted {
    pub level: u8,
    pub payload: Vec<u8>,
    /// Where the search may begin; nowhere but at the entry point where there are none, or nothing is found
    /// from there.
    pub begins: Vec<Begin>,
}

/// Where a search may begin.
#[derive(Clone, Copy)]
pub(super) enum Begin {
    /// At a node on pages.
    Place(Link),
    /// At what was found near an earlier one of the nodes that are searched for together.
    Earlier(u32),
}

/// What was found near a node.
pub(super) struct Sought {
    /// Nodes on pages, by layer from 0, nearest first.
    pub layers: Vec<Vec<Candidate<Link>>>,
    /// Whether one of them may hold the node's vector.
    pub is_held: bool,
}

/// Searches for groups of nodes.
pub(super) struct Seeker<'i, Store: PageStore> {
    index: &'i Index<Store>,
    /// Nodes near those of a group of which something is known before no more are searched for.
    most_near: usize,
    /// The search for each node, whose memory is used again.
    search: Option<LayerSearch<PagedQuery<&'i Store, Near>>>,
}

impl<'i, Store: PageStore> Seeker<'i, Store> {
    /// Has not searched for anything. `memory` bytes are for what is near a group and what was near the one
    /// before.
    pub fn new(index: &'i Index<Store>, memory: usize) -> Self {
        Self { index, most_near: memory / 2 / Near::size(&index.schema), search: None }
    }

    /// Searches for the first of these nodes, as many as there is memory for what is found near them, and at
    /// least one. `beam` nodes are looked for near those whose search begins somewhere, `before` is what was
    /// near the last group.
    pub fn seek(&mut self, group: &[Wanted], beam: usize, before: &Near) -> Result<(Vec<Sought>, Near)> {
        let (mut found, mut near) = (Vec::with_capacity(group.len()), Near::default());
        for wanted in group {
            if near.len() > self.most_near {
                break;
            }
            found.push(self.seek_one(wanted, beam, &found, &mut near, before)?);
        }
        Ok((found, near))
    }

    fn seek_one(
        &mut self,
        wanted: &Wanted,
        beam: usize,
        earlier: &[Sought],
        near: &mut Near,
        before: &Near,
    ) -> Result<Sought> {
        let index = self.index;
        let query = query_of(index, &wanted.payload)?.with_notes(std::mem::take(near));
        let layers = self.search(wanted, beam, earlier, &query)?;
        *near = std::mem::take(&mut *query.notes());
        for candidate in layers.iter().flatten() {
            near.load(index, before, candidate.node)?;
        }
        let own = query.distance(query.vector());
        let is_held = layers.first().is_some_and(|nearest| nearest.iter().any(|near| near.distance == own));
        Ok(Sought { layers, is_held })
    }

    fn search(
        &mut self,
        wanted: &Wanted,
        beam: usize,
        earlier: &[Sought],
        query: &PagedQuery<&'i Store, Near>,
    ) -> Result<Vec<Vec<Candidate<Link>>>> {
        let parameters = &self.index.schema.layout.parameters;
        let ef = usize::from(parameters.ef_construction);
        let entries = entries(&wanted.begins, earlier);
        // A wide one would make all others slow.
        self.search.take_if(|search| search.remembered() > WIDE);
        let search = self.search.get_or_insert_with(|| query.search(Purpose::Insertion, ef));
        if !entries.is_empty() {
            let nearest = search.run(query, &entries, 0, beam)?;
            if !nearest.is_empty() {
                return Ok(vec![nearest]);
            }
        }
        let mut layers = Vec::new();
        search_layers(query, search, parameters, wanted.level, |_, nearest| {
            layers.push(nearest.clone());
            Ok(())
        })?;
        layers.reverse();
        Ok(layers)
    }
}

fn entries(begins: &[Begin], earlier: &[Sought]) -> Vec<Candidate<Link>> {
    let mut entries = Vec::with_capacity(ENTRIES + OF_ONE);
    for begin in begins {
        match begin {
            Begin::Place(place) => entries.push(*place),
            Begin::Earlier(number) => {
                let nearest = earlier.get(*number as usize).and_then(|sought| sought.layers.first());
                entries.extend(nearest.into_iter().flatten().take(OF_ONE).map(|candidate| candidate.node));
            }
        }
        if entries.len() >= ENTRIES {
            break;
        }
    }
    entries.into_iter().map(Candidate::unknown).collect()
}
