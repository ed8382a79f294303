//! A node's neighbours on one layer, as atomic words that are read while they are written.

use crate::graph::{Candidate, Neighbours};
use crate::kernel::prefetch;
use std::sync::atomic::{AtomicU32, Ordering};

/// A neighbour list: how many neighbours there are (low half) and how many of them are diverse (high half);
/// the neighbours, diverse ones first; a [`Scale`]; and their distances by it, two a word.
///
/// Readers take no lock. They may see a list of which only a part has changed: a neighbour twice, or missing,
/// or one that was just displaced. All of these are nodes of the layer, so that a search merely takes another
/// way. What a reader must never see is a node whose vector is not there, hence each number is stored with
/// release and loaded with acquire. The count never falls, and is stored after the places that it covers.
#[derive(Clone, Copy)]
pub(super) struct List<'a> {
    head: &'a AtomicU32,
    nodes: &'a [AtomicU32],
    scale: &'a [AtomicU32],
    distances: &'a [AtomicU32],
}

impl<'a> List<'a> {
    /// Words of a list of at most `max` neighbours.
    pub(super) const fn words(max: usize) -> usize {
        1 + max + 2 + max.div_ceil(2)
    }

    /// A list in its words, of as many neighbours at most as these are made for by [`List::words`].
    pub(super) fn new(words: &'a [AtomicU32]) -> Self {
        let (nodes, others) = words[1..].split_at((words.len() - 3) * 2 / 3);
        let (scale, distances) = others.split_at(2);
        debug_assert_eq!(distances.len(), nodes.len().div_ceil(2));
        Self { head: &words[0], nodes, scale, distances }
    }

    /// Asks for the list's memory.
    pub(super) fn prefetch(self) {
        prefetch(std::slice::from_ref(self.head));
        prefetch(self.nodes);
    }

    /// The neighbours.
    pub(super) fn nodes(self) -> impl Iterator<Item = u32> + use<'a> {
        let len = self.head.load(Ordering::Acquire) & 0xffff;
        self.nodes[..len as usize].iter().map(|node| node.load(Ordering::Acquire))
    }

    /// Whether diverse neighbours are told apart, or there are none.
    pub(super) fn is_divided(self) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        head >> 16 > 0 || head == 0
    }

    /// Reads the list under its node's lock.
    pub(super) fn read(self, neighbours: &mut Neighbours<u32>) {
        let diverse = self.head.load(Ordering::Relaxed) >> 16;
        let scale = Scale::of_words([0, 1].map(|word| self.scale[word].load(Ordering::Relaxed)));
        let mut candidates = self.nodes().enumerate().map(|(place, node)| {
            let pair = self.distances[place / 2].load(Ordering::Relaxed);
            Candidate::new(scale.distance((pair >> (place % 2 * 16)) as u16), node)
        });
        neighbours.diverse.clear();
        neighbours.diverse.extend(candidates.by_ref().take(diverse as usize));
        neighbours.pruned.clear();
        neighbours.pruned.extend(candidates);
    }

    /// Writes the list under its node's lock, or before its node can be reached.
    pub(super) fn write(self, neighbours: &Neighbours<u32>) {
        let scale = Scale::of(neighbours);
        for (word, part) in self.scale.iter().zip(scale.words()) {
            word.store(part, Ordering::Relaxed);
        }
        for (candidate, node) in neighbours.iter().zip(self.nodes) {
            node.store(candidate.node, Ordering::Release);
        }
        let mut marks = neighbours.iter().map(|candidate| u32::from(scale.mark(candidate.distance)));
        for pair in self.distances {
            let Some(mark) = marks.next() else { break };
            pair.store(mark | marks.next().unwrap_or(0) << 16, Ordering::Relaxed);
        }
        let head = neighbours.diverse.len() << 16 | neighbours.len();
        self.head.store(head as u32, Ordering::Release);
    }
}

/// Distances of a list in 16 bits each. They only say which neighbour gives way to a new one, and take half
/// of the memory so, in which more nodes find a place.
///
/// A mark on the scale is how far a distance is from that of the neighbour whose place is in the middle, in
/// parts of a power of two that none exceeds: as a float with a sign, 5 bits of exponent and 10 of mantissa.
/// Where most distances are, they are told apart even if all are large, and whatever lies far off on either
/// side. Whole numbers that differ by no more than 2048 stay what they are, and so which of them are equal.
/// Others are rounded again when the middle or the power changes, each time by a 2048th of what they differ
/// from the middle, at most, or by 2⁻⁴¹ of the power.
#[derive(Clone, Copy)]
struct Scale {
    middle: f32,
    /// What one part is: a power of two, of which [`Scale::MOST`] make the one that no difference exceeds.
    part: f64,
}

impl Scale {
    /// 2⁻⁹⁶. Of floats from 0 to this one, the 3 bits after the sign are 0; and 13 at the end are left out.
    const MOST: f32 = f32::from_bits(0x0f80_0000);
    const SIGN: u32 = 1 << 31;
    const UNDEFINED: u16 = 0x7fff;
    const INFINITE: u16 = 0x7ffe;

    /// Of a list.
    fn of(neighbours: &Neighbours<u32>) -> Self {
        let middle = neighbours.iter().nth(neighbours.len() / 2).map_or(0.0, |candidate| candidate.distance);
        let middle = if (middle as f32).is_finite() { middle as f32 } else { 0.0 };
        let off = |candidate: &Candidate<u32>| (candidate.distance - f64::from(middle)).abs();
        let most = neighbours.iter().map(off).filter(|off| off.is_finite());
        let most = most.fold(f64::from(f32::MIN_POSITIVE), f64::max);
        // The next power of two: no bit of the mantissa.
        let fraction = (1 << (f64::MANTISSA_DIGITS - 1)) - 1;
        let power = f64::from_bits((most.to_bits() + fraction) & !fraction);
        Self { middle, part: power / f64::from(Self::MOST) }
    }

    fn of_words([middle, part]: [u32; 2]) -> Self {
        Self { middle: f32::from_bits(middle), part: f64::from_bits(u64::from(part) << 32) }
    }

    /// A power of two is known by the upper half of its bits.
    fn words(self) -> [u32; 2] {
        [self.middle.to_bits(), (self.part.to_bits() >> 32) as u32]
    }

    /// The mark of a distance.
    fn mark(self, distance: f64) -> u16 {
        if !distance.is_finite() {
            let sign = if distance == f64::NEG_INFINITY { 1 << 15 } else { 0 };
            return if distance.is_nan() { Self::UNDEFINED } else { sign | Self::INFINITE };
        }
        let parts = ((distance - f64::from(self.middle)) / self.part) as f32;
        // Half of what is left out is added, to round.
        let size = (parts.to_bits() & !Self::SIGN) + (1 << 12);
        ((parts.to_bits() & Self::SIGN) >> 16 | size >> 13) as u16
    }

    /// The distance of a mark.
    fn distance(self, mark: u16) -> f64 {
        match mark & 0x7fff {
            Self::UNDEFINED => f64::NAN,
            Self::INFINITE if mark >> 15 > 0 => f64::NEG_INFINITY,
            Self::INFINITE => f64::INFINITY,
            size => {
                let sign = u32::from(mark) << 16 & Self::SIGN;
                let parts = f32::from_bits(sign | u32::from(size) << 13);
                f64::from(self.middle) + f64::from(parts) * self.part
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{List, Neighbours};
    use crate::graph::Candidate;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use std::sync::atomic::AtomicU32;

    /// Writes these distances, of which so many are of diverse neighbours, and reads them.
    fn kept(distances: &[f64], diverse: usize, words: &[AtomicU32]) -> Vec<f64> {
        let all: Vec<_> =
            (7..).zip(distances).map(|(node, distance)| Candidate::new(*distance, node)).collect();
        let (diverse, pruned) = all.split_at(diverse);
        let mut neighbours = Neighbours { diverse: diverse.to_vec(), pruned: pruned.to_vec() };
        let list = List::new(words);
        list.write(&neighbours);
        list.read(&mut neighbours);
        assert_eq!(neighbours.diverse.len(), diverse.len());
        assert!(neighbours.iter().map(|candidate| candidate.node).eq(7..7 + distances.len() as u32));
        assert!(neighbours.iter().map(|candidate| candidate.node).eq(list.nodes()));
        neighbours.iter().map(|candidate| candidate.distance).collect()
    }

    fn words(max: usize, random: &mut StdRng) -> Vec<AtomicU32> {
        (0..List::words(max)).map(|_| AtomicU32::new(random.random())).collect()
    }

    /// Distances keep their order, stay where they were but for a 2048th of what they differ from the middle
    /// one, however far the others are, and do not move when they are written again.
    #[test]
    fn distances_that_are_kept() {
        let mut random = StdRng::seed_from_u64(1);
        for round in 0..2000 {
            let max = random.random_range(2..40);
            let words = words(max, &mut random);
            let nearest = [0.0, 1e-3, -250.0, 1e6][round % 4];
            let spread = [1e-4f64, 1.0, 1e9][round % 3];
            let mut distances: Vec<f64> = (0..random.random_range(1..=max))
                .map(|_| nearest + spread * 2f64.powi(-random.random_range(0..40)) * random.random::<f64>())
                .map(|distance| f64::from(distance as f32))
                .collect();
            if round % 5 == 0 {
                // One that is much nearer than all others.
                distances[0] = f64::from((nearest - spread) as f32);
            }
            distances.sort_by(f64::total_cmp);
            let diverse = random.random_range(0..=distances.len());
            let middle = distances[distances.len() / 2];
            let most = (distances[distances.len() - 1] - middle).max(middle - distances[0]);
            let read = kept(&distances, diverse, &words);
            assert!(read.is_sorted());
            for (read, distance) in read.iter().zip(&distances) {
                let off = (distance - middle).abs().max(most * 2f64.powi(-28));
                assert!((read - distance).abs() <= off / 2047.0, "{read} for {distance} of {distances:?}");
            }
            assert_eq!(kept(&read, diverse, &words), read);
        }
    }

    /// Of whole numbers none moves, whatever comes and goes.
    #[test]
    fn whole_numbers_stay() {
        let mut random = StdRng::seed_from_u64(2);
        let words = words(32, &mut random);
        let mut distances: Vec<f64> = (0..32).map(|_| random.random_range(0..2048).into()).collect();
        for _ in 0..2000 {
            distances[random.random_range(0..32)] = random.random_range(0..2048).into();
            distances.sort_by(f64::total_cmp);
            assert_eq!(kept(&distances, 11, &words), distances);
        }
    }

    /// What has no distance, or one beyond all numbers, is kept, and the rest does not suffer.
    #[test]
    fn distances_that_are_no_numbers() {
        let words = words(5, &mut StdRng::seed_from_u64(3));
        for distances in [
            &[1.0, 1.5, 2.0, f64::NAN, f64::NAN][..],
            &[1.0, f64::NAN],
            &[f64::NAN],
            &[],
            &[0.0; 4],
            &[f64::NEG_INFINITY, -3.0, -2.0, 1.5, f64::INFINITY],
            &[-3.0, f64::INFINITY, f64::INFINITY, f64::INFINITY],
        ] {
            for diverse in 0..=distances.len() {
                let read = kept(distances, diverse, &words);
                assert!(
                    read.iter().zip(distances).all(|(a, b)| a.total_cmp(b).is_eq()),
                    "{read:?} for {distances:?}"
                );
            }
        }
        let read = kept(&[-3e38, -1e38, 0.0, 1e38, 3e38], 2, &words);
        assert!(read.is_sorted_by(|a, b| a < b));
    }
}
