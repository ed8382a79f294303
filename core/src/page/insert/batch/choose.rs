//! The choice of a node's neighbours. Threads make it: it reads no page.

use super::chosen::{Around, Chosen, Found, Neighbour};
use super::near::Near;
use crate::graph::{Candidate, EditableGraph};
use crate::page::query::schema::Schema;
use crate::page::query::vectors::Known;
use crate::types::Result;
use hashbrown::HashMap;

/// Chooses the neighbours of a node that was searched for, among nodes on pages that were found and those
/// that the node has in the batch.
pub(super) fn choose<Graph: EditableGraph>(
    graph: &Graph,
    schema: &Schema,
    near: &Near,
    found: Found,
) -> Result<Chosen> {
    let Found { node, payload, vector, layers, rows_taken } = found;
    let around = (0..).zip(layers);
    let layers = around.map(|(layer, around)| among(graph, schema, near, &vector, layer, around));
    let layers = layers.collect::<Result<_>>()?;
    Ok(Chosen { node, payload, vector: vector.into_vector(), layers, rows_taken })
}

fn among<Graph: EditableGraph>(
    graph: &Graph,
    schema: &Schema,
    near: &Near,
    vector: &Known,
    layer: u8,
    Around { on_pages, of_batch }: Around,
) -> Result<Vec<(Neighbour, Vec<u8>)>> {
    let (mut vectors, mut buffer) = (Vec::with_capacity(of_batch.len()), Vec::new());
    let (mut known, mut numbers) = (HashMap::new(), HashMap::new());
    let mut candidates = Vec::with_capacity(on_pages.len() + of_batch.len());
    for candidate in on_pages {
        // Nodes that are gone are left out.
        let Some(on_page) = near.get(schema, candidate.node) else { continue };
        let neighbour = Neighbour::Placed(candidate.node);
        candidates.push(candidate.with_node(neighbour));
        known.insert(neighbour, on_page);
    }
    for (neighbour, other) in of_batch {
        // Neighbours that have given their rows to one node are one.
        if numbers.insert(neighbour, other).is_none() && !known.contains_key(&neighbour) {
            // Its payload will tell nearly the same vector.
            let other_vector = graph.vector(other, &mut buffer)?.to_vec();
            vectors.push((neighbour, schema.known_vector(other_vector, true, graph.level(other))));
        }
    }
    for (neighbour, of_batch) in &vectors {
        candidates.push(Candidate::new(schema.between(vector, of_batch), *neighbour));
        known.insert(*neighbour, of_batch);
    }
    candidates.sort_unstable();
    let chosen = schema.select(&candidates, layer, |neighbour| known.get(&neighbour).copied())?;
    let coded = chosen.iter().filter_map(|Candidate { node: neighbour, .. }| {
        let of_batch = numbers.get(neighbour).map(|other| graph.code(*other));
        let code = of_batch.or_else(|| known.get(neighbour).map(|known| known.code(schema)))?;
        Some((*neighbour, code.to_vec()))
    });
    Ok(coded.collect())
}
