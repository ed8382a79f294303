//! Expanded nodes of all members on their way to be results: which are to be tested next, and the nearest
//! rows that have passed.

use crate::graph::{Candidate, Distance, Precision};
use crate::types::{HeapTid, Link, Result};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A node of one of the members.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub link: Link,
    member: u32,
}

impl Place {
    /// The number of its member.
    pub fn member(self) -> usize {
        self.member as usize
    }
}

/// A row that has passed.
pub(super) struct Found<Row> {
    /// Exact, as the index ranks it.
    pub distance: f64,
    pub heap_tid: HeapTid,
    /// Of which member.
    pub member: usize,
    /// What the test has made of it; `None` where it is to be tested again before it is given.
    pub row: Option<Row>,
}

/// What a walk has expanded, in the order of distances.
pub(super) struct Sieve<Row> {
    /// By what their distances are at least.
    untested: BinaryHeap<Reverse<(Distance, Candidate<Place>)>>,
    /// Live nodes that were expanded.
    nodes: usize,
    /// Rows that this round wants.
    wanted: usize,
    /// The nearest of them, as far as they have been found; the furthest is first.
    passed: BinaryHeap<Found<Row>>,
    /// Rows that have passed and are further than these.
    surplus: Vec<Found<Row>>,
    /// Nodes that have failed, the furthest first, and those that are further than what this round wants.
    failed: BinaryHeap<Distance>,
    beyond: Vec<Distance>,
    /// Rows of the rounds before.
    given: usize,
}

impl<Row> Sieve<Row> {
    /// Nothing expanded, so many rows wanted.
    pub fn new(wanted: usize) -> Self {
        Self {
            untested: BinaryHeap::new(),
            nodes: 0,
            wanted: wanted.max(1),
            passed: BinaryHeap::new(),
            surplus: Vec::new(),
            failed: BinaryHeap::new(),
            beyond: Vec::new(),
            given: 0,
        }
    }

    /// Adds live nodes of a member that were expanded.
    pub fn add(&mut self, member: usize, expanded: Vec<Candidate<Link>>) -> Result<()> {
        self.nodes += expanded.len();
        self.untested.try_reserve(expanded.len())?;
        let place = |node: &Candidate<Link>| Place { link: node.node, member: member as u32 };
        let nodes = expanded.into_iter().map(|node| node.with_node(place(&node)));
        self.untested.extend(nodes.map(|node| Reverse((least(&node), node))));
        Ok(())
    }

    /// Puts a node back that was taken and has not, or not wholly, been tested.
    pub fn put_back(&mut self, node: Candidate<Place>) {
        self.untested.push(Reverse((least(&node), node)));
    }

    /// Takes the nearest node that was not tested, if it is within a distance, and as long as it may be among
    /// what is wanted.
    pub fn take(&mut self, frontier: f64) -> Option<Candidate<Place>> {
        let Reverse((least, next)) = self.untested.peek()?;
        let is_due = *least <= Distance(frontier) && !self.is_full_before(next);
        if is_due { self.untested.pop().map(|Reverse((_, next))| next) } else { None }
    }

    /// Whether all that is wanted is known to be as near as this node.
    pub fn is_full_before(&self, node: &Candidate<Place>) -> bool {
        self.bound().is_some_and(|bound| least(node) >= Distance(bound))
    }

    /// Takes note of a node of which no row has passed.
    pub fn fail(&mut self, node: &Candidate<Place>) -> Result<()> {
        self.failed.try_reserve(1)?;
        self.failed.push(Distance(node.distance));
        Ok(())
    }

    /// Adds a row that has passed.
    pub fn pass(&mut self, found: Found<Row>) -> Result<()> {
        self.passed.try_reserve(1)?;
        self.passed.push(found);
        if self.passed.len() > self.wanted
            && let Some(furthest) = self.passed.pop()
        {
            self.surplus.try_reserve(1)?;
            // Rows that are wanted later may be many: they are read again.
            self.surplus.push(Found { row: None, ..furthest });
        }
        Ok(())
    }

    /// Rows of this round that have not been found.
    pub fn missing(&self) -> usize {
        self.wanted - self.passed.len()
    }

    /// The distance of the last row that is wanted; `None` while there are fewer.
    pub fn bound(&self) -> Option<f64> {
        self.passed.peek().filter(|_| self.missing() == 0).map(|furthest| furthest.distance)
    }

    /// Rows that are wanted with those of all rounds before.
    pub fn wanted_in_all(&self) -> usize {
        self.given + self.wanted
    }

    /// Live nodes that were expanded.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// The place of the last row that is wanted among all that were tested, where nodes that failed count
    /// once.
    pub fn rank(&mut self) -> usize {
        if let Some(bound) = self.bound() {
            while self.failed.peek().is_some_and(|failed| *failed > Distance(bound)) {
                self.beyond.extend(self.failed.pop());
            }
        }
        self.given + self.passed.len() + self.failed.len()
    }

    /// Ends the round: its rows, nearest last.
    pub fn take_passed(&mut self) -> Vec<Found<Row>> {
        let mut rows = std::mem::take(&mut self.passed).into_sorted_vec();
        rows.reverse();
        self.given += rows.len();
        rows
    }

    /// Begins a round for so many more rows.
    pub fn want_more(&mut self, wanted: usize) -> Result<()> {
        self.wanted = wanted;
        self.failed.try_reserve(self.beyond.len())?;
        self.failed.extend(self.beyond.drain(..));
        let mut surplus = std::mem::take(&mut self.surplus);
        surplus.drain(..).try_for_each(|found| self.pass(found))
    }

    /// Forgets everything but the rows that have passed and were not given, which it gives in no order.
    pub fn take_rest(&mut self) -> impl Iterator<Item = Found<Row>> {
        let (passed, surplus) = (std::mem::take(&mut self.passed), std::mem::take(&mut self.surplus));
        *self = Self::new(1);
        passed.into_iter().chain(surplus)
    }
}

/// What the distance of a node is at least, as far as it is worth a test. Where payloads lie apart only
/// estimates are known, and an error that is rare is not for the nodes around the last row.
fn least(node: &Candidate<Place>) -> Distance {
    const RARE: f64 = 3.0;
    let least = match node.precision {
        Precision::Exact => node.distance,
        Precision::Within(error) => node.distance - f64::from(error),
        Precision::Estimated(doubt) => node.distance - RARE * f64::from(doubt),
    };
    Distance(least)
}

impl<Row> Ord for Found<Row> {
    fn cmp(&self, other: &Self) -> Ordering {
        let rows = || (self.heap_tid, self.member).cmp(&(other.heap_tid, other.member));
        self.distance.total_cmp(&other.distance).then_with(rows)
    }
}

impl<Row> PartialOrd for Found<Row> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<Row> PartialEq for Found<Row> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<Row> Eq for Found<Row> {}
