//! A table of entries: which belongs to which index.
//!
//! An entry is looked for in [`WINDOW`] places from where the key hashes to, without a lock. One is given to
//! an index under a lock of the caller's, where it is not there yet: a free one, or one whose index is gone.
//! Nothing is freed before: an index that is dropped need not be told of, and a drop may be rolled back. So
//! the memory is what it is, and where a window is full of living indexes there is no entry for another one.
//!
//! Who counts has its index open, so that its file exists, and nobody takes its entry away.

use super::Entry;
use super::key::{Key, WORDS};
use xxhash_rust::xxh3::xxh3_64;

/// Entries that are looked at.
const WINDOW: usize = 64;

/// The entries that may belong to an index.
fn window<'e>(entries: &'e [Entry], key: &Key) -> impl Iterator<Item = &'e Entry> {
    let mut bytes = [0; WORDS * 4];
    bytes.chunks_exact_mut(4).zip(key.0).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
    let first = xxh3_64(&bytes) as usize % entries.len().max(1);
    entries[first..].iter().chain(&entries[..first]).take(WINDOW)
}

/// The entry of an index.
pub fn find<'e>(entries: &'e [Entry], key: &Key) -> Option<&'e Entry> {
    window(entries, key).find(|entry| entry.key() == Some(*key))
}

/// The entry of an index, perhaps a new one, which counts from now on; `None` where there is no room. The
/// caller sees to it that no other process calls this meanwhile, and says whether an index is gone.
pub fn find_or_make<'e>(
    entries: &'e [Entry],
    key: &Key,
    now: i64,
    is_gone: impl Fn(&Key) -> bool,
) -> Option<&'e Entry> {
    if let Some(entry) = find(entries, key) {
        return Some(entry);
    }
    let free = window(entries, key).find(|entry| entry.key().is_none());
    let gone = || window(entries, key).find(|entry| entry.key().is_some_and(|key| is_gone(&key)));
    let entry = free.or_else(gone)?;
    entry.key.clear();
    entry.reset(now);
    entry.key.set(key);
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::super::Counter;
    use super::*;
    use std::collections::HashSet;

    const ENTRIES: usize = 256;

    fn key(number: u32) -> Key {
        Key([5, 1663, number, number, u32::MAX])
    }

    fn empty() -> Vec<Entry> {
        (0..ENTRIES).map(|_| Entry::default()).collect()
    }

    /// Makes an entry while these indexes exist, and counts one insertion more there than there was.
    fn count<'e>(entries: &'e [Entry], number: u32, existing: &HashSet<Key>) -> Option<&'e Entry> {
        let entry = find_or_make(entries, &key(number), number.into(), |key| !existing.contains(key))?;
        entry.add(Counter::Inserts, 1);
        Some(entry)
    }

    #[test]
    fn thousands_of_indexes_come_and_go() {
        let entries = empty();
        let mut existing = HashSet::new();
        for number in 1..20_000 {
            existing.insert(key(number));
            let counts = count(&entries, number, &existing).expect("room").counts();
            // What belonged to another is gone.
            assert_eq!((counts.since, counts.get(Counter::Inserts)), (number.into(), 1));
            // Up to 100 live at a time.
            if number > 100 {
                existing.remove(&key(number - 100));
            }
            if number % 1000 == 0 {
                let living = existing.iter().filter(|key| find(&entries, key).is_some()).count();
                assert_eq!(living, existing.len());
            }
        }
        assert_eq!(count(&entries, 19_999, &existing).unwrap().counts().get(Counter::Inserts), 2);
    }

    #[test]
    fn a_full_table_takes_no_more_and_loses_none() {
        let entries = empty();
        let mut existing: HashSet<Key> = (0..1000).map(key).collect();
        let taken: Vec<u32> =
            (0..1000).filter(|number| count(&entries, *number, &existing).is_some()).collect();
        assert_eq!(taken.len(), ENTRIES);
        let holders: HashSet<_> = entries.iter().filter_map(Entry::key).collect();
        assert_eq!(holders, taken.iter().map(|number| key(*number)).collect());
        assert!(count(&entries, 5000, &existing).is_none());
        // As soon as some are gone, there is room.
        taken.iter().step_by(4).for_each(|number| assert!(existing.remove(&key(*number))));
        assert!(count(&entries, 5000, &existing).is_some());
        let rest = taken.iter().filter(|number| existing.contains(&key(**number)));
        assert!(rest.into_iter().all(|number| find(&entries, &key(*number)).is_some()));
    }

    #[test]
    fn nobody_finds_an_entry_half_way_to_another_index() {
        let entries = [Entry::default()];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (1..200_000).for_each(|number| {
                    let other = Key([number; WORDS]);
                    find_or_make(&entries, &other, 0, |_| true).expect("gone");
                });
            });
            for _ in 0..200_000 {
                let Some(Key(words)) = entries[0].key() else { continue };
                assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
            }
        });
    }
}
