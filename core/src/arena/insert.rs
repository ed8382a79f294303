//! Insertion of rows into the graph, by any number of threads (the paper's algorithm 1).

use super::fetched::Fetched;
use super::{Arena, ArenaQuery, Marks};
use crate::graph::{BuiltGraph, Candidate, EntryPoint, LayerSearch, Neighbours, Purpose, choose_neighbours};
use crate::types::{Error, Result};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Locks on neighbour lists: a node's is that of its number's low bits. Many more than threads, so that two
/// rarely meet.
const LOCKS: usize = 4096;
/// Nodes that are inserted one at a time. Threads that insert together do not see each other's nodes: in a
/// graph of a few nodes that would leave them badly linked.
const FIRST_NODES: u32 = 256;

/// What the threads that insert into an [`Arena`] share.
pub(super) struct Inserter {
    pub(super) arena: Arena,
    locks: Vec<Mutex<()>>,
    /// Held by a node that will become the entry point while it is inserted.
    entry_lock: Mutex<()>,
    inserted: AtomicU32,
    stop: AtomicBool,
    /// Why a thread has stopped the build.
    failure: OnceLock<Error>,
    /// What no task uses at the moment.
    workspaces: Mutex<Vec<Workspace>>,
}

/// What a task needs to insert nodes: made once a thread and not once a task, since marks are as many as
/// nodes.
struct Workspace {
    marks: Marks,
    scratch: Neighbours<u32>,
    fetched: Fetched,
}

impl Inserter {
    pub(super) fn new(arena: Arena) -> Self {
        Self {
            arena,
            locks: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            entry_lock: Mutex::new(()),
            inserted: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            failure: OnceLock::new(),
            workspaces: Mutex::default(),
        }
    }

    /// Counts a node that was taken over from another graph.
    pub(super) fn adopt(&mut self) {
        self.arena.adopted += 1;
        *self.inserted.get_mut() += 1;
    }

    /// Nodes in the graph.
    pub(super) fn inserted(&self) -> u32 {
        self.inserted.load(Ordering::Acquire)
    }

    /// Whether the build is to end without a result.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Ends the build soon.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Ends the build soon, for this reason if there was none before: who sees that it has stopped sees why.
    pub(super) fn fail(&self, failure: Error) {
        self.failure.get_or_init(|| failure);
        self.stop();
    }

    /// An error where a thread had to stop the build.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// Inserts nodes, unless the build is stopped. A failure stops it, since nobody would insert the rest.
    pub(super) fn insert_all(&self, nodes: Range<u32>) {
        let stop = StopOnDrop(self);
        match self.try_insert_all(nodes) {
            Ok(()) => std::mem::forget(stop),
            Err(failure) => self.fail(failure),
        }
    }

    fn try_insert_all(&self, nodes: Range<u32>) -> Result<()> {
        let idle = lock(&self.workspaces).pop();
        let Workspace { marks, mut scratch, mut fetched } = idle.unwrap_or_else(|| Workspace {
            marks: Marks::default(),
            scratch: Neighbours { diverse: Vec::new(), pruned: Vec::new() },
            fetched: Fetched::default(),
        });
        let mut search = LayerSearch::new(marks, Purpose::Insertion);
        for node in nodes {
            if self.is_stopped() {
                break;
            }
            let query = ArenaQuery::of_node(&self.arena, node, fetched)?;
            self.insert(node, &query, &mut search, &mut scratch)?;
            fetched = query.into_fetched();
            // Release: who sees that all nodes are inserted sees their links.
            self.inserted.fetch_add(1, Ordering::Release);
        }
        lock(&self.workspaces).push(Workspace { marks: search.into_visited(), scratch, fetched });
        Ok(())
    }

    fn insert<'a>(
        &'a self,
        node: u32,
        query: &ArenaQuery<'a>,
        search: &mut LayerSearch<ArenaQuery<'a>>,
        scratch: &mut Neighbours<u32>,
    ) -> Result<()> {
        let arena = &self.arena;
        let level = arena.level(node);
        let rises = || arena.entry_point().is_none_or(|entry| level > entry.level);
        let entry_guard = (self.inserted() < FIRST_NODES || rises()).then(|| lock(&self.entry_lock));
        let distance_between = |a, b| Ok(query.distance_between(a, b));
        let chosen = choose_neighbours(query, search, &arena.parameters, level, |_| true, distance_between)?;
        // The node's own links first: once a neighbour links to it, searches come by.
        for (layer, neighbours) in (0..).zip(&chosen.layers) {
            arena.list(node, layer).write(neighbours);
        }
        for (layer, neighbours) in (0..).zip(&chosen.layers) {
            for neighbour in neighbours.iter() {
                let back_link = Candidate { node, ..*neighbour };
                self.link(neighbour.node, layer, back_link, query, scratch)?;
            }
        }
        if entry_guard.is_some() && rises() {
            arena.set_entry_point(EntryPoint { node, level });
        }
        Ok(())
    }

    /// Offers `node` a neighbour, whose query measures it.
    ///
    /// All distances are measured that estimates leave in doubt: in tight clusters far from the centroid,
    /// where neighbours differ by less than estimates err, some nodes would be pruned from all lists in which
    /// a search could find them.
    fn link(
        &self,
        node: u32,
        layer: u8,
        neighbour: Candidate<u32>,
        query: &ArenaQuery,
        scratch: &mut Neighbours<u32>,
    ) -> Result<()> {
        let arena = &self.arena;
        let list = arena.list(node, layer);
        let _guard = lock(&self.locks[node as usize % LOCKS]);
        arena.measure_list(node, layer)?;
        list.read(scratch);
        // A node that could already be found may have been linked by a later one.
        if scratch.iter().any(|present| present.node == neighbour.node) {
            return Ok(());
        }
        // One of the two is always the neighbour that is offered.
        let is_nearer = |candidate: &Candidate<u32>, other| {
            let other = if candidate.node == neighbour.node { other } else { candidate.node };
            query.is_within(other, candidate.distance)
        };
        scratch.offer(neighbour, arena.parameters.max_links(layer), is_nearer)?;
        list.write(scratch);
        Ok(())
    }
}

/// The mutexes guard no data of their own, or a list that is whole at any time, so that a panic leaves
/// nothing half done behind them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct StopOnDrop<'a>(&'a Inserter);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
