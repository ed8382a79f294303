//! What is known of the server: plain data and arithmetic, without a connection and without a screen.

pub mod histogram;
pub mod map;
pub mod pulse;
pub mod searches;
pub mod tasks;

/// A fact about the server that a session asks once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// As Postgres tells it, `18.1`.
    pub version: String,
    pub major: i32,
    pub database: String,
    pub role: String,
    pub block_size: i64,
    /// The extension's version, if the database has it.
    pub walia: Option<String>,
    /// The extension's schema, quoted.
    pub schema: String,
    /// Whether the extension has `walia_stat_indexes`.
    pub has_statistics: bool,
    /// The upper bounds, in milliseconds, of the buckets of its `latency`; none where that does not count all
    /// sessions.
    pub latency_bounds: Vec<f64>,
}

/// An index of walia's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    pub oid: u32,
    pub name: String,
    pub table_oid: u32,
    pub table: String,
    pub is_valid: bool,
    /// As the catalog has it: what VACUUM or ANALYZE saw.
    pub pages: i64,
    pub searches: i64,
    pub inserts: Option<i64>,
    pub pages_hit: i64,
    pub pages_read: i64,
    pub links_healed: Option<i64>,
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    /// Row versions of the table that are dead, as Postgres's statistics say.
    pub dead_rows: i64,
    /// Counts of searches by their time.
    pub latency: Vec<i64>,
}

/// What `walia_info` says of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    pub nodes: i64,
    pub tombstones: i64,
    pub unreachable: i64,
    pub drift: Option<f64>,
    pub reindex_recommended: bool,
    /// The server's time of day.
    pub clock: String,
}

/// What `walia_recall` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Recall {
    /// None where the table has no rows.
    pub recall: Option<f64>,
    pub samples: i32,
    pub median_ms: Option<f64>,
    pub clock: String,
}

/// What came of a question that is asked on demand.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked<T> {
    Waiting,
    Answered(T),
    Failed(String),
}
