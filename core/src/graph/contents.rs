//! How much an index is to hold, before it is built.

/// The rows of an index by where they go, as far as sizes depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Distinct vectors in the graph.
    pub nodes: u64,
    /// Rows in the graph whose vector another row has, too.
    pub duplicates: u64,
    /// Rows outside of the graph.
    pub asides: u64,
    /// Bytes of a vector in the graph, on average.
    pub vector_size: usize,
}

impl Contents {
    /// All rows.
    pub fn rows(&self) -> u64 {
        self.nodes + self.duplicates + self.asides
    }

    /// The same for the first part of the rows.
    pub fn part(&self, share: f64) -> Self {
        let part = |count| (count as f64 * share).ceil() as u64;
        Self {
            nodes: part(self.nodes),
            duplicates: part(self.duplicates),
            asides: part(self.asides),
            ..*self
        }
    }
}
