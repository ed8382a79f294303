//! Exact distances and neighbours in double precision, and recall by them. Independent of every index under
//! test.

use std::collections::HashSet;
use std::hash::Hasher;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use serde::Serialize;

use crate::dataset::{Dataset, Rows, read_ids, write_ids};

/// Base vectors compared at a time by one thread, so that they stay in the cache while the queries pass.
const BLOCK: usize = 64;
/// Queries whose stated neighbours are checked.
const CHECKED_QUERIES: usize = 16;

/// What "near" means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// 1 − cosine similarity.
    Cosine,
    /// Euclidean distance (squared here).
    L2,
    /// Negative inner product.
    Ip,
    /// Sum of absolute differences.
    L1,
}

impl Metric {
    /// The distance that ranks two vectors; smaller is nearer. Infinite where it is undefined.
    pub fn distance(self, a: &[f32], b: &[f32]) -> f64 {
        self.between(&self.prepare(a), &self.prepare(b))
    }

    /// A vector in double precision; under cosine of length one.
    fn prepare(self, vector: &[f32]) -> Vec<f64> {
        let mut wide: Vec<f64> = vector.iter().copied().map(f64::from).collect();
        if self == Self::Cosine {
            let norm = wide.iter().map(|x| x * x).sum::<f64>().sqrt();
            wide.iter_mut().for_each(|x| *x /= norm);
        }
        wide
    }

    /// The distance of prepared vectors.
    fn between(self, a: &[f64], b: &[f64]) -> f64 {
        let distance = match self {
            Self::Cosine => 1.0 - sum(a, b, |x, y| x * y),
            Self::L2 => sum(a, b, |x, y| (x - y) * (x - y)),
            Self::Ip => -sum(a, b, |x, y| x * y),
            Self::L1 => sum(a, b, |x, y| (x - y).abs()),
        };
        if distance.is_nan() { f64::INFINITY } else { distance }
    }
}

/// Adds `term` of all pairs in eight independent sums, which the compiler turns into vector instructions.
fn sum(a: &[f64], b: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    sums.iter().sum::<f64>() + rest_a.iter().zip(rest_b).map(|(x, y)| term(*x, *y)).sum::<f64>()
}

/// Rows of the `k` nearest base vectors of every query, nearest first.
pub fn nearest<'a>(
    base: &impl Rows,
    queries: impl Iterator<Item = &'a [f32]>,
    metric: Metric,
    k: usize,
) -> Vec<Vec<usize>> {
    let queries: Vec<Vec<f64>> = queries.map(|query| metric.prepare(query)).collect();
    let none = || vec![Vec::with_capacity(k + 1); queries.len()];
    let with_block = |mut nearest: Vec<Vec<_>>, block: usize| {
        let rows = block * BLOCK..base.rows().min((block + 1) * BLOCK);
        let vectors: Vec<_> = rows.clone().map(|row| metric.prepare(&base.row(row))).collect();
        for (query, nearest) in queries.iter().zip(&mut nearest) {
            for (row, vector) in rows.clone().zip(&vectors) {
                keep_nearest(nearest, k, (metric.between(query, vector), row));
            }
        }
        nearest
    };
    // The left ones are of lower rows: of rows that are equally near, the first stay.
    let both = |mut left: Vec<Vec<_>>, right: Vec<Vec<_>>| {
        for (left, right) in left.iter_mut().zip(right) {
            right.into_iter().for_each(|found| keep_nearest(left, k, found));
        }
        left
    };
    let blocks = (0..base.rows().div_ceil(BLOCK)).into_par_iter();
    let nearest = blocks.fold(none, with_block).reduce(none, both);
    nearest.into_iter().map(|found| found.into_iter().map(|(_, row)| row).collect()).collect()
}

/// Puts a row in its place among the `k` nearest so far.
fn keep_nearest(nearest: &mut Vec<(f64, usize)>, k: usize, found: (f64, usize)) {
    if nearest.len() == k && nearest[k - 1].0 <= found.0 {
        return;
    }
    let place = nearest.partition_point(|(distance, _)| *distance <= found.0);
    nearest.insert(place, found);
    nearest.truncate(k);
}

/// How far the `k`-th nearest vector of every query is: what a right answer is judged by.
#[derive(Debug)]
pub struct Truth {
    metric: Metric,
    k: usize,
    /// Exact distance of the k-th nearest, by query.
    kth_distances: Vec<f64>,
    /// Where the neighbours come from, for the report.
    pub source: &'static str,
}

impl Truth {
    /// The dataset's own neighbours where they prove right for this metric, else those in `cache`, else
    /// computed.
    pub fn of<B: Rows>(dataset: &Dataset<B>, metric: Metric, k: usize, cache: Option<&Path>) -> Result<Self> {
        ensure!(k <= dataset.base.rows(), "there are fewer than {k} base vectors");
        if let Some(path) = &dataset.truth {
            let stated =
                read_ids(path, k).and_then(|ids| Self::from_ids(dataset, metric, ids, "the dataset"));
            match stated.and_then(|truth| truth.check(dataset).map(|()| truth)) {
                Ok(truth) => return Ok(truth),
                Err(error) => eprintln!("not using \"{}\": {error:#}", path.display()),
            }
        }
        let cached = cache
            .map(|directory| directory.join(format!("truth-{:016x}.npy", fingerprint(dataset, metric, k))));
        if let Some(path) = cached.as_ref().filter(|path| path.exists()) {
            return read_ids(path, k)
                .and_then(|ids| Self::from_ids(dataset, metric, ids, "the cache"))
                .with_context(|| format!("could not read \"{}\"", path.display()));
        }
        eprintln!("computing the exact neighbours of {} queries", dataset.queries.rows());
        let ids = nearest(&dataset.base, dataset.queries.iter(), metric, k);
        if let Some(path) = &cached {
            save(path, &ids).with_context(|| format!("could not write \"{}\"", path.display()))?;
        }
        Self::from_ids(dataset, metric, ids, "computed")
    }

    fn from_ids<B: Rows>(
        dataset: &Dataset<B>,
        metric: Metric,
        ids: Vec<Vec<usize>>,
        source: &'static str,
    ) -> Result<Self> {
        ensure!(ids.len() >= dataset.queries.rows(), "neighbours of some queries are missing");
        let k = ids[0].len();
        let kth = |(query, ids): (&[f32], &Vec<usize>)| {
            ensure!(ids[k - 1] < dataset.base.rows(), "a neighbour's id is beyond the base vectors");
            Ok(metric.distance(query, &dataset.base.row(ids[k - 1])))
        };
        let kth_distances = dataset.queries.iter().zip(&ids).map(kth).collect::<Result<_>>()?;
        Ok(Self { metric, k, kth_distances, source })
    }

    /// Compares some queries with a search of our own: a file may be of another metric or of other vectors.
    fn check<B: Rows>(&self, dataset: &Dataset<B>) -> Result<()> {
        let step = dataset.queries.rows().div_ceil(CHECKED_QUERIES);
        let checked = || (0..dataset.queries.rows()).step_by(step);
        let queries = checked().map(|query| dataset.queries.row(query));
        for (query, ids) in checked().zip(nearest(&dataset.base, queries, self.metric, self.k)) {
            let kth = self.metric.distance(dataset.queries.row(query), &dataset.base.row(ids[self.k - 1]));
            let stated = self.kth_distances[query];
            ensure!(
                stated <= kth + tolerance(kth) && kth <= stated + tolerance(stated),
                "its neighbours are not the nearest by {:?} distance",
                self.metric
            );
        }
        Ok(())
    }

    /// The part of the `k` nearest that `ids` holds. A row as near as the k-th nearest counts, whichever its
    /// id.
    pub fn recall<B: Rows>(&self, dataset: &Dataset<B>, query: usize, ids: &[usize]) -> f64 {
        let kth = self.kth_distances[query];
        let is_near = |id: &usize| {
            let vector = dataset.base.row(*id);
            self.metric.distance(dataset.queries.row(query), &vector) <= kth + tolerance(kth)
        };
        let right = ids.iter().collect::<HashSet<_>>().into_iter().filter(|id| is_near(id)).count();
        right.min(self.k) as f64 / self.k as f64
    }
}

/// What single precision can confuse at a distance: systems compute in it, and may not be blamed for its
/// ties.
fn tolerance(distance: f64) -> f64 {
    1e-7 + 1e-6 * distance.abs()
}

/// Tells datasets in the cache apart.
fn fingerprint<B: Rows>(dataset: &Dataset<B>, metric: Metric, k: usize) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write_u8(metric as u8);
    hasher.write_usize(k);
    for vectors in [&dataset.base as &dyn Rows, &dataset.queries] {
        hasher.write_usize(vectors.dimensions());
        hasher.write_usize(vectors.rows());
        for row in 0..vectors.rows() {
            vectors.row(row).iter().for_each(|element| hasher.write_u32(element.to_bits()));
        }
    }
    hasher.finish()
}

/// Writes a cache file whole or not at all.
fn save(path: &Path, ids: &[Vec<usize>]) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    write_ids(&unfinished, ids)?;
    Ok(std::fs::rename(unfinished, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Vectors;

    const METRICS: [Metric; 4] = [Metric::Cosine, Metric::L2, Metric::Ip, Metric::L1];

    fn random(dimensions: usize, rows: usize, seed: u64) -> Vectors {
        let mut random = fastrand::Rng::with_seed(seed);
        Vectors::new(dimensions, (0..dimensions * rows).map(|_| random.f32() - 0.5).collect()).unwrap()
    }

    fn dataset() -> Dataset {
        let (base, queries) = (random(19, 300, 1), random(19, 70, 2));
        Dataset { name: "random".into(), base, queries, truth: None }
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        let (a, b) = ([1.0, 2.0, 2.0], [2.0, 0.0, 0.0]);
        assert!((Metric::Cosine.distance(&a, &b) - (1.0 - 1.0 / 3.0)).abs() < 1e-15);
        assert_eq!(Metric::L2.distance(&a, &b), 9.0);
        assert_eq!(Metric::Ip.distance(&a, &b), -2.0);
        assert_eq!(Metric::L1.distance(&a, &b), 5.0);
        assert_eq!(Metric::Cosine.distance(&a, &[0.0; 3]), f64::INFINITY);
    }

    #[test]
    fn nearest_are_the_first_of_a_full_sort() {
        let Dataset { base, queries, .. } = dataset();
        for metric in METRICS {
            for (query, found) in queries.iter().zip(nearest(&base, queries.iter(), metric, 7)) {
                let mut all: Vec<usize> = (0..base.rows()).collect();
                let distance = |row: usize| metric.distance(query, base.row(row));
                all.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
                assert_eq!(found, all[..7]);
            }
        }
    }

    #[test]
    fn recall_counts_the_right_rows_once() {
        let dataset = dataset();
        let truth = Truth::of(&dataset, Metric::L2, 4, None).unwrap();
        let ids = &nearest(&dataset.base, dataset.queries.iter(), Metric::L2, 6)[3];
        assert_eq!(truth.recall(&dataset, 3, &ids[..4]), 1.0);
        assert_eq!(truth.recall(&dataset, 3, &[ids[2], ids[0]]), 0.5);
        assert_eq!(truth.recall(&dataset, 3, &[ids[0], ids[0], ids[4], ids[5]]), 0.25);
        assert_eq!(truth.recall(&dataset, 3, &[]), 0.0);
    }

    #[test]
    fn rows_as_near_as_the_last_count() {
        let base = Vectors::new(1, vec![1.0, 2.0, -2.0, 3.0]).unwrap();
        let queries = Vectors::new(1, vec![0.0]).unwrap();
        let dataset = Dataset { name: "ties".into(), base, queries, truth: None };
        let truth = Truth::of(&dataset, Metric::L2, 2, None).unwrap();
        assert_eq!(truth.recall(&dataset, 0, &[0, 1]), 1.0);
        assert_eq!(truth.recall(&dataset, 0, &[0, 2]), 1.0);
        assert_eq!(truth.recall(&dataset, 0, &[0, 3]), 0.5);
    }

    #[test]
    fn neighbours_are_cached_and_those_of_another_metric_refused() {
        let directory = std::env::temp_dir().join(format!("walia-bench-truth-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut dataset = dataset();
        let source =
            |dataset: &Dataset, metric| Truth::of(dataset, metric, 5, Some(&directory)).unwrap().source;
        assert_eq!(source(&dataset, Metric::L1), "computed");
        assert_eq!(source(&dataset, Metric::L1), "the cache");
        let stated = directory.join("truth.npy");
        write_ids(&stated, &nearest(&dataset.base, dataset.queries.iter(), Metric::L2, 5)).unwrap();
        dataset.truth = Some(stated);
        assert_eq!(source(&dataset, Metric::L2), "the dataset");
        assert_eq!(source(&dataset, Metric::Ip), "computed");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
