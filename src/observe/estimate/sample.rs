//! What tables hold, from a sample of their blocks.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::{Spi, pg_sys};
use walia_core::graph::Contents;
use walia_core::kernel::Measure;
use xxhash_rust::xxh3::xxh3_64;

use super::analyzed::invalid;
use super::definition::{Definition, Leaf};
use crate::am::build::measure::Sampled;
use crate::am::column;
use crate::error::{OrRaise, Result};
use crate::observe::table::AsOwner;
use crate::store::{check_for_interrupts, heap_tid};

/// How long all tables are sampled.
const TIME: Duration = Duration::from_millis(500);
/// Rows that are sampled at a time, and of all tables together.
const AT_ONCE: f64 = 1000.0;
const MOST: usize = 60_000;
/// Bytes that a measurement takes: vectors are there twice, here and in a graph, where a node has codes and
/// links besides.
const KEPT: usize = 48 << 20;
/// Bytes that it may take of the least memory: what an index keeps of vectors is chosen by some of them.
const LEAST_KEPT: usize = 1 << 20;
const NODE: usize = 512;

/// What the index of a table is to hold.
pub struct Table {
    /// Its rows.
    pub contents: Contents,
    /// How long the table takes to be read.
    pub seconds_read: f64,
}

/// What has been seen of a table.
#[derive(Default)]
struct Seen {
    rows: usize,
    /// Rows that the index's predicate lets pass.
    passing: usize,
    asides: usize,
    /// Of all vectors.
    vector_bytes: usize,
    /// How many blocks hold a vector, by its hash; once a block, since copies in one say nothing of others.
    copies: HashMap<u64, Copies>,
    /// In which pass each block was sampled: another one may come by again.
    blocks: HashMap<u32, u64>,
    time: Duration,
}

#[derive(Default)]
struct Copies {
    blocks: u32,
    last_block: Option<u32>,
}

/// Samples the tables of an index.
pub fn tables(definition: &Definition, sampled: &mut Sampled) -> Result<Vec<Table>> {
    let leaves = definition.leaves()?;
    let size: f64 = leaves.iter().map(|leaf| f64::from(leaf.pages)).sum();
    // SAFETY: a setting.
    let memory = (unsafe { pg_sys::maintenance_work_mem }) as usize * 1024;
    let mut tables = Vec::new();
    tables.try_reserve_exact(leaves.len()).or_raise();
    for leaf in &leaves {
        let share = f64::from(leaf.pages) / size.max(1.0);
        let mut sampler = Sampler {
            definition,
            leaf,
            measure: Measure::new(definition.parameters.metric, definition.parameters.element),
            seen: Seen::default(),
            sampled,
            keep: ((memory / 5 * 4).clamp(LEAST_KEPT, KEPT) as f64 * share) as usize,
            kept: 0,
        };
        sampler.run(TIME.mul_f64(share), (MOST as f64 * share) as usize)?;
        tables.push(sampler.seen.table(leaf));
    }
    Ok(tables)
}

struct Sampler<'a> {
    definition: &'a Definition,
    leaf: &'a Leaf,
    measure: Measure,
    seen: Seen,
    sampled: &'a mut Sampled,
    /// Bytes that the vectors kept of this table may take.
    keep: usize,
    kept: usize,
}

impl Sampler<'_> {
    fn run(&mut self, time: Duration, rows: usize) -> Result<()> {
        if self.leaf.pages == 0 {
            return Ok(());
        }
        let _owner = AsOwner::new(self.definition.heap());
        let start = Instant::now();
        let others = [self.sampled.vectors.len(), self.sampled.rows.len()];
        // A block at least; then as many rows as were seen on a block.
        let mut share = (4.0 / f64::from(self.leaf.pages)).min(1.0);
        for seed in 0.. {
            let before = Instant::now();
            self.sample(share, seed)?;
            self.seen.time += before.elapsed();
            if share >= 1.0 || start.elapsed() >= time || self.seen.rows >= rows || seed > 200 {
                break;
            }
            let a_block = self.seen.rows as f64 / self.seen.blocks.len().max(1) as f64;
            share = (AT_ONCE / (a_block.max(0.1) * f64::from(self.leaf.pages))).min(1.0);
            if share >= 0.3 {
                // All of a small table, once.
                (share, self.kept, self.seen) = (1.0, 0, Seen::default());
                self.sampled.vectors.truncate(others[0]);
                self.sampled.rows.truncate(others[1]);
            }
        }
        Ok(())
    }

    fn sample(&mut self, share: f64, seed: u64) -> Result<()> {
        let Definition { key, predicate, .. } = self.definition;
        let percent = share * 100.0;
        let query = format!(
            "SELECT ctid, CASE WHEN ({predicate}) THEN {key} END, ({predicate}) IS TRUE FROM ONLY {} \
             TABLESAMPLE pg_catalog.system ({percent}) REPEATABLE ({seed})",
            self.leaf.name
        );
        Spi::connect(|client| {
            let mut cursor = client.open_cursor(query.as_str(), &[]);
            loop {
                check_for_interrupts();
                let mut rows = cursor.fetch(100).expect("a cursor is open");
                if rows.is_empty() {
                    return Ok(());
                }
                // Whatever the text of the definition means here: its values are read as this type.
                let found = rows.column_type_oid(2).map(|found| found.value());
                if found != Ok(self.definition.type_oid) {
                    return Err(invalid("the key means something else to the owner of the table"));
                }
                while rows.next().is_some() {
                    let item = rows.get::<pg_sys::ItemPointerData>(1).expect("a column");
                    let value = rows.get_datum_by_ordinal(2).expect("a column");
                    let passes = rows.get::<bool>(3).expect("a column") == Some(true);
                    self.add(seed, &item.expect("every row has one"), value, passes)?;
                }
            }
        })
    }

    fn add(
        &mut self,
        pass: u64,
        item: &pg_sys::ItemPointerData,
        value: Option<pg_sys::Datum>,
        passes: bool,
    ) -> Result<()> {
        let heap_tid = heap_tid(item);
        let block = heap_tid.block();
        if *self.seen.blocks.entry(block).or_insert(pass) != pass {
            return Ok(());
        }
        self.seen.rows += 1;
        self.seen.passing += usize::from(passes);
        if !passes {
            return Ok(());
        }
        // SAFETY: a value of the index's column, by the definition.
        let vector =
            value.map(|value| unsafe { column::vector(value, &self.definition.parameters) }).transpose()?;
        let Some(vector) = vector.filter(|vector| !self.measure.is_undefined(vector.bytes())) else {
            self.seen.asides += 1;
            return Ok(());
        };
        let copies = self.seen.copies.entry(xxh3_64(vector.bytes())).or_default();
        if copies.last_block != Some(block) {
            copies.blocks += 1;
            copies.last_block = Some(block);
        }
        self.seen.vector_bytes += vector.bytes().len();
        let Sampled { vectors, rows } = &mut *self.sampled;
        if self.kept < self.keep {
            self.kept += 2 * vector.bytes().len() + NODE;
            vectors.try_reserve(vector.bytes().len()).or_raise();
            vectors.extend_from_slice(vector.bytes());
            rows.push((heap_tid, vectors.len()));
        }
        Ok(())
    }
}

impl Seen {
    fn table(&self, leaf: &Leaf) -> Table {
        let per_block = self.rows as f64 / self.blocks.len().max(1) as f64;
        let all = leaf.rows.unwrap_or(per_block * f64::from(leaf.pages)).max(self.rows as f64);
        let share = self.passing as f64 / self.rows.max(1) as f64;
        let part = |count: usize| if self.rows == 0 { 0.0 } else { all * count as f64 / self.rows as f64 };
        let vectors = part(self.passing - self.asides);
        let nodes = (vectors * self.distinct(all)).round().min(vectors);
        let contents = Contents {
            nodes: nodes as u64,
            duplicates: (vectors - nodes).round() as u64,
            asides: (all * share - vectors).round().max(0.0) as u64,
            vector_size: self.vector_bytes.div_ceil((self.passing - self.asides).max(1)),
        };
        let a_row = self.time.as_secs_f64() / self.rows.max(1) as f64;
        Table { contents, seconds_read: a_row * all / 2.0 }
    }

    /// The share of vectors that are distinct: those seen, and by the rule of Chao (1984) those that were
    /// not, from how many were seen once and twice.
    fn distinct(&self, all: f64) -> f64 {
        let seen: f64 = self.copies.values().map(|copies| f64::from(copies.blocks)).sum();
        if seen == 0.0 {
            return 1.0;
        }
        let times = |times| self.copies.values().filter(|copies| copies.blocks == times).count() as f64;
        let (once, twice) = (times(1), times(2));
        let part = (self.rows as f64 / all).min(1.0);
        let others = 2.0 * twice + part / (1.0 - part).max(1e-9) * once;
        let distinct = self.copies.len() as f64 + if once > 0.0 { once * once / others } else { 0.0 };
        // Copies in one block are as many in all others.
        let vectors = (self.passing - self.asides) as f64;
        (distinct * part / vectors).min(1.0)
    }
}
