//! Which link of a full list gives way to a new one, decided from the codes in the list without another page being read.
//!
//! Imports `node`, and of the other modules `code` and `graph`.

use super::node::Slots;
use crate::code::{CodeQuery, Quantizer};
use crate::graph::{Candidate, Neighbours};
use crate::types::Result;

/// Algorithm 4 over estimates: of the links in `slots`, all taken, and a new one, the place of the link that is left out;
/// `None` when it is the new one.
///
/// `owner` is the query of the list's node, `new` that of the node to be linked to, `distance` the two nodes' distance.
/// Links are measured from both by their codes, and from each other by two codes: unbiased too, and less precise.
pub(super) fn prune(
    quantizer: &Quantizer,
    slots: Slots,
    owner: &CodeQuery,
    new: &CodeQuery,
    distance: f64,
) -> Result<Option<usize>> {
    let count = slots.len();
    let estimates = |query: &CodeQuery| {
        let mut estimates = Vec::with_capacity(count.into());
        if let Some(codes) = slots.codes() {
            query.estimate_all(codes, slots.stride(), count.into(), &mut estimates);
        }
        estimates
    };
    // The new link's place is the one after the last.
    let mut candidates: Vec<Candidate<u16>> = estimates(owner)
        .iter()
        .zip(0..)
        .map(|(distance, place)| Candidate::new(f64::from(*distance), place, true))
        .chain([Candidate::new(distance, count, true)])
        .collect();
    candidates.sort_unstable();
    // A row of the distances between links is needed once one of them has been chosen.
    let mut rows: Vec<Option<Vec<f32>>> = vec![None; usize::from(count) + 1];
    rows[usize::from(count)] = Some(estimates(new));
    let between = |candidate: u16, chosen: u16| {
        let (row, place) = if candidate == count { (candidate, chosen) } else { (chosen, candidate) };
        let row = rows[usize::from(row)]
            .get_or_insert_with(|| estimates(&quantizer.query_of_code(slots.code(row))));
        Ok(f64::from(row[usize::from(place)]))
    };
    let chosen = Neighbours::select(&candidates, count.into(), between)?;
    let is_chosen = |place: u16| chosen.iter().any(|candidate| candidate.node == place);
    let left_out = (0..count).find(|place| !is_chosen(*place)).map(usize::from);
    Ok(left_out.filter(|_| is_chosen(count)))
}
