//! Rows inserted into a table with a finished index: how fast, and how much WAL.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, anyhow};
use postgres::Config;
use postgres::types::PgLsn;
use serde::Serialize;

use crate::curve::percentile;
use crate::dataset::Vectors;
use crate::server::{Parameter, Session};
use crate::system::System;

/// What inserting cost, once warmed up. Every row is a transaction of its own, with synchronous_commit off.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Inserts {
    /// Rows measured.
    pub rows: usize,
    /// Sessions.
    pub clients: usize,
    /// Rows a second, all sessions together.
    pub per_second: f64,
    /// Median milliseconds of an INSERT, as its client sees it.
    pub p50_ms: f64,
    /// 99th percentile of the same.
    pub p99_ms: f64,
    /// WAL bytes a row, of table and index, everything included.
    pub wal_bytes: f64,
    /// WAL bytes a row without full-page images, where pg_walinspect can tell.
    pub wal_record_bytes: Option<f64>,
}

/// Inserts a tenth of `rows` to warm up, then measures `rows`; those of round number `round`.
pub fn measure(
    session: &mut Session,
    config: &Config,
    system: &System,
    base: &Vectors,
    (rows, clients, round): (usize, usize, usize),
) -> Result<Inserts> {
    let inspects = session
        .client()
        .query_opt("SELECT FROM pg_available_extensions WHERE name = 'pg_walinspect'", &[])?
        .is_some();
    if inspects {
        session.create_extension("pg_walinspect")?;
    }
    session.execute("CHECKPOINT")?;
    let warm_up = rows / 10;
    let first_id = base.rows() + round * (warm_up + rows);
    insert(config, system, base, first_id, warm_up, clients)?;

    let before = wal_position(session)?;
    let started = Instant::now();
    let mut ms = insert(config, system, base, first_id + warm_up, rows, clients)?;
    let seconds = started.elapsed().as_secs_f64();
    let after = wal_position(session)?;
    ms.sort_by(f64::total_cmp);

    let a_row = |bytes: i64| bytes as f64 / rows as f64;
    let wal_bytes =
        session.client().query_one("SELECT ($2::pg_lsn - $1)::bigint", &[&before, &after])?.get(0);
    let wal_record_bytes = if inspects {
        let sql = "SELECT coalesce(sum(record_size), 0)::bigint FROM pg_get_wal_stats($1, $2)";
        Some(a_row(session.client().query_one(sql, &[&before, &after])?.get(0)))
    } else {
        None
    };
    Ok(Inserts {
        rows,
        clients,
        per_second: rows as f64 / seconds,
        p50_ms: percentile(&ms, 0.50),
        p99_ms: percentile(&ms, 0.99),
        wal_bytes: a_row(wal_bytes),
        wal_record_bytes,
    })
}

/// The end of the WAL, all of it flushed by a synchronous commit, since pg_walinspect reads nothing else.
fn wal_position(session: &mut Session) -> Result<PgLsn> {
    session.execute("SET synchronous_commit = on; SELECT pg_current_xact_id()")?;
    Ok(session.client().query_one("SELECT pg_current_wal_flush_lsn()", &[])?.get(0))
}

/// Inserts rows from `first_id` on from all clients; gives each one's milliseconds.
fn insert(
    config: &Config,
    system: &System,
    base: &Vectors,
    first_id: usize,
    rows: usize,
    clients: usize,
) -> Result<Vec<f64>> {
    let next = AtomicUsize::new(0);
    let client = || -> Result<Vec<f64>> {
        let mut session = Session::open(config.clone())?;
        session.execute("SET synchronous_commit = off")?;
        let statement = session.prepare(&format!("INSERT INTO {} VALUES ($1, $2)", system.table()))?;
        let mut ms = Vec::new();
        loop {
            let row = next.fetch_add(1, Ordering::Relaxed);
            if row >= rows {
                return Ok(ms);
            }
            let id = first_id + row;
            let vector = near_a_base_vector(base, id);
            let started = Instant::now();
            session.client().execute(&statement, &[&i32::try_from(id)?, &Parameter(&vector)])?;
            ms.push(started.elapsed().as_secs_f64() * 1000.0);
        }
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        let joined = clients
            .into_iter()
            .map(|client| client.join().map_err(|_| anyhow!("an inserting thread panicked"))?);
        Ok(joined.collect::<Result<Vec<_>>>()?.concat())
    })
}

/// A base vector picked by `seed`, its elements moved by a few hundredths of their root mean square.
fn near_a_base_vector(base: &Vectors, seed: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let vector = base.row(random.usize(..base.rows()));
    let mean_square = vector.iter().map(|x| x * x).sum::<f32>() / vector.len() as f32;
    let step = 0.1 * mean_square.sqrt();
    vector.iter().map(|x| x + step * (random.f32() - 0.5)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserted_vectors_are_new_near_old_ones_and_the_same_every_time() {
        let base = Vectors::new(2, vec![3.0, 4.0, -30.0, 40.0]).unwrap();
        for seed in 0..50 {
            let vector = near_a_base_vector(&base, seed);
            assert_eq!(vector, near_a_base_vector(&base, seed));
            let distance =
                |row: &[f32]| (vector[0] - row[0]).hypot(vector[1] - row[1]) / row[0].hypot(row[1]);
            let nearest = base.iter().map(distance).fold(f32::INFINITY, f32::min);
            assert!(nearest > 0.0 && nearest < 0.1);
        }
    }
}
