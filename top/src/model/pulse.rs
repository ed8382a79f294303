//! The pulse: what the server did in each interval, from counters that only grow.

use std::collections::VecDeque;

/// Values that are kept of each series: ten minutes of seconds.
const KEPT: usize = 600;

/// Intervals after which statistics that have not caught up were reset.
const MOST_WAITS: u32 = 5;

/// What counters said at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// The server's clock, in seconds.
    pub at: f64,
    pub read_bytes: Option<i64>,
    pub written_bytes: Option<i64>,
    pub wal_bytes: Option<i64>,
    pub searches: Option<i64>,
    pub inserts: Option<i64>,
    /// Pages of indexes that searches found in shared buffers, and that they did not.
    pub pages_hit: Option<i64>,
    pub pages_read: Option<i64>,
}

/// Values of the last minutes, the newest last; None where nothing was known.
#[derive(Debug, Default)]
pub struct Series(VecDeque<Option<f64>>);

impl Series {
    fn push(&mut self, value: Option<f64>) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The newest value.
    pub fn last(&self) -> Option<f64> {
        self.0.back().copied().flatten()
    }

    /// The newest values, as many as there is room for, the newest last.
    pub fn newest(&self, count: usize) -> Vec<Option<f64>> {
        let missing = count.saturating_sub(self.0.len());
        let known = self.0.iter().skip(self.0.len().saturating_sub(count)).copied();
        std::iter::repeat_n(None, missing).chain(known).collect()
    }
}

/// What the server does, second by second.
#[derive(Debug, Default)]
pub struct Pulse {
    before: Option<Counters>,
    /// Intervals since inserts became fewer.
    waits: u32,
    pub reads: Series,
    pub writes: Series,
    pub wal: Series,
    pub searches: Series,
    pub inserts: Series,
    /// The share of pages of indexes that were in shared buffers, in percent.
    pub hits: Series,
    pub p50: Series,
    pub p99: Series,
}

impl Pulse {
    /// Takes what counters say now, and the latency of searches since the last time.
    pub fn add(&mut self, mut now: Counters, p50: Option<f64>, p99: Option<f64>) {
        // Rows of an import are counted as under way until it ends, and by the statistics some moments later.
        let most = self.before.as_ref().and_then(|before| before.inserts);
        let is_less = now.inserts < most;
        self.waits = if is_less { self.waits + 1 } else { 0 };
        if is_less && self.waits <= MOST_WAITS {
            now.inserts = most;
        }
        let before = self.before.replace(now.clone());
        let rate = |of: fn(&Counters) -> Option<i64>| {
            let before = before.as_ref()?;
            let (seconds, grown) = (now.at - before.at, of(&now)? - of(before)?);
            // Counters that went back were reset.
            (seconds > 0.0 && grown >= 0).then(|| grown as f64 / seconds)
        };
        self.reads.push(rate(|counters| counters.read_bytes));
        self.writes.push(rate(|counters| counters.written_bytes));
        self.wal.push(rate(|counters| counters.wal_bytes));
        self.searches.push(rate(|counters| counters.searches));
        self.inserts.push(rate(|counters| counters.inserts));
        let hits = rate(|counters| counters.pages_hit).zip(rate(|counters| counters.pages_read));
        let share = |(hit, read): (f64, f64)| (hit + read > 0.0).then(|| 100.0 * hit / (hit + read));
        self.hits.push(hits.and_then(share));
        self.p50.push(p50);
        self.p99.push(p99);
    }

    /// An interval without a server: what comes next is not compared with what was before.
    pub fn miss(&mut self) {
        self.before = None;
        for series in [
            &mut self.reads,
            &mut self.writes,
            &mut self.wal,
            &mut self.searches,
            &mut self.inserts,
            &mut self.hits,
            &mut self.p50,
            &mut self.p99,
        ] {
            series.push(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(at: f64, searches: i64) -> Counters {
        Counters { at, searches: Some(searches), ..Counters::default() }
    }

    #[test]
    fn rates_are_differences_by_time() {
        let mut pulse = Pulse::default();
        pulse.add(counters(10.0, 100), None, None);
        assert_eq!(pulse.searches.last(), None);
        pulse.add(counters(12.0, 150), Some(1.5), Some(3.0));
        assert_eq!(pulse.searches.last(), Some(25.0));
        assert_eq!((pulse.p50.last(), pulse.p99.last()), (Some(1.5), Some(3.0)));
        // Not known at all.
        assert_eq!(pulse.wal.last(), None);
    }

    #[test]
    fn hits_are_a_share() {
        let mut pulse = Pulse::default();
        let pages = |at, hit, read| Counters {
            at,
            pages_hit: Some(hit),
            pages_read: Some(read),
            ..Counters::default()
        };
        pulse.add(pages(1.0, 100, 100), None, None);
        pulse.add(pages(2.0, 190, 110), None, None);
        assert_eq!(pulse.hits.last(), Some(90.0));
        // Nothing was asked for.
        pulse.add(pages(3.0, 190, 110), None, None);
        assert_eq!(pulse.hits.last(), None);
    }

    #[test]
    fn an_import_ends_without_a_leap() {
        let mut pulse = Pulse::default();
        let inserts = |at, inserts| Counters { at, inserts: Some(inserts), ..Counters::default() };
        for (at, count) in [(1.0, 0), (2.0, 1000), (3.0, 500), (4.0, 1200)] {
            pulse.add(inserts(at, count), None, None);
        }
        assert_eq!(pulse.inserts.newest(3), [Some(1000.0), Some(0.0), Some(200.0)]);
        // A reset is believed in the end.
        for second in 0..7 {
            pulse.add(inserts(5.0 + f64::from(second), 10 + 2 * i64::from(second)), None, None);
        }
        assert_eq!(pulse.inserts.newest(7).last(), Some(&Some(2.0)));
    }

    #[test]
    fn a_reset_and_a_restart_give_no_rate() {
        let mut pulse = Pulse::default();
        pulse.add(counters(10.0, 100), None, None);
        pulse.add(counters(11.0, 3), None, None);
        assert_eq!(pulse.searches.last(), None);
        pulse.add(counters(12.0, 5), None, None);
        assert_eq!(pulse.searches.last(), Some(2.0));
        pulse.miss();
        pulse.add(counters(60.0, 100), None, None);
        assert_eq!(pulse.searches.newest(6), [None, None, None, Some(2.0), None, None]);
    }

    #[test]
    fn old_values_are_dropped() {
        let mut series = Series::default();
        (0..KEPT + 5).for_each(|number| series.push(Some(number as f64)));
        assert_eq!(series.0.len(), KEPT);
        assert_eq!(series.newest(2), [Some(KEPT as f64 + 3.0), Some(KEPT as f64 + 4.0)]);
    }
}
