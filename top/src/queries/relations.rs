//! What relations are and hold.

use postgres::Client;
use postgres::types::Type;

use super::{Result, clock, row, rows};
use crate::model::map::{Cell, Look, Part, Sample, cells_for, pages_of_cell};
use crate::model::{Health, Index, Recall, Server};

/// Indexes that are shown: the largest.
const MOST_INDEXES: i32 = 1000;

/// Walia's indexes in this database, by name.
pub fn indexes(client: &mut Client, server: &Server) -> Result<Vec<Index>> {
    // Without walia's own statistics, those of Postgres.
    let statistics = match server.has_statistics {
        // Where the library is not preloaded, before 17, they are of this session only.
        true => format!(
            "LEFT JOIN {}.walia_stat_indexes w ON w.indexrelid = i.indexrelid AND w.all_sessions",
            server.schema
        ),
        false => "CROSS JOIN (VALUES (NULL::int8, NULL::int8, NULL::int8, NULL::int8, NULL::int8, NULL::float8, NULL::float8, NULL::int8[]))
            AS w (searches, inserts, pages_hit, pages_read, links_healed, p50_ms, p99_ms, latency)"
            .into(),
    };
    let query = format!(
        "SELECT i.indexrelid, c.relname::text, i.indrelid, t.relname::text, i.indisvalid, c.relpages::int8,
            coalesce(w.searches, pg_stat_get_numscans(i.indexrelid)),
            coalesce(w.inserts, pg_stat_get_tuples_inserted(i.indrelid) + pg_stat_get_tuples_updated(i.indrelid) - pg_stat_get_tuples_hot_updated(i.indrelid)),
            coalesce(w.pages_hit, pg_stat_get_blocks_hit(i.indexrelid)),
            coalesce(w.pages_read, pg_stat_get_blocks_fetched(i.indexrelid) - pg_stat_get_blocks_hit(i.indexrelid)),
            w.links_healed, w.p50_ms, w.p99_ms, pg_stat_get_dead_tuples(i.indrelid), coalesce(w.latency, '{{}}')
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid JOIN pg_am m ON m.oid = c.relam
            {statistics}
         WHERE m.amname = 'walia_hnsw' AND c.relkind = 'i' ORDER BY c.relpages DESC, c.relname LIMIT $1"
    );
    let rows = rows(client, &query, &[(&i64::from(MOST_INDEXES), Type::INT8)])?;
    let mut indexes: Vec<Index> = rows
        .iter()
        .map(|row| Index {
            oid: row.get(0),
            name: row.get(1),
            table_oid: row.get(2),
            table: row.get(3),
            is_valid: row.get(4),
            pages: row.get(5),
            searches: row.get(6),
            inserts: row.get(7),
            pages_hit: row.get(8),
            pages_read: row.get(9),
            links_healed: row.get(10),
            p50: row.get(11),
            p99: row.get(12),
            dead_rows: row.get(13),
            latency: row.get(14),
        })
        .collect();
    indexes.sort_by(|a, b| (&a.name, a.oid).cmp(&(&b.name, b.oid)));
    Ok(indexes)
}

/// The upper bounds of the buckets of `latency`, in milliseconds.
pub fn latency_bounds(client: &mut Client, server: &Server) -> Result<Vec<f64>> {
    let query = format!(
        "SELECT array_agg(below_ms ORDER BY bucket) FROM {}.walia_stat_latency_buckets()",
        server.schema
    );
    Ok(row(client, &query, &[])?.get(0))
}

/// The map of a part of a relation, in so many cells at most. Pages are read for a sample only.
pub fn look(
    client: &mut Client,
    server: &Server,
    oid: u32,
    part: Part,
    cells: i64,
    is_sampled: bool,
) -> Result<Look> {
    let size = "SELECT coalesce(pg_relation_size($1::oid::regclass) / $2, 0), extract(epoch FROM clock_timestamp())::float8";
    let size = row(client, size, &[(&oid, Type::OID), (&server.block_size, Type::INT8)])?;
    let (pages, at): (i64, f64) = (size.get(0), size.get(1));
    let length = part.pages.unwrap_or(pages - part.first).max(1);
    let cell_pages = pages_of_cell(length, cells);
    let buckets = cells_for(length, cell_pages);
    let query = format!(
        "SELECT first_block, pages, kind, tuples, tombstones, free_bytes, cached, dirty, usage_count
         FROM {}.walia_page_map($1::oid::regclass, $2, $3, $4, $5)",
        server.schema
    );
    let sampled: i32 = if is_sampled { 2048 } else { 0 };
    let rows = rows(
        client,
        &query,
        &[
            (&oid, Type::OID),
            (&(buckets as i32), Type::INT4),
            (&part.first, Type::INT8),
            (&(buckets * cell_pages), Type::INT8),
            (&sampled, Type::INT4),
        ],
    )?;
    let cells = rows.iter().map(|row| {
        let cached: Option<i64> = row.get(6);
        let sample = row.get::<_, Option<String>>(2).map(|kind| Sample {
            kind,
            tuples: row.get(3),
            tombstones: row.get(4),
            free_bytes: row.get(5),
        });
        let usage = row.get::<_, Option<f64>>(8).unwrap_or_default() * cached.unwrap_or_default() as f64;
        let dirty = row.get::<_, Option<i64>>(7).unwrap_or_default();
        Cell { first: row.get(0), pages: row.get(1), sample, cached, dirty, usage, ..Cell::default() }
    });
    Ok(Look { oid, at, part, cell_pages, pages, is_sampled, cells: cells.collect() })
}

/// The graph's health, for which all pages of the index are read.
pub fn health(client: &mut Client, server: &Server, oid: u32) -> Result<Health> {
    let query = format!(
        "SELECT nodes, tombstones, unreachable_nodes, centroid_drift, reindex_recommended
         FROM {}.walia_info($1::oid::regclass)",
        server.schema
    );
    let row = row(client, &query, &[(&oid, Type::OID)])?;
    Ok(Health {
        nodes: row.get(0),
        tombstones: row.get(1),
        unreachable: row.get(2),
        drift: row.get(3),
        reindex_recommended: row.get(4),
        clock: clock(client)?,
    })
}

/// Recall on a sample of rows, for which the table is read.
pub fn recall(client: &mut Client, server: &Server, oid: u32) -> Result<Recall> {
    let query =
        format!("SELECT recall, samples, median_ms FROM {}.walia_recall($1::oid::regclass)", server.schema);
    let row = row(client, &query, &[(&oid, Type::OID)])?;
    Ok(Recall { recall: row.get(0), samples: row.get(1), median_ms: row.get(2), clock: clock(client)? })
}
