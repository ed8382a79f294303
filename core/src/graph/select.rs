//! Choice of neighbours (the paper's algorithm 4).

use super::Candidate;
use crate::types::Result;

/// Chooses at most `max` of `candidates` (nearest first) as neighbours of the node they were measured from.
///
/// Algorithm 4: a candidate is taken when it is nearer to the node than to every neighbour taken before, so that links
/// spread over directions rather than crowd into one cluster. Then, as the paper's keepPrunedConnections, the nearest of
/// the others fill the free places: they cost nothing on a page whose slots are there anyway.
pub fn select_neighbors<Node: Copy>(
    candidates: &[Candidate<Node>],
    max: usize,
    mut distance_between: impl FnMut(Node, Node) -> Result<f64>,
) -> Result<Vec<Candidate<Node>>> {
    if candidates.len() <= max {
        return Ok(candidates.to_vec());
    }
    let mut chosen: Vec<Candidate<Node>> = Vec::with_capacity(max);
    let mut pruned = Vec::new();
    for candidate in candidates {
        if chosen.len() == max {
            break;
        }
        let mut diverse = true;
        for neighbour in &chosen {
            if distance_between(candidate.node, neighbour.node)? <= candidate.distance {
                diverse = false;
                break;
            }
        }
        if diverse {
            chosen.push(*candidate);
        } else {
            pruned.push(*candidate);
        }
    }
    chosen.extend(pruned.into_iter().take(max - chosen.len()));
    Ok(chosen)
}
