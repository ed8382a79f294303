//! The command line.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use postgres::Config;
use serde::Serialize;

use crate::exact::Metric;

/// Measures walia, and pgvector beside it, on real data: recall, time, pages, builds and inserts.
///
/// Connects as a superuser to a server that it may use alone, works in the schema walia_bench (dropped when
/// it exists) and leaves nothing behind but the extensions.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Options {
    /// Directories with base.*, query.* (.npy or .fvecs) and, optionally, truth.npy
    #[arg(required_unless_present = "scale", value_name = "DATASET")]
    pub datasets: Vec<PathBuf>,
    /// Where the server is, as libpq writes it: "host=/tmp port=5432 user=postgres dbname=postgres"
    #[arg(long, default_value = "user=postgres dbname=postgres", value_name = "STRING")]
    pub connect: Config,
    /// Host or socket directory, in place of the connection string's
    #[arg(long)]
    pub host: Option<String>,
    /// Port, in place of the connection string's
    #[arg(long)]
    pub port: Option<u16>,
    /// Do the same work with another extension and compare
    #[arg(long)]
    pub peer: Option<Peer>,
    /// Leave walia out
    #[arg(long, requires = "peer")]
    pub only_peer: bool,
    /// Compare walia's index on a table in so many hash partitions with walia's on one table, in place of a
    /// peer
    #[arg(long, conflicts_with_all = ["only_peer"], value_name = "N")]
    pub partitions: Option<usize>,
    /// Distance
    #[arg(long, default_value = "cosine")]
    pub metric: Metric,
    /// Type of the column (pgvector: vector or halfvec)
    #[arg(long, default_value = "vecf32")]
    pub storage: Storage,
    /// Neighbours asked for
    #[arg(long, default_value_t = 10)]
    pub k: usize,
    /// Base vectors to take at most; all by default
    #[arg(long, value_name = "N")]
    pub limit_base: Option<usize>,
    /// Queries to take at most; all by default, or 100 made ones
    #[arg(long, value_name = "N")]
    pub queries: Option<usize>,
    /// Links of a node
    #[arg(long, default_value_t = 16)]
    pub m: u32,
    /// Candidates while building
    #[arg(long, default_value_t = 128)]
    pub ef_construction: u32,
    /// Settings of ef_search to measure; none may be less than k
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10,20,40,70,100,150,250,400,700,1000",
        value_name = "LIST"
    )]
    pub ef: Vec<u32>,
    /// Threads of a build (pgvector: the leader and its workers); all cores by default
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// MiB of maintenance_work_mem for builds; by default what any system needs to build in memory
    #[arg(long, value_name = "MIB")]
    pub maintenance_work_mem: Option<u64>,
    /// Builds of each index, by turns; the fastest counts
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub builds: usize,
    /// Timings of each query, by turns; the fastest counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rounds: usize,
    /// Insert rows at the end: warm up with a tenth, then measure this many
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub inserts: usize,
    /// Sessions that insert, one number after the other
    #[arg(long, value_delimiter = ',', default_value = "1", value_name = "LIST")]
    pub clients: Vec<usize>,
    /// At the end, delete half of the rows, vacuum and insert them again, so many times; measured at the
    /// greatest of --ef
    #[arg(long, default_value_t = 0, value_name = "ROUNDS")]
    pub churn: usize,
    /// Writable directory that keeps computed exact neighbours
    #[arg(long, value_name = "DIRECTORY")]
    pub cache: Option<PathBuf>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also draw recall against time: a file DATASET.svg for each dataset
    #[arg(long, value_name = "DIRECTORY")]
    pub plot: Option<PathBuf>,
    /// In place of all that: measure walia alone as rows grow, with filters, and as rows are replaced, draw
    /// it (DATASET-growth.svg and others) and print the numbers as Markdown
    #[arg(long, conflicts_with_all = ["peer", "partitions", "plot", "json", "keep"], value_name = "DIRECTORY")]
    pub figures: Option<PathBuf>,
    /// In place of all that: measure walia alone on made vectors, at the recall of 0.95, as rows grow to
    /// millions, draw it (scale-DIMENSIONS-growth.svg and others) and print the numbers as Markdown
    #[arg(
        long,
        requires = "sizes",
        conflicts_with_all = ["datasets", "peer", "partitions", "plot", "figures"],
        value_name = "DIRECTORY"
    )]
    pub scale: Option<PathBuf>,
    /// Numbers of made rows, from the least to the most
    #[arg(long, requires = "scale", value_delimiter = ',', value_name = "LIST")]
    pub sizes: Vec<usize>,
    /// Dimensions of made vectors
    #[arg(long, requires = "scale", default_value_t = 128, value_name = "N")]
    pub dimensions: usize,
    /// Measure the first searches after a restart too: for each restart, print a line with "restart" and
    /// wait for a line of input when the server is back and its files are out of the page cache
    #[arg(long, requires = "scale")]
    pub cold: bool,
    /// Leave the last dataset's tables and indexes in place
    #[arg(long)]
    pub keep: bool,
}

impl Options {
    /// Says what clap cannot see.
    pub fn check(&self) -> Result<()> {
        ensure!(self.k > 0, "--k must be at least 1");
        ensure!(self.queries != Some(0), "--queries must be at least 1");
        ensure!(self.partitions.is_none_or(|partitions| partitions > 1), "--partitions must be at least 2");
        ensure!(self.builds > 0 && self.rounds > 0, "--builds and --rounds must be at least 1");
        ensure!(self.threads != Some(0), "--threads must be at least 1");
        ensure!(self.dimensions > 0, "--dimensions must be at least 1");
        ensure!(self.sizes.iter().all(|rows| *rows >= self.k), "--sizes must not be less than --k");
        ensure!(self.clients.iter().all(|clients| *clients > 0), "--clients must be at least 1");
        let least = self.ef.iter().min();
        ensure!(least.is_some_and(|ef| *ef as usize >= self.k), "--ef must not be less than --k");
        Ok(())
    }

    /// Where to connect.
    pub fn server(&self) -> Config {
        let mut config = Config::new();
        config.clone_from(&self.connect);
        if let Some(host) = &self.host {
            config.host(host);
        }
        if let Some(port) = self.port {
            config.port(port);
        }
        config
    }

    /// Threads of a build.
    pub fn build_threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// An extension that walia is compared with.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Peer {
    /// pgvector's hnsw.
    Pgvector,
}

/// The precision of the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// 32 bits an element.
    Vecf32,
    /// 16 bits an element.
    Vecf16,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn ef_search_is_at_least_k() {
        let parse = |arguments: &[&str]| {
            Options::try_parse_from([&["walia-bench", "set"], arguments].concat()).unwrap()
        };
        assert!(parse(&[]).check().is_ok());
        assert!(parse(&["--k", "20"]).check().is_err());
        assert!(parse(&["--k", "20", "--ef", "20,40"]).check().is_ok());
        assert_eq!(parse(&["--host", "/run", "--port", "5433"]).server().get_ports(), [5433]);
    }
}
