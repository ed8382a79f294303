//! The extensions under test: what differs between them is a list of names.

use crate::exact::Metric;
use crate::options::Storage;

/// An extension, and how it spells the same work.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// Name in reports, and of the table.
    pub name: &'static str,
    /// Name for CREATE EXTENSION.
    pub extension: &'static str,
    /// Type of the column, without its dimension.
    pub column_type: &'static str,
    /// Index access method.
    pub access_method: &'static str,
    /// The part of the operator class between the type and `_ops`.
    metric_name: &'static str,
    /// Distance operator.
    pub operator: &'static str,
    /// The setting that trades time for recall.
    pub ef_search: &'static str,
    /// Hash partitions of the table; 1 for a table that has none.
    pub partitions: usize,
}

impl System {
    /// walia's own index.
    pub fn walia(metric: Metric, storage: Storage) -> Self {
        let column_type = match storage {
            Storage::Vecf32 => "vecf32",
            Storage::Vecf16 => "vecf16",
        };
        let operator = if metric == Metric::Cosine { "<~>" } else { operator(metric) };
        Self {
            name: "walia",
            extension: "walia",
            column_type,
            access_method: "walia_hnsw",
            metric_name: metric_name(metric),
            operator,
            ef_search: "walia.ef_search",
            partitions: 1,
        }
    }

    /// The same with a table in so many hash partitions.
    pub fn partitioned(self, partitions: usize) -> Self {
        Self { name: "walia_partitioned", partitions, ..self }
    }

    /// pgvector's hnsw.
    pub fn pgvector(metric: Metric, storage: Storage) -> Self {
        let column_type = match storage {
            Storage::Vecf32 => "vector",
            Storage::Vecf16 => "halfvec",
        };
        Self {
            name: "pgvector",
            extension: "vector",
            column_type,
            access_method: "hnsw",
            metric_name: metric_name(metric),
            operator: operator(metric),
            ef_search: "hnsw.ef_search",
            partitions: 1,
        }
    }

    /// Operator class of the index.
    pub fn operator_class(&self) -> String {
        format!("{}_{}_ops", self.column_type, self.metric_name)
    }

    /// Table of this system.
    pub fn table(&self) -> String {
        format!("walia_bench.{}", self.name)
    }

    /// Index on it, without its schema.
    pub fn index(&self) -> String {
        format!("{}_index", self.name)
    }

    /// The query under test: `$1` is the vector.
    pub fn nearest_query(&self, k: usize) -> String {
        format!("SELECT id FROM {} ORDER BY vec {} $1 LIMIT {k}", self.table(), self.operator)
    }
}

fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "cosine",
        Metric::L2 => "l2",
        Metric::Ip => "ip",
        Metric::L1 => "l1",
    }
}

fn operator(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "<=>",
        Metric::L2 => "<->",
        Metric::Ip => "<#>",
        Metric::L1 => "<+>",
    }
}
