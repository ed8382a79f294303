//! The nearest of a list of rows, by codes that stand alone.

use rand::{Rng, SeedableRng, rngs::StdRng};
use rand_distr::StandardNormal;
use walia_core::code::Quantizer;
use walia_core::code::standalone::{self, StandaloneQuery};
use walia_core::rank::{
    Batch, Entries, Radius, RankOptions, RankOrder, RankStats, RankedTable, Ranking, deviations,
};
use walia_core::types::{ElementType, HeapTid, Metric};

const DIMENSIONS: usize = 96;
const METRICS: [Metric; 4] = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1];

/// A row: its vector, unless that is NULL, and whether it passes.
struct Row {
    vector: Option<Vec<f32>>,
    passes: bool,
}

struct List<'a> {
    codes: &'a [Option<Vec<u8>>],
    next: usize,
}

impl Entries for List<'_> {
    fn rewind(&mut self) {
        self.next = 0;
    }

    fn read(&mut self, batch: &mut Batch) -> bool {
        let left = &self.codes[self.next..];
        let read = left.len().min(batch.room());
        for (number, code) in (self.next..).zip(&left[..read]) {
            batch.add(tid(number), code.as_deref());
        }
        self.next += read;
        self.next < self.codes.len()
    }
}

struct Table<'a> {
    rows: &'a [Row],
    query: &'a Option<Vec<f32>>,
    metric: Metric,
    tested: Vec<bool>,
}

impl RankedTable for Table<'_> {
    type Row = usize;

    fn prefetch(&mut self, _: &[HeapTid]) {}

    fn test(&mut self, heap_tid: HeapTid) -> Option<(Option<f64>, usize)> {
        let number = heap_tid.block() as usize;
        self.tested[number] = true;
        let row = &self.rows[number];
        row.passes.then(|| (distance(self.metric, self.query, &row.vector), number))
    }

    fn size(_: &usize) -> usize {
        100
    }
}

fn tid(number: usize) -> HeapTid {
    HeapTid::new(number as u32, 1)
}

/// As SQL has it.
fn distance(metric: Metric, a: &Option<Vec<f32>>, b: &Option<Vec<f32>>) -> Option<f64> {
    let (a, b) = (a.as_ref()?, b.as_ref()?);
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let sum = |term: &dyn Fn(f64) -> f64| a.iter().zip(b).map(|(a, b)| term(f64::from(a - b))).sum::<f64>();
    Some(match metric {
        Metric::L2 => sum(&|difference| difference * difference).sqrt(),
        Metric::L1 | Metric::Hamming => sum(&f64::abs),
        Metric::InnerProduct => -product(a, b),
        Metric::Jaccard => 1.0 - product(a, b) / (product(a, a) + product(b, b) - product(a, b)),
        Metric::Cosine => 1.0 - product(a, b) / (product(a, a) * product(b, b)).sqrt(),
    })
}

fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn quantizer(metric: Metric) -> Quantizer {
    Quantizer::new(standalone::parameters(DIMENSIONS, ElementType::F32, metric, 2), &[0.0; DIMENSIONS])
}

/// Vectors in loose clusters, as embeddings are.
fn vector(rng: &mut StdRng) -> Vec<f32> {
    let cluster = rng.random_range(0..8);
    let mut of_cluster = StdRng::seed_from_u64(cluster);
    let normal = |rng: &mut StdRng| rng.sample::<f32, _>(StandardNormal);
    (0..DIMENSIONS).map(|_| 0.3 + 0.5 * normal(&mut of_cluster) + 0.5 * normal(rng)).collect()
}

struct Set {
    rows: Vec<Row>,
    codes: Vec<Option<Vec<u8>>>,
    query: Option<Vec<f32>>,
}

impl Set {
    fn new(count: usize, seed: u64, passes: impl Fn(usize) -> bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let row = |number| Row { vector: Some(vector(&mut rng)), passes: passes(number) };
        let rows: Vec<_> = (0..count).map(row).collect();
        let query = Some(vector(&mut rng));
        Self { codes: Vec::new(), rows, query }.encoded()
    }

    fn encoded(mut self) -> Self {
        let quantizer = quantizer(Metric::Cosine);
        let code = |row: &Row| Some(standalone::encode(&quantizer, &bytes(row.vector.as_ref()?)));
        self.codes = self.rows.iter().map(code).collect();
        self
    }

    fn ranking(&self, options: RankOptions) -> Ranking<List<'_>, Table<'_>> {
        let query = self.query.as_ref();
        let query = query.map(|query| StandaloneQuery::new(&quantizer(options.metric), &bytes(query)));
        let tested = vec![false; self.rows.len()];
        let table = Table { rows: &self.rows, query: &self.query, metric: options.metric, tested };
        Ranking::new(List { codes: &self.codes, next: 0 }, table, query, options)
    }

    fn first(&self, count: usize, options: RankOptions) -> (Vec<usize>, RankStats) {
        let mut ranking = self.ranking(options);
        let rows = std::iter::from_fn(|| ranking.next_row().unwrap()).take(count).collect();
        (rows, ranking.stats())
    }

    /// All rows that pass, in the right order, and their distances.
    fn exact(&self, options: RankOptions) -> Vec<(Option<f64>, usize)> {
        let RankOrder { nulls_first, undefined_first } = options.order;
        let rows = self.rows.iter().enumerate().filter(|(_, row)| row.passes);
        let mut rows: Vec<_> =
            rows.map(|(number, row)| (distance(options.metric, &self.query, &row.vector), number)).collect();
        let class = |distance: Option<f64>| match distance {
            None => {
                if nulls_first {
                    -2
                } else {
                    2
                }
            }
            Some(distance) if distance.is_nan() => {
                if undefined_first {
                    -1
                } else {
                    1
                }
            }
            Some(_) => 0,
        };
        rows.sort_by(|(a, _), (b, _)| {
            class(*a)
                .cmp(&class(*b))
                .then(a.unwrap_or(0.0).partial_cmp(&b.unwrap_or(0.0)).unwrap_or(std::cmp::Ordering::Equal))
        });
        rows
    }
}

fn options(metric: Metric, wanted: usize) -> RankOptions {
    let order = RankOrder::default();
    RankOptions { metric, deviations: deviations(64), wanted, radius: None, order, memory: 4 << 20 }
}

#[test]
fn the_nearest_are_found_by_measuring_few() {
    for metric in METRICS {
        for (wanted, most) in [(1, 60), (10, 160), (100, 420)] {
            let (mut found, mut tested) = (0, 0);
            for seed in 0..20 {
                let set = Set::new(2000, seed, |_| true);
                let exact: Vec<_> =
                    set.exact(options(metric, wanted)).iter().take(wanted).map(|row| row.1).collect();
                let (rows, stats) = set.first(wanted, options(metric, wanted));
                assert_eq!((rows.len(), stats.entries), (wanted, 2000));
                found += rows.iter().filter(|row| exact.contains(row)).count();
                tested += stats.tested;
            }
            let (recall, tested) = (found as f64 / (20 * wanted) as f64, tested / 20);
            assert!(recall >= 0.97, "{metric:?} {wanted}: recall {recall}");
            // Of L1 the codes say less.
            let most = if metric == Metric::L1 { 4 * most } else { most };
            assert!(tested <= most, "{metric:?} {wanted}: {tested} measured");
        }
    }
}

#[test]
fn rows_that_fail_are_passed_over() {
    for metric in METRICS {
        let set = Set::new(3000, 1, |number| number % 7 == 0);
        let (rows, stats) = set.first(10, options(metric, 10));
        let exact: Vec<_> = set.exact(options(metric, 10)).iter().take(10).map(|row| row.1).collect();
        assert!(rows.iter().filter(|row| exact.contains(row)).count() >= 9, "{metric:?}");
        assert!(stats.failed > 20 && stats.tested < 1000, "{metric:?}: {stats:?}");
    }
}

#[test]
fn every_row_comes_once_and_in_order() {
    // NULL, zero, huge and tiny vectors among the others.
    let mut set = Set::new(1500, 3, |number| number % 11 != 0);
    for (number, row) in set.rows.iter_mut().enumerate() {
        match number % 50 {
            3 => row.vector = None,
            4 => row.vector = Some(vec![0.0; DIMENSIONS]),
            5 => row.vector.as_mut().unwrap().iter_mut().for_each(|value| *value *= 1e17),
            6 => row.vector.as_mut().unwrap().iter_mut().for_each(|value| *value *= 1e-17),
            _ => {}
        }
    }
    let set = set.encoded();
    for metric in METRICS {
        for (nulls_first, undefined_first) in [(false, false), (true, true), (true, false), (false, true)] {
            // Of little memory the list is read many times.
            for memory in [4 << 20, 1 << 12, 0] {
                let order = RankOrder { nulls_first, undefined_first };
                let options = RankOptions { memory, order, ..options(metric, 10) };
                let exact = set.exact(options);
                let (rows, stats) = set.first(usize::MAX, options);
                let mut sorted = rows.clone();
                sorted.sort_unstable();
                let mut all: Vec<_> = exact.iter().map(|row| row.1).collect();
                all.sort_unstable();
                assert_eq!(sorted, all, "{metric:?} {memory}");
                // Not all are kept at first, even where there is memory for them.
                assert_eq!(stats.passes > 2, memory < 4 << 20, "{metric:?} {memory}: {stats:?}");
                // Two runs, each in order: at most one step back.
                let place = |row: usize| exact.iter().position(|(_, other)| *other == row).unwrap();
                let value = |row: usize| exact[place(row)].0;
                let is_back = |pair: &&[usize]| match (value(pair[0]), value(pair[1])) {
                    (Some(a), Some(b)) => a > b,
                    _ => false,
                };
                assert!(rows.windows(2).filter(is_back).count() <= 1, "{metric:?} {memory}");
                let nulls = exact.iter().filter(|(distance, _)| distance.is_none()).count();
                let at = if nulls_first { &rows[..nulls] } else { &rows[rows.len() - nulls..] };
                assert!(at.iter().all(|row| set.rows[*row].vector.is_none()), "{metric:?} {order:?}");
            }
        }
    }
}

#[test]
fn a_radius_ends_the_search() {
    for metric in METRICS {
        let set = Set::new(3000, 5, |_| true);
        let exact = set.exact(options(metric, 10));
        let distance = exact[4].0.unwrap();
        let radius = Some(Radius { distance, undefined: false });
        let mut options = RankOptions { radius, deviations: 4.0, ..options(metric, 10) };
        let mut ranking = set.ranking(options);
        let mut within = 0;
        while let Some(row) = ranking.next_row().unwrap() {
            within += usize::from(exact[..5].iter().any(|(_, other)| *other == row));
        }
        assert_eq!(within, 5, "{metric:?}");
        let tested = ranking.stats().tested;
        assert!(tested < 1200, "{metric:?}: {tested}");
        // A radius that rows without a distance are within ends nothing that would leave them out.
        if metric == Metric::Cosine {
            let mut set = Set::new(300, 6, |_| true);
            set.rows[7].vector = Some(vec![0.0; DIMENSIONS]);
            options.radius = Some(Radius { distance, undefined: true });
            let (rows, _) = set.encoded().first(usize::MAX, options);
            assert!(rows.contains(&7));
        }
    }
}

#[test]
fn a_query_that_is_null_or_zero_gives_every_row() {
    for query in [None, Some(vec![0.0; DIMENSIONS])] {
        let set = Set { query, ..Set::new(500, 8, |_| true) };
        for metric in METRICS {
            assert_eq!(set.first(usize::MAX, options(metric, 10)).0.len(), 500);
        }
    }
}

#[test]
fn more_deviations_for_a_greater_ef_search() {
    assert_eq!(deviations(64), 2.0);
    assert_eq!(deviations(1), 0.0);
    assert!(deviations(40) > 1.6 && deviations(1000) > 3.9);
}

#[test]
fn equal_codes_are_those_of_all_their_rows() {
    // Several rows of each vector, some of which have none, or one of another code.
    let mut set = Set::new(2000, 9, |number| number % 3 != 0);
    for number in 0..2000 {
        let of = number / 7 * 7;
        set.rows[number].vector = if of % 5 == 0 { None } else { set.rows[of].vector.clone() };
    }
    let mut set = set.encoded();
    for code in set.codes.iter_mut().skip(3).step_by(91).flatten() {
        code[0] = 0;
    }
    for metric in METRICS {
        let options = options(metric, 2000);
        let exact: Vec<_> =
            set.exact(options).into_iter().map(|row| row.0.map(|distance| distance as f32)).collect();
        let (rows, _) = set.first(usize::MAX, options);
        let found: Vec<_> = rows
            .iter()
            .map(|row| distance(metric, &set.query, &set.rows[*row].vector).map(|distance| distance as f32))
            .collect();
        assert_eq!(found, exact, "{metric:?}");
        let mut near = set.first(10, RankOptions { wanted: 10, ..options }).0;
        near.retain(|row| {
            distance(metric, &set.query, &set.rows[*row].vector).unwrap() as f32 <= exact[9].unwrap()
        });
        assert!(near.len() >= 9, "{metric:?}");
    }
}
