//! How long insertions take in a graph of any size, from how long they took in a small one.

/// The time of an insertion: it grows with the logarithm of the nodes that are there, by the longer search
/// and by what finds no place in the processor's caches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Nodes of the graph that was measured.
    nodes: f64,
    /// Seconds that an insertion took at its end.
    seconds: f64,
    /// Seconds that it takes more with every doubling of the nodes.
    growth: f64,
}

impl Pace {
    /// Growth at least and at most, as a part of the time itself.
    const LEAST: f64 = 0.06;
    const MOST: f64 = 0.35;
    /// Where growth is not known, the time is as the logarithm of the nodes for each so many. In a small
    /// graph searches soon meet all that there is: its insertions take little.
    const FIRST: f64 = 60.0;
    const LEAST_DOUBLINGS: f64 = 3.0;

    /// From how many nodes a graph had at some moments, and the seconds since its beginning; `None` where
    /// there was none.
    pub fn of(moments: &[(u32, f64)]) -> Option<Self> {
        // Each stretch says what an insertion took in its middle.
        let starts = [(0, 0.0)].into_iter().chain(moments.iter().copied());
        let stretches: Vec<_> = starts
            .zip(moments)
            .filter(|((start, _), (end, _))| start < end)
            .map(|((start, since), (end, until))| {
                let (weight, middle) = (f64::from(end - start), f64::from(start + (end - start).div_ceil(2)));
                (weight, middle.log2(), (until - since).max(0.0) / weight)
            })
            .collect();
        let sum =
            |term: &dyn Fn(&(f64, f64, f64)) -> f64| stretches.iter().map(|s| s.0 * term(s)).sum::<f64>();
        let weight = sum(&|_| 1.0);
        if weight == 0.0 {
            return None;
        }
        let (middle, mean) = (sum(&|s| s.1) / weight, sum(&|s| s.2) / weight);
        let spread = sum(&|s| (s.1 - middle) * (s.1 - middle));
        let slope = sum(&|s| (s.1 - middle) * (s.2 - mean));
        let usual = mean / (middle - Self::FIRST.log2()).max(Self::LEAST_DOUBLINGS);
        let slope = if spread > 0.0 { slope / spread } else { usual };
        // Half of it is experience: a second's measurement says less about growth than about time.
        let growth = ((slope + usual) / 2.0).clamp(Self::LEAST * mean, Self::MOST * mean);
        let nodes = f64::from(moments.iter().map(|moment| moment.0).max()?);
        Some(Self { nodes, seconds: mean + growth * (nodes.log2() - middle), growth })
    }

    /// Seconds that the insertion of nodes takes that make a graph of `from` nodes one of `to`.
    pub fn seconds(&self, from: f64, to: f64) -> f64 {
        let until = |nodes: f64| {
            // The integral of the time of an insertion, which is never below nothing.
            let least = self.nodes * (-self.seconds / self.growth).exp2();
            let term =
                |x: f64| x * (self.seconds + self.growth * ((x / self.nodes).log2() - 1.0 / 2f64.ln()));
            if nodes > least { term(nodes) - term(least) } else { 0.0 }
        };
        if self.growth > 0.0 {
            (until(to) - until(from)).max(0.0)
        } else {
            self.seconds * (to - from).max(0.0)
        }
    }

    /// As many times more, or less, a build may well take: the further from the graph that was measured, the
    /// more.
    pub fn error(&self, nodes: f64) -> f64 {
        1.2 + 0.03 * (nodes / self.nodes).log2().max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    /// The moments of a build whose insertions take `base` and `growth` more for each doubling from 1000 on.
    fn moments(base: f64, growth: f64) -> Vec<(u32, f64)> {
        let mut seconds = 0.0;
        let mut moments = Vec::new();
        for node in 1..=8000u32 {
            seconds += (base + growth * (f64::from(node) / 1000.0).log2()).max(0.0);
            if [1000, 2000, 4000, 8000].contains(&node) {
                moments.push((node, seconds));
            }
        }
        moments
    }

    #[test]
    fn tells_the_time_of_the_graph_that_was_measured() {
        for growth in [0.0, 1e-5, 3e-5] {
            let moments = moments(1e-4, growth);
            let (told, real) = (Pace::of(&moments).unwrap().seconds(0.0, 8000.0), moments[3].1);
            assert!((told / real - 1.0).abs() < 0.1, "{told} of {real} at {growth}");
        }
    }

    #[test]
    fn tells_the_time_of_larger_graphs() {
        for growth in [0.7e-5, 1.5e-5, 2.5e-5] {
            let pace = Pace::of(&moments(1e-4, growth)).unwrap();
            let real: f64 = (1..1_000_000).map(|x| 1e-4 + growth * (f64::from(x) / 1000.0).log2()).sum();
            let told = pace.seconds(0.0, 1e6);
            assert!((1.0 / 1.3..1.3).contains(&(told / real)), "{told} of {real} at {growth}");
            let halves = pace.seconds(0.0, 3e5) + pace.seconds(3e5, 1e6);
            assert!((halves / told - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn tells_nothing_of_nothing() {
        assert_eq!(Pace::of(&[]), None);
        assert_eq!(Pace::of(&[(0, 1.0)]), None);
        let one = Pace::of(&[(1, 1e-4)]).unwrap();
        assert!(one.seconds(0.0, 1.0).is_finite() && one.seconds(0.0, 1e6) > 0.0);
    }
}
