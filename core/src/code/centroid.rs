//! The centroid of vectors, how far they have moved away from one, and what of them stands for all.

use std::collections::BTreeMap;

use super::encode::read;
use super::{dot, sum};
use crate::types::{ElementType, Metric, Parameters};

/// Sums over vectors: over their directions under cosine, where codes are those of directions.
pub struct Moments {
    element: ElementType,
    metric: Metric,
    /// Of the elements.
    sums: Vec<f64>,
    /// Of the squared norms.
    squares: f64,
    count: u64,
    values: Vec<f32>,
}

impl Moments {
    /// Of no vectors yet.
    pub fn new(parameters: &Parameters) -> Self {
        let Parameters { element, metric, .. } = *parameters;
        let dimensions = parameters.dimensions;
        Self {
            element,
            metric,
            sums: vec![0.0; dimensions],
            squares: 0.0,
            count: 0,
            values: vec![0.0; dimensions],
        }
    }

    /// Adds a vector: little-endian elements of the column's type. Zero vectors have no direction, and are
    /// left out under cosine.
    pub fn add(&mut self, vector: &[u8]) {
        read(vector, self.element, &mut self.values);
        let squares = dot(&self.values, &self.values);
        let (scale, squares) = match self.metric {
            Metric::Cosine if squares == 0.0 => return,
            Metric::Cosine => (squares.sqrt().recip(), 1.0),
            _ => (1.0, squares),
        };
        for (sum, value) in self.sums.iter_mut().zip(&self.values) {
            *sum += scale * f64::from(*value);
        }
        self.squares += squares;
        self.count += 1;
    }

    /// The mean, which makes the best codes as their centroid; zero where there are no vectors.
    pub fn mean(&self) -> Vec<f32> {
        self.means().map(|mean| mean as f32).collect()
    }

    /// How much more the rests that codes keep hold with this centroid than with the mean, which makes the
    /// square of an estimate's error greater by the same share: `‖rest of the mean‖² / E‖o − mean‖²`. See the
    /// module's page for rests.
    ///
    /// `None` where the vectors do not differ.
    pub fn drift(&self, centroid: &[f32]) -> Option<f64> {
        let means: Vec<f64> = self.means().collect();
        let along = match self.metric {
            Metric::L2 | Metric::L1 | Metric::Hamming => 1.0,
            Metric::InnerProduct | Metric::Cosine | Metric::Jaccard => {
                let squares = dot(centroid, centroid);
                let product = sum(means.len(), |i| means[i] * f64::from(centroid[i]));
                if squares > 0.0 { product / squares } else { 0.0 }
            }
        };
        let rest = sum(means.len(), |i| (means[i] - along * f64::from(centroid[i])).powi(2));
        self.variance().map(|variance| rest / variance)
    }

    /// The mean of the squared distances from the mean; `None` where the vectors do not differ.
    fn variance(&self) -> Option<f64> {
        let squares = self.squares / self.count.max(1) as f64;
        let variance = squares - self.means().map(|mean| mean * mean).sum::<f64>();
        // Equal vectors leave rounding errors.
        (variance > 1e-12 * squares).then_some(variance)
    }

    /// Takes in the vectors of another one.
    fn absorb(&mut self, other: &Self) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, more)| *sum += more);
        self.squares += other.squares;
        self.count += other.count;
    }

    fn means(&self) -> impl Iterator<Item = f64> {
        let count = self.count.max(1) as f64;
        self.sums.iter().map(move |sum| sum / count)
    }
}

/// A sample of the vectors that an index is to hold. Far outliers in it have no say: one of 10⁶ among
/// thousands of length 1 would take the centroid away from all others, whose codes then tell nothing.
pub struct Sample {
    parameters: Parameters,
    /// By the squared norm, a class for each factor of 64.
    classes: BTreeMap<i32, Moments>,
    values: Vec<f32>,
}

impl Sample {
    /// Of no vectors yet.
    pub fn new(parameters: &Parameters) -> Self {
        Self { parameters: *parameters, classes: BTreeMap::new(), values: Vec::new() }
    }

    /// Adds a vector: little-endian elements of the column's type.
    pub fn add(&mut self, vector: &[u8]) {
        self.values.resize(self.parameters.dimensions, 0.0);
        read(vector, self.parameters.element, &mut self.values);
        let squares = match self.parameters.metric {
            Metric::Cosine => 1.0,
            _ => dot(&self.values, &self.values),
        };
        // A zero vector has the lowest class of all.
        let class = (squares.log2() / 6.0).floor() as i32;
        self.classes.entry(class).or_insert_with(|| Moments::new(&self.parameters)).add(vector);
    }

    /// The mean of those that are not far outliers, which makes the best codes as their centroid; zero where
    /// there are no vectors.
    pub fn centroid(&self) -> Vec<f32> {
        self.typical().mean()
    }

    /// How much of a vector binary16 loses, some 2⁻¹² of its length, beside what vectors differ by: much
    /// where they lie close together and far from the origin.
    pub fn lost_in_f16(&self) -> f64 {
        if self.classes.is_empty() {
            return 0.0;
        }
        let typical = self.typical();
        let squares = typical.squares / typical.count as f64;
        match typical.variance() {
            _ if squares == 0.0 => 0.0,
            Some(variance) => (squares / variance).sqrt() / 4096.0,
            None => f64::INFINITY,
        }
    }

    /// Nine tenths of the vectors by length, and those that are hardly longer.
    fn typical(&self) -> Moments {
        let all: u64 = self.classes.values().map(|moments| moments.count).sum();
        let mut typical = Moments::new(&self.parameters);
        let mut last = None;
        for (class, moments) in &self.classes {
            if last.is_some_and(|last| *class > last + 1) {
                break;
            }
            typical.absorb(moments);
            if last.is_none() && typical.count * 10 >= all * 9 {
                last = Some(*class);
            }
        }
        typical
    }
}
