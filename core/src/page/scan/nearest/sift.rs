//! Tests of the rows of expanded nodes.

use super::{Attempt, Nearest, of_member};
use crate::graph::{Candidate, Distance, Precision};
use crate::page::query::heap_tids::HeapTids;
use crate::page::scan::hit::{RunSorter, TestedTable};
use crate::page::scan::member::Member;
use crate::page::scan::options::IterativeScan;
use crate::page::scan::order::Bounds;
use crate::page::scan::sieve::{Found, Place};
use crate::page::store::PageStore;
use crate::types::{HeapTid, Result};

impl<Store: PageStore, Sorter: RunSorter, Table: TestedTable> Nearest<Store, Sorter, Table> {
    /// Tests nodes within the frontier, as far as their rows may be wanted.
    pub(super) fn sift(&mut self, frontier: f64) -> Attempt<()> {
        loop {
            if self.together.is_empty() {
                self.take_together(frontier);
            }
            let Some(node) = self.together.pop() else { return Ok(()) };
            if self.sieve.is_full_before(&node) {
                self.sieve.put_back(node);
                self.together.drain(..).for_each(|node| self.sieve.put_back(node));
                return Ok(());
            }
            self.test_node(node).map_err(of_member(node.node.member()))?;
        }
    }

    /// Takes the nodes that are tested next, and asks for their rows.
    fn take_together(&mut self, frontier: f64) {
        let wanted = (self.sieve.missing() as f64 / self.share()).ceil() as usize;
        let most = wanted.clamp(1, self.most_together);
        self.together.extend(std::iter::from_fn(|| self.sieve.take(frontier)).take(most));
        let mut rows: Vec<(usize, HeapTid)> = Vec::new();
        for Candidate { node, .. } in &self.together {
            let notes = self.members[node.member()].walk.query.notes();
            rows.extend(notes.only_rows.get(&node.link).map(|row| (node.member(), *row)));
        }
        rows.sort_by_key(|(member, _)| *member);
        for of_member in rows.chunk_by(|one, other| one.0 == other.0) {
            let rows: Vec<HeapTid> = of_member.iter().map(|(_, row)| *row).collect();
            self.members[of_member[0].0].table.prefetch(&rows);
        }
        self.together.reverse();
    }

    /// Tests the rows of a node, until one more of them would be too many.
    fn test_node(&mut self, node: Candidate<Place>) -> Result<()> {
        let (number, link) = (node.node.member(), node.node.link);
        let Member { walk, table, begun, late, tested, passed, .. } = &mut self.members[number];
        walk.store().interrupt_point();
        let bounds = Bounds::of(&node);
        let is_outside = Distance(bounds.low) > Distance(self.options.radius);
        let only_row = walk.query.notes().only_rows.get(&link).copied();
        let (mut rows, mut distance, mut has_passed) = match (begun.remove(&link), only_row) {
            (Some((rows, distance)), _) => (rows, Some(distance), true),
            (None, only) => {
                let rows = only.map_or_else(|| HeapTids::of_node(link), HeapTids::of_one);
                (rows, (node.precision == Precision::Exact).then_some(node.distance), false)
            }
        };
        while !is_outside && let Some(heap_tid) = rows.next(&walk.query.index)? {
            let row = table.test(heap_tid);
            *tested += 1;
            let Some(row) = row else { continue };
            *passed += 1;
            has_passed = true;
            let distance = *distance.get_or_insert_with(|| Bounds::exact(table.distance_of(&row)).low);
            let is_late = Distance(distance) < Distance(self.last);
            if is_late && self.options.scan.iterative == IterativeScan::StrictOrder {
                late.try_reserve(1)?;
                late.push(Bounds::exact(distance).hit(heap_tid));
                continue;
            }
            self.sieve.pass(Found { distance, heap_tid, member: number, row: Some(row) })?;
            if !rows.is_empty() && self.sieve.bound().is_some_and(|bound| distance >= bound) {
                // The others are no nearer: a node may have millions.
                begun.try_reserve(1)?;
                begun.insert(link, (rows, distance));
                self.sieve.put_back(Candidate::new(distance, node.node));
                return Ok(());
            }
        }
        if !has_passed && !is_outside {
            self.sieve.fail(&node)?;
        }
        walk.given.try_reserve(1)?;
        walk.given.insert(link);
        Ok(())
    }
}
