//! Which nodes are expanded next: the nearest of all members' that are left.

use super::{Attempt, Nearest, of_member};
use crate::graph::{Distance, NodeStore};
use crate::page::scan::hit::{RunSorter, TestedTable};
use crate::page::scan::walk::Walk;
use crate::page::store::PageStore;

/// The member with the nearest node that is left.
#[derive(Clone, Copy)]
pub(super) struct NearestMember {
    pub number: usize,
    /// The least distance of that node.
    pub frontier: f64,
    /// The same for the nearest node of the other members.
    of_others: Option<f64>,
}

impl<Store: PageStore, Sorter: RunSorter, Table: TestedTable> Nearest<Store, Sorter, Table> {
    /// The member with the nearest node that is left; `None` where none is.
    pub(super) fn nearest_member(&self) -> Option<NearestMember> {
        let mut frontiers = self.frontiers.iter().enumerate();
        let mut nearest = frontiers.find_map(|(number, frontier)| {
            Some(NearestMember { number, frontier: (*frontier)?, of_others: None })
        })?;
        for (number, frontier) in frontiers.filter_map(|(number, frontier)| Some((number, (*frontier)?))) {
            if Distance(frontier) < Distance(nearest.frontier) {
                nearest = NearestMember { number, frontier, of_others: Some(nearest.frontier) };
            } else if nearest.of_others.is_none_or(|others| Distance(frontier) < Distance(others)) {
                nearest.of_others = Some(frontier);
            }
        }
        Some(nearest)
    }

    /// Expands the nearest nodes that are left; false where there are none.
    pub(super) fn step(&mut self) -> Attempt<bool> {
        self.step.clear();
        let mut left = None;
        while left != Some(0)
            && let Some(NearestMember { number, of_others, .. }) = self.nearest_member()
        {
            let Walk { query, search, .. } = &mut self.members[number].walk;
            let most = left.unwrap_or_else(|| query.beam());
            let chosen = search.choose_within(most, of_others).map_err(of_member(number))?;
            left = Some(most - chosen);
            self.frontiers[number] = search.least();
            if !self.step.contains(&number) {
                self.step.push(number);
            }
        }
        let walks = |number: &usize| &self.members[*number].walk;
        self.step.iter().map(walks).for_each(|walk| walk.search.announce(&walk.query, 0));
        self.step.iter().map(walks).for_each(|walk| walk.search.prefetch(&walk.query, 0));
        for number in &self.step {
            let Walk { query, search, .. } = &mut self.members[*number].walk;
            search.expand(query, 0, usize::MAX, None).map_err(of_member(*number))?;
            self.sieve.add(*number, search.take_expanded()).map_err(of_member(*number))?;
            self.frontiers[*number] = search.least();
        }
        Ok(!self.step.is_empty())
    }
}
