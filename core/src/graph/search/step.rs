//! A step of a search: which nodes are expanded next, their expansion, and where what it finds is put.

use super::super::pool::{Distance, Pool};
use super::super::{Candidate, Expanded, NodeStore, Visited};
use super::{CROWD, LayerSearch, Purpose, WIDEST};
use crate::types::Result;
use std::cmp::Reverse;

impl<Store: NodeStore> LayerSearch<Store> {
    /// Chooses the nodes of `layer` that are expanded next, at most `beam` of them, and says so to the store.
    /// False when there are none: all that is left is out of question.
    pub fn choose(&mut self, store: &Store, layer: u8, beam: usize, ef: usize, pool: Option<&Pool>) -> bool {
        self.step.clear();
        while self.step.len() < beam
            && let Some(Reverse(candidate)) = self.frontier.peek()
            && !self.is_beyond(candidate, ef, pool, self.ties(ef))
        {
            self.step.extend(self.frontier.pop().map(|Reverse(candidate)| candidate));
        }
        if self.step.is_empty() {
            return false;
        }
        self.announce(store, layer);
        true
    }

    /// For a caller who decides when the search ends: chooses the nearest nodes besides those that were
    /// chosen before, at most so many, and as long as they are no further than this. Returns how many.
    pub fn choose_within(&mut self, most: usize, furthest: Option<f64>) -> Result<usize> {
        let before = self.step.len();
        while self.step.len() < before + most
            && let Some(least) = self.least()
            && furthest.is_none_or(|furthest| Distance(least) <= Distance(furthest))
        {
            self.step.extend(self.frontier.pop().map(|Reverse(candidate)| candidate));
            self.widen()?;
        }
        Ok(self.step.len() - before)
    }

    /// Says to the store which nodes were chosen.
    pub fn announce(&self, store: &Store, layer: u8) {
        store.announce(&self.step, layer);
    }

    /// Says to the store that the nodes that were chosen are expanded now.
    pub fn prefetch(&self, store: &Store, layer: u8) {
        store.prefetch(&self.step, layer);
    }

    /// Expands the nodes that were chosen.
    pub fn expand(&mut self, store: &Store, layer: u8, ef: usize, mut pool: Option<&mut Pool>) -> Result<()> {
        let (mut step, mut found) = (std::mem::take(&mut self.step), std::mem::take(&mut self.found));
        for candidate in &step {
            // An earlier one of the step may have found nearer nodes.
            if self.is_beyond(candidate, ef, pool.as_deref(), self.ties(ef)) {
                self.frontier.push(Reverse(*candidate));
                continue;
            }
            let expanded = store.expand(*candidate, layer, self.limit(ef), &mut self.visited, &mut found)?;
            self.stats.expanded += 1;
            if let Expanded::Live(node) | Expanded::Tombstone(node) = expanded {
                self.stats.distances += u64::from(candidate.is_estimated() && !node.is_estimated());
            }
            if let Expanded::Live(node) = expanded {
                self.keep(node, ef, pool.as_deref_mut())?;
            } else if self.bound(ef, pool.as_deref()) == Some(Distance(candidate.least())) {
                self.in_vain += 1;
            }
            // For all neighbours at once: what is full grows by half or more anyway.
            self.visited.reserve(found.len())?;
            self.frontier.try_reserve(found.len())?;
            if self.is_resumable() {
                self.beyond.try_reserve(found.len())?;
            }
            for neighbour in found.drain(..) {
                if neighbour.is_estimated() {
                    self.stats.estimates += 1;
                } else {
                    self.stats.distances += 1;
                }
                self.admit(neighbour, ef, pool.as_deref());
            }
        }
        step.clear();
        (self.step, self.found) = (step, found);
        if self.horizon.is_some() && self.beyond.len() >= CROWD.max(2 * self.distinct) {
            self.thin_out();
        }
        self.widen()
    }

    /// Whether a candidate is out of question: `ef` nodes are nearer, or nearer by their estimates, and so is
    /// all that the pool wants; or they are as near, and `ties` have been expanded in vain; or too many have.
    fn is_beyond(
        &self,
        candidate: &Candidate<Store::Node>,
        ef: usize,
        pool: Option<&Pool>,
        ties: usize,
    ) -> bool {
        let distance = Distance(candidate.distance);
        let least = Distance(candidate.least());
        self.bound(ef, pool).is_some_and(|bound| least > bound || least == bound && self.in_vain >= ties)
            || self.estimates.len() >= ef
                && self.estimates.peek().is_some_and(|furthest| distance > *furthest)
            || self.in_vain >= WIDEST.saturating_mul(pool.map_or(ef, |pool| pool.wanted().max(ef)))
    }

    /// The estimate from which on a candidate is out of question, and will not be asked for later.
    fn limit(&self, ef: usize) -> Option<f64> {
        let furthest = self.estimates.peek().filter(|_| self.estimates.len() >= ef)?.0;
        (!furthest.is_nan()).then_some(furthest)
    }

    /// The distance of the last of `ef` results, and of what the pool wants; `None` until there are as many.
    fn bound(&self, ef: usize, pool: Option<&Pool>) -> Option<Distance> {
        let furthest = self.nearest.peek().filter(|_| self.nearest.len() >= ef)?;
        let furthest = Distance(furthest.distance);
        pool.map_or(Some(furthest), |pool| pool.bound().map(|bound| furthest.max(Distance(bound))))
    }

    /// How many nodes may be expanded in vain that are as near as the last of `ef` results. The way to nearer
    /// nodes may lead through them: of distances in whole numbers, as between bit strings, many are equal. In
    /// few dimensions nearly all are, and to expand them all would cost many times what the search does.
    fn ties(&self, ef: usize) -> usize {
        if self.purpose == Purpose::Insertion { 0 } else { ef / 2 }
    }

    /// Puts a scored node where the walk may find it; there is room for it.
    fn admit(&mut self, candidate: Candidate<Store::Node>, ef: usize, pool: Option<&Pool>) {
        // Nodes whose vectors are nearly equal have one estimate: `ef` of them are enough for an insertion.
        let is_tie = |furthest: &Distance| Distance(candidate.distance) == *furthest;
        let beyond = self.horizon.is_some_and(|horizon| Distance(candidate.distance) > horizon)
            || self.is_beyond(&candidate, ef, pool, 0)
            || candidate.is_estimated()
                && self.estimates.len() >= ef
                && self.estimates.peek().is_some_and(is_tie);
        if beyond && self.is_resumable() {
            // Most candidates end here: marking them waits until they are needed.
            return self.beyond.push(candidate);
        }
        let new = !candidate.is_estimated() || self.visited.insert(candidate.node);
        if beyond || !new {
            return;
        }
        self.frontier.push(Reverse(candidate));
        if self.purpose == Purpose::Insertion && candidate.is_estimated() {
            let estimate = Distance(candidate.distance);
            if self.estimates.len() < ef {
                self.estimates.push(estimate);
            } else if let Some(mut furthest) = self.estimates.peek_mut()
                && estimate < *furthest
            {
                *furthest = estimate;
            }
        }
    }

    /// Puts an expanded node among the results.
    pub(super) fn keep(
        &mut self,
        node: Candidate<Store::Node>,
        ef: usize,
        pool: Option<&mut Pool>,
    ) -> Result<()> {
        let keep_all = self.is_resumable() || pool.is_some();
        if let Some(pool) = pool {
            pool.offer(node.distance);
        }
        self.nearest.push(node);
        if self.nearest.len() > ef
            && let Some(furthest) = self.nearest.pop()
        {
            self.in_vain += usize::from(Distance(furthest.distance) == Distance(node.distance));
            if keep_all {
                self.surplus.try_reserve(1)?;
                self.surplus.push(furthest);
            }
        }
        Ok(())
    }
}
