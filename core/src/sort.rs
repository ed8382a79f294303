//! Sorting that can be interrupted.

/// Items that are sorted at once, in a hundredth of a second or so.
const STEP: usize = 1 << 17;

/// Sorts `items`, and calls `poll` again and again meanwhile, which may unwind.
///
/// What is larger than a step is divided at its median, which takes a fraction of the time of sorting it.
pub(crate) fn sort_unstable<Item: Ord>(items: &mut [Item], poll: &mut impl FnMut()) {
    poll();
    if items.len() <= STEP {
        return items.sort_unstable();
    }
    let (less, _, greater) = items.select_nth_unstable(items.len() / 2);
    sort_unstable(less, poll);
    sort_unstable(greater, poll);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_and_polls_all_the_while() {
        let mut items: Vec<u64> =
            (0..5 * STEP as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1000).collect();
        let mut polls = 0;
        sort_unstable(&mut items, &mut || polls += 1);
        assert!(items.is_sorted());
        assert!(polls >= 8, "{polls}");
    }
}
