//! Which links of a full list give way to new ones, decided from the codes in the list without another page
//! being read.

#[cfg(test)]
mod tests;

use crate::code::{CodeQuery, Quantizer};
use crate::graph::{Candidate, Neighbours};
use crate::page::format::places::Places;
use crate::types::{Link, Result};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The share of an estimate's standard deviation by which prejudice is broken, see [`prune`].
const JITTER: f32 = 0.25;

/// Whose list it is.
pub(super) struct Owner {
    pub node: Link,
    /// Its vector, as a query.
    pub query: CodeQuery,
}

/// The node that the new link leads to.
pub(super) struct New<'c> {
    pub node: Link,
    pub code: &'c [u8],
}

/// Algorithm 4 over estimates among the links in `places`, all taken, and new ones: the places of links that
/// are left out, and which of the new ones take them.
///
/// Links are measured from the owner of the list by their codes, and from each other by two codes: unbiased
/// too, and less precise.
///
/// Vectors that are very near to each other have equal codes, and all lists misjudge them alike. So a new
/// link is measured as the others are, though more is known of it: a better distance would always win among
/// them, or always lose. And distances from the owner get a little noise that differs from list to list, or
/// else no list would keep the node that is misjudged most.
pub(super) fn prune(
    quantizer: &Quantizer,
    places: Places,
    owner: &Owner,
    new: &[New],
) -> Result<Vec<(u16, usize)>> {
    let count = places.len();
    // The new links' places are those after the last.
    let code = |place: u16| match place.checked_sub(count) {
        Some(number) => new[usize::from(number)].code,
        None => places.code(place),
    };
    let estimates = |query: &CodeQuery| {
        let mut estimates = Vec::with_capacity(usize::from(count) + new.len());
        if let Some(codes) = places.codes() {
            query.estimate_all(codes, places.stride(), count.into(), &mut estimates);
        }
        estimates.extend(new.iter().map(|new| query.estimate(new.code)));
        estimates
    };
    let seed = bytemuck::cast(owner.node);
    let candidate = |(place, (link, estimate)): (u16, (Link, f32))| {
        let uniform = xxh3_64_with_seed(bytemuck::bytes_of(&link), seed) as f32 / u64::MAX as f32;
        let distance = estimate + uniform * JITTER * owner.query.deviation(code(place));
        Candidate::new(f64::from(distance), place)
    };
    let links = places.all().chain(new.iter().map(|new| new.node));
    let mut candidates: Vec<_> = (0..).zip(links.zip(estimates(&owner.query))).map(candidate).collect();
    candidates.sort_unstable();
    // A row of the distances between links is needed once one of them has been chosen.
    let mut rows: Vec<Option<Vec<f32>>> = vec![None; candidates.len()];
    let between = |candidate: u16, chosen: u16| {
        let row = rows[usize::from(chosen)]
            .get_or_insert_with(|| estimates(&quantizer.query_of_code(code(chosen))));
        Ok(f64::from(row[usize::from(candidate)]))
    };
    let chosen = Neighbours::select(&candidates, count.into(), between)?;
    let is_chosen = |place: u16| chosen.iter().any(|candidate| candidate.node == place);
    let left_out = (0..count).filter(|place| !is_chosen(*place));
    Ok(left_out.zip((0..new.len()).filter(|number| is_chosen(count + *number as u16))).collect())
}
