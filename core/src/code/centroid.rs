//! The centroid of vectors, and how far they have moved away from one.

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
        let variance = self.squares / self.count.max(1) as f64 - sum(means.len(), |i| means[i] * means[i]);
        // Equal vectors leave rounding errors.
        (variance > 1e-12 * self.squares / self.count.max(1) as f64).then(|| rest / variance)
    }

    fn means(&self) -> impl Iterator<Item = f64> {
        let count = self.count.max(1) as f64;
        self.sums.iter().map(move |sum| sum / count)
    }
}
