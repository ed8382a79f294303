//! Which parts of a reserve of memory are in use.
//!
//! The memory itself belongs to whoever uses this: walia's allocator in a Postgres backend.

/// The units of a reserve, as many as there are bits in `WORDS` words; a bit is set where a unit is in use.
pub struct Units<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Units<WORDS> {
    /// How many there are.
    pub const COUNT: usize = WORDS * u64::BITS as usize;

    /// All of them free.
    pub const fn new() -> Self {
        Self([0; WORDS])
    }

    /// Takes the first free run of so many units, and returns where it begins; `None` where there is none.
    pub fn take(&mut self, count: usize) -> Option<usize> {
        let mut start = 0;
        let mut unit = 0;
        while unit < Self::COUNT && unit - start < count {
            let rest = self.0[unit / 64] >> (unit % 64);
            if rest == 0 {
                unit = (unit / 64 + 1) * 64;
            } else {
                let free = rest.trailing_zeros() as usize;
                unit += free;
                if unit - start < count {
                    unit += (!(rest >> free)).trailing_zeros() as usize;
                    start = unit;
                }
            }
        }
        let found = start + count <= Self::COUNT && unit - start >= count;
        found.then(|| {
            self.flip(start, count);
            start
        })
    }

    /// Gives back a run that was taken.
    pub fn give_back(&mut self, start: usize, count: usize) {
        self.flip(start, count);
    }

    fn flip(&mut self, start: usize, count: usize) {
        for unit in start..start + count {
            self.0[unit / 64] ^= 1 << (unit % 64);
        }
    }
}

impl<const WORDS: usize> Default for Units<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Units;
    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};

    /// Against a list of booleans: what is given overlaps nothing that is in use, and is the first that there
    /// is.
    #[test]
    fn first_free_runs() {
        const COUNT: usize = 192;
        let mut random = StdRng::seed_from_u64(1);
        let mut units = Units::<3>::new();
        let (mut used, mut taken) = ([false; COUNT], Vec::new());
        for _ in 0..20_000 {
            if random.random_bool(0.5) {
                let count = *[1, 2, 3, 7, 63, 64, 65, 130, 192, 193].choose(&mut random).unwrap();
                let first = (0..(COUNT + 1).saturating_sub(count))
                    .find(|start| used[*start..start + count].iter().all(|used| !used));
                assert_eq!(units.take(count), first);
                if let Some(start) = first {
                    used[start..start + count].fill(true);
                    taken.push((start, count));
                }
            } else if !taken.is_empty() {
                let (start, count) = taken.swap_remove(random.random_range(0..taken.len()));
                units.give_back(start, count);
                used[start..start + count].fill(false);
            }
        }
    }
}
