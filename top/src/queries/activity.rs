//! What the server does: counters, commands under way, searches.

use postgres::Client;

use super::{Result, row, rows};
use crate::model::Server;
use crate::model::pulse::Counters;
use crate::model::searches::{Search, State};
use crate::model::tasks::Task;

/// Bytes read and written of relations, of the whole server.
fn bytes(major: i32) -> &'static str {
    match major {
        18.. => {
            "SELECT sum(read_bytes)::int8, (sum(write_bytes) + sum(extend_bytes))::int8 FROM pg_stat_io WHERE object = 'relation'"
        }
        16..18 => {
            "SELECT sum(reads * op_bytes)::int8, sum((coalesce(writes, 0) + coalesce(extends, 0)) * op_bytes)::int8
             FROM pg_stat_io WHERE object = 'relation'"
        }
        _ => {
            "SELECT (sum(blks_read) * current_setting('block_size')::int8)::int8,
                (SELECT (buffers_checkpoint + buffers_clean + buffers_backend) * current_setting('block_size')::int8
                 FROM pg_stat_bgwriter)
             FROM pg_stat_database"
        }
    }
}

/// Counters of the whole server, and rows that are being imported; those of indexes are added from elsewhere.
pub fn counters(client: &mut Client, server: &Server) -> Result<Counters> {
    let query = format!(
        "SELECT extract(epoch FROM clock_timestamp())::float8, (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_insert_lsn() END - '0/0'::pg_lsn)::int8, io.*,
            -- Rows that are not in the statistics before their transaction ends.
            (SELECT coalesce(sum(tuples_processed), 0)::int8 FROM pg_stat_progress_copy p WHERE command = 'COPY FROM' AND datname = current_database()
                AND EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
                    WHERE i.indrelid = p.relid AND m.amname = 'walia_hnsw'))
         FROM ({}) AS io (read, written)",
        bytes(server.major)
    );
    let row = row(client, &query, &[])?;
    let (at, wal_bytes, read_bytes, written_bytes) = (row.get(0), row.get(1), row.get(2), row.get(3));
    Ok(Counters { at, wal_bytes, read_bytes, written_bytes, inserts: row.get(4), ..Counters::default() })
}

/// Builds of indexes, vacuums of tables with an index of walia's, imports, checks and repairs, in this
/// database. The name of an index that is being built is known to its session only.
pub fn tasks(client: &mut Client, server: &Server) -> Result<Vec<Task>> {
    let indexes = if server.major >= 17 {
        "CASE WHEN phase LIKE '%indexes' THEN indexes_processed END, CASE WHEN phase LIKE '%indexes' THEN indexes_total END"
    } else {
        "NULL::int8, NULL::int8"
    };
    // An extension of an older version has no such view.
    let view = row(client, "SELECT to_regclass('walia_stat_progress') IS NOT NULL", &[])?;
    let checks = if view.get(0) {
        " UNION ALL SELECT pid, datid, indexrelid, command, coalesce(phase, ''), done, total, coalesce(unit, '') FROM walia_stat_progress"
    } else {
        ""
    };
    let query = format!(
        "SELECT p.pid, p.command, coalesce(c.relname, '')::text, coalesce(p.phase, ''), coalesce(p.done, 0), coalesce(p.total, 0),
            coalesce(extract(epoch FROM clock_timestamp() - coalesce(a.query_start, a.xact_start))::float8, 0), p.unit
         FROM (SELECT pid, datid, relid, command, regexp_replace(phase, '^building index: ', ''),
                CASE WHEN by_pages THEN blocks_done ELSE tuples_done END, CASE WHEN by_pages THEN blocks_total ELSE tuples_total END,
                CASE WHEN by_pages THEN 'pages' ELSE 'rows' END
             FROM (SELECT *, phase LIKE '%writing pages' OR coalesce(tuples_total, 0) = 0 AS by_pages FROM pg_stat_progress_create_index) b
             UNION ALL
             SELECT v.pid, v.datid, v.relid, CASE WHEN s.backend_type = 'autovacuum worker' THEN 'autovacuum' ELSE 'VACUUM' END, phase,
                coalesce(d.done, CASE phase WHEN 'vacuuming heap' THEN heap_blks_vacuumed ELSE heap_blks_scanned END),
                coalesce(d.total, CASE WHEN phase LIKE '%indexes' THEN 0 ELSE heap_blks_total END),
                CASE WHEN d.total IS NULL THEN 'pages' ELSE 'indexes' END
             FROM pg_stat_progress_vacuum v LEFT JOIN pg_stat_activity s ON s.pid = v.pid,
                LATERAL (SELECT {indexes}) AS d (done, total)
             WHERE EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
                WHERE i.indrelid = v.relid AND m.amname = 'walia_hnsw')
             UNION ALL
             SELECT pid, datid, relid, command, '', CASE WHEN bytes_total > 0 THEN bytes_processed ELSE tuples_processed END,
                bytes_total, CASE WHEN bytes_total > 0 THEN 'bytes' ELSE 'rows' END
             FROM pg_stat_progress_copy WHERE relid <> 0{checks}) AS p (pid, datid, relid, command, phase, done, total, unit)
         JOIN pg_database b ON b.oid = p.datid AND b.datname = current_database()
         LEFT JOIN pg_class c ON c.oid = p.relid LEFT JOIN pg_stat_activity a ON a.pid = p.pid
         WHERE p.command IS NOT NULL ORDER BY p.pid"
    );
    let rows = rows(client, &query, &[])?;
    Ok(rows
        .iter()
        .map(|row| Task {
            pid: row.get(0),
            command: row.get(1),
            relation: row.get(2),
            phase: row.get(3),
            done: row.get(4),
            total: row.get(5),
            seconds: row.get(6),
            unit: row.get(7),
        })
        .collect())
}

/// Statements of other sessions in this database that order by a distance: what they do, or did last.
pub fn searches(client: &mut Client) -> Result<Vec<Search>> {
    let rows = rows(
        client,
        "SELECT pid, coalesce(usename, '')::text, extract(epoch FROM query_start)::float8,
            1000 * extract(epoch FROM CASE state WHEN 'active' THEN clock_timestamp() ELSE state_change END - query_start)::float8,
            state = 'active', CASE WHEN state = 'active' THEN coalesce(wait_event_type || ' ' || wait_event, '') ELSE '' END, left(query, 1000)
         FROM pg_stat_activity
         WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> 'walia-top'
            AND query_start IS NOT NULL AND state IN ('active', 'idle', 'idle in transaction')
            AND query ~* 'order by.*<([-~=#+%])>' AND query !~* '^\\s*(create|explain)\\M'
         ORDER BY query_start DESC LIMIT 100",
        &[],
    )?;
    Ok(rows
        .iter()
        .map(|row| Search {
            pid: row.get(0),
            role: row.get(1),
            started: row.get(2),
            milliseconds: row.get(3),
            state: if row.get(4) { State::Running } else { State::Ended },
            wait: row.get(5),
            text: row.get(6),
        })
        .collect())
}
