//! Recall and time at every ef_search, of all systems by turns.
//!
//! Recall comes from a pass of its own, which also brings the pages into memory. The timed passes execute
//! EXPLAIN ANALYZE, so that neither the network nor the client is timed; the systems alternate every few
//! queries and the whole sweep is repeated, so that a machine that is slow for a while is slow for all of
//! them.

use anyhow::Result;

use crate::curve::{Point, percentile};
use crate::dataset::{Dataset, Rows, Vectors};
use crate::exact::Truth;
use crate::server::{Execution, Session};
use crate::system::System;

/// Queries of one system in a row.
const TURN: usize = 25;

/// Sweeps; gives a point for every system and every `ef`, in their orders.
pub fn sweep(
    session: &mut Session,
    systems: &[System],
    dataset: &Dataset,
    truth: &Truth,
    (k, ef, rounds): (usize, &[u32], usize),
) -> Result<Vec<Vec<Point>>> {
    let mut recalls = vec![Vec::new(); systems.len()];
    for (system, recalls) in systems.iter().zip(&mut recalls) {
        for ef in ef {
            recalls.push(recall(session, system, dataset, truth, (k, *ef))?);
        }
    }
    let fastest = time(session, systems, &dataset.queries, (k, ef, rounds))?;
    let points = |(executions, recalls): (&Vec<Vec<_>>, &Vec<f64>)| {
        let settings = ef.iter().zip(recalls).zip(executions);
        settings.map(|((ef, recall), executions)| point(*ef, *recall, executions)).collect()
    };
    Ok(fastest.iter().zip(&recalls).map(points).collect())
}

/// The mean recall of all queries at an ef_search.
pub fn recall<B: Rows>(
    session: &mut Session,
    system: &System,
    dataset: &Dataset<B>,
    truth: &Truth,
    (k, ef): (usize, u32),
) -> Result<f64> {
    let query = session.prepare(&system.nearest_query(k))?;
    session.set_ef_search(system, ef)?;
    let mut recall = 0.0;
    for (row, vector) in dataset.queries.iter().enumerate() {
        recall += truth.recall(dataset, row, &session.nearest(&query, vector)?);
    }
    Ok(recall / dataset.queries.rows() as f64)
}

/// The fastest execution of each query, of every system at every `ef`.
pub fn time(
    session: &mut Session,
    systems: &[System],
    queries: &Vectors,
    (k, ef, rounds): (usize, &[u32], usize),
) -> Result<Vec<Vec<Vec<Option<Execution>>>>> {
    let mut explains = Vec::new();
    for system in systems {
        let explain = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY, FORMAT JSON)";
        explains.push(session.prepare(&format!("{explain} {}", system.nearest_query(k)))?);
    }
    let count = queries.rows();
    let mut fastest = vec![vec![vec![None; count]; ef.len()]; systems.len()];
    for round in 0..rounds {
        eprintln!("timing queries: round {} of {rounds}", round + 1);
        for (setting, ef) in ef.iter().enumerate() {
            for system in systems {
                session.set_ef_search(system, *ef)?;
            }
            for start in (0..count).step_by(TURN) {
                for turn in 0..systems.len() {
                    // Nobody always comes first.
                    let system = (turn + start / TURN + round) % systems.len();
                    let (system, explain, fastest) =
                        (&systems[system], &explains[system], &mut fastest[system]);
                    for (vector, fastest) in queries.iter().zip(&mut fastest[setting]).skip(start).take(TURN)
                    {
                        keep_fastest(fastest, session.explain(system, explain, vector)?);
                    }
                }
            }
        }
    }
    Ok(fastest)
}

fn keep_fastest(fastest: &mut Option<Execution>, execution: Execution) {
    if fastest.is_none_or(|fastest| execution.ms < fastest.ms) {
        *fastest = Some(execution);
    }
}

/// The point that these executions are.
pub fn point(ef_search: u32, recall: f64, executions: &[Option<Execution>]) -> Point {
    let executions: Vec<_> = executions.iter().flatten().collect();
    let mean = |sum: f64| sum / executions.len() as f64;
    let mut ms: Vec<f64> = executions.iter().map(|execution| execution.ms).collect();
    ms.sort_by(f64::total_cmp);
    Point {
        ef_search,
        recall,
        mean_ms: mean(ms.iter().sum()),
        p50_ms: percentile(&ms, 0.50),
        p99_ms: percentile(&ms, 0.99),
        buffers: mean(executions.iter().map(|execution| execution.buffers as f64).sum()),
        buffers_read: mean(executions.iter().map(|execution| execution.buffers_read as f64).sum()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_made_of_the_fastest_executions() {
        let mut executions = vec![None; 100];
        for (query, fastest) in executions.iter_mut().enumerate() {
            for ms in [query as f64 + 5.0, query as f64 + 1.0, query as f64 + 3.0] {
                keep_fastest(fastest, Execution { ms, buffers: 10, buffers_read: (query == 0) as u64 });
            }
        }
        let point = point(40, 0.9, &executions);
        assert_eq!((point.p50_ms, point.p99_ms, point.mean_ms), (50.0, 99.0, 50.5));
        assert_eq!((point.buffers, point.buffers_read), (10.0, 0.01));
    }
}
