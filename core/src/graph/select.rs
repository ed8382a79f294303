//! Choice of neighbours (the paper's algorithm 4).

use super::Candidate;
use crate::types::Result;

/// A node's neighbours on one layer, as algorithm 4 divides them. Both lists are nearest first.
#[derive(Clone, Debug)]
pub struct Neighbours<Node> {
    /// Neighbours nearer to the node than to every diverse neighbour before them: links spread over
    /// directions rather than crowd into one cluster.
    pub diverse: Vec<Candidate<Node>>,
    /// The paper's keepPrunedConnections: the nearest of the others, in places that would be free. They cost
    /// nothing on a page whose slots are there anyway.
    pub pruned: Vec<Candidate<Node>>,
}

impl<Node: Copy + Ord> Neighbours<Node> {
    /// Chooses at most `max` of `candidates` (nearest first) as neighbours of the node they were measured
    /// from.
    pub fn select(
        candidates: &[Candidate<Node>],
        max: usize,
        mut distance_between: impl FnMut(Node, Node) -> Result<f64>,
    ) -> Result<Self> {
        let mut is_nearer = |candidate: &Candidate<Node>, node| {
            Ok(distance_between(candidate.node, node)? <= candidate.distance)
        };
        let mut chosen = Self { diverse: Vec::with_capacity(max.min(candidates.len())), pruned: Vec::new() };
        for candidate in candidates {
            if chosen.diverse.len() == max {
                break;
            }
            if is_diverse(candidate, &chosen.diverse, &mut is_nearer)? {
                chosen.diverse.push(*candidate);
            } else if chosen.pruned.len() < max {
                chosen.pruned.push(*candidate);
            }
        }
        chosen.pruned.truncate(max - chosen.diverse.len());
        Ok(chosen)
    }

    /// Offers one more candidate, which may displace the furthest pruned neighbour; with none of those, the
    /// furthest.
    ///
    /// `is_nearer` tells whether one of the candidates is as near to a node as to the node that they were
    /// measured from, or nearer; one of the two is always the candidate that is offered. It is asked for each
    /// diverse neighbour at most, where choosing again would ask for all pairs. The one difference: a pruned
    /// neighbour stays pruned when what it was nearer to is pruned now.
    pub fn offer(
        &mut self,
        candidate: Candidate<Node>,
        max: usize,
        mut is_nearer: impl FnMut(&Candidate<Node>, Node) -> Result<bool>,
    ) -> Result<()> {
        let place = self.diverse.partition_point(|neighbour| *neighbour < candidate);
        if is_diverse(&candidate, &self.diverse[..place], &mut is_nearer)? {
            self.diverse.insert(place, candidate);
            let mut further = place + 1;
            while let Some(neighbour) = self.diverse.get(further) {
                if is_diverse(neighbour, &[candidate], &mut is_nearer)? {
                    further += 1;
                } else {
                    let neighbour = self.diverse.remove(further);
                    self.insert_pruned(neighbour);
                }
            }
        } else {
            self.insert_pruned(candidate);
        }
        if self.len() > max && self.pruned.pop().is_none() {
            self.diverse.pop();
        }
        Ok(())
    }

    /// All neighbours, the diverse ones first.
    pub fn iter(&self) -> impl Iterator<Item = &Candidate<Node>> {
        self.diverse.iter().chain(&self.pruned)
    }

    /// Number of neighbours.
    pub fn len(&self) -> usize {
        self.diverse.len() + self.pruned.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn insert_pruned(&mut self, candidate: Candidate<Node>) {
        let place = self.pruned.partition_point(|neighbour| *neighbour < candidate);
        self.pruned.insert(place, candidate);
    }
}

/// Whether `candidate` is nearer to the node it was measured from than to each of `chosen`.
fn is_diverse<Node: Copy>(
    candidate: &Candidate<Node>,
    chosen: &[Candidate<Node>],
    is_nearer: &mut impl FnMut(&Candidate<Node>, Node) -> Result<bool>,
) -> Result<bool> {
    for neighbour in chosen {
        if is_nearer(candidate, neighbour.node)? {
            return Ok(false);
        }
    }
    Ok(true)
}
