//! Rounds of deleting half of the rows, vacuuming, and inserting as many again: what becomes of recall, time
//! and size.
//!
//! The rows that come back are those that went, so that the exact neighbours stay the same. Each has a new
//! place in the table, and the index takes it for a new row.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::curve::Point;
use crate::dataset::Dataset;
use crate::exact::Truth;
use crate::server::{Parameter, Session};
use crate::sweep::sweep;
use crate::system::System;

/// Transactions that insert the rows of a round.
const TRANSACTIONS: usize = 100;

/// A system after a round; the first is what the build left.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Round {
    /// Recall and time, at the greatest ef_search that was asked for.
    pub point: Point,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Seconds of VACUUM, the table's part included.
    pub vacuum_seconds: f64,
    /// Seconds of all inserts.
    pub insert_seconds: f64,
}

/// Measures the indexes as they are and after every round; gives the rounds of each system.
pub fn measure(
    session: &mut Session,
    systems: &[System],
    dataset: &Dataset,
    truth: &Truth,
    (k, ef, timings): (usize, u32, usize),
    rounds: usize,
) -> Result<Vec<Vec<Round>>> {
    let mut measured = vec![Vec::new(); systems.len()];
    for round in 0..=rounds {
        let mut seconds = vec![(0.0, 0.0); systems.len()];
        if round > 0 {
            for (system, seconds) in systems.iter().zip(&mut seconds) {
                eprintln!("churning the table of {}: round {round} of {rounds}", system.name);
                *seconds = churn(session, system, dataset, round)?;
            }
        }
        let points = sweep(session, systems, dataset, truth, (k, &[ef], timings))?;
        for (number, system) in systems.iter().enumerate() {
            let (vacuum_seconds, insert_seconds) = seconds[number];
            let index_bytes = session.index_bytes(system)?;
            measured[number].push(Round {
                point: points[number][0],
                index_bytes,
                vacuum_seconds,
                insert_seconds,
            });
        }
    }
    Ok(measured)
}

/// One round. Gives the seconds of VACUUM and of the inserts.
fn churn(session: &mut Session, system: &System, dataset: &Dataset, round: usize) -> Result<(f64, f64)> {
    let table = system.table();
    let mut ids: Vec<i32> = (0..i32::try_from(dataset.base.rows())?).collect();
    fastrand::Rng::with_seed(round as u64).shuffle(&mut ids);
    let gone = &ids[..ids.len() / 2];
    session.execute(&format!("ALTER TABLE {table} SET (autovacuum_enabled = off)"))?;
    session.client().execute(&format!("DELETE FROM {table} WHERE id = ANY($1)"), &[&gone])?;
    let started = Instant::now();
    session.execute(&format!("VACUUM {table}"))?;
    let vacuum_seconds = started.elapsed().as_secs_f64();
    let insert = session.prepare(&format!("INSERT INTO {table} VALUES ($1, $2)"))?;
    let started = Instant::now();
    for some in gone.chunks(gone.len().div_ceil(TRANSACTIONS).max(1)) {
        let mut transaction = session.client().transaction()?;
        for id in some {
            transaction.execute(&insert, &[id, &Parameter(dataset.base.row(usize::try_from(*id)?))])?;
        }
        transaction.commit()?;
    }
    Ok((vacuum_seconds, started.elapsed().as_secs_f64()))
}
