//! How long a build takes on this machine: measured on a small graph of sampled rows.

use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode;
use walia_core::arena::{Feeder, Pace, Settings};
use walia_core::code::Sample;
use walia_core::page::max_level;
use walia_core::types::{Error, HeapTid, Parameters};

use super::threads;
use crate::error::{Result, SqlError};
use crate::guc;
use crate::store::check_for_interrupts;
use crate::store::file::{TemporaryFile, file_error};

/// How long the graph may grow with its vectors in memory, and without.
const IN_MEMORY: Duration = Duration::from_millis(900);
const SPILLED: Duration = Duration::from_millis(500);
/// Nodes that wait for the threads before the next are taken: few, so that time ends when it ends.
const WAITING: u32 = 256;
/// Fewest insertions whose time tells something.
const LEAST: u32 = 200;

/// What was measured.
pub struct Measured {
    /// `None` where there was no vector.
    pub pace: Option<Pace>,
    /// How many times longer an insertion takes once vectors are in a file; `None` where that was not
    /// measured.
    pub spilled: Option<f64>,
}

/// Sampled rows: vectors one after the other, and where they lie.
#[derive(Default)]
pub struct Sampled {
    /// Bytes of all vectors.
    pub vectors: Vec<u8>,
    /// For each vector its row, and where it ends.
    pub rows: Vec<(HeapTid, usize)>,
}

impl Sampled {
    /// Each vector and its row.
    fn rows(&self) -> impl ExactSizeIterator<Item = (&[u8], HeapTid)> {
        (0..self.rows.len()).map(|row| {
            let start = row.checked_sub(1).map_or(0, |before| self.rows[before].1);
            let (heap_tid, end) = self.rows[row];
            (&self.vectors[start..end], heap_tid)
        })
    }

    /// What of the vectors stands for all; nothing of an index without codes, which is built without knowing
    /// it.
    pub fn sample(&self, parameters: &Parameters) -> Sample {
        let mut sample = Sample::new(parameters);
        if parameters.code_bits == 0 {
            return sample;
        }
        self.rows().for_each(|(vector, _)| sample.add(vector));
        sample
    }
}

/// Builds a graph of sampled rows with the threads that a build would have.
pub fn measure(parameters: &Parameters, sampled: &Sampled, centroid: &[f32]) -> Result<Measured> {
    let mut file = None;
    let build = |pool: &_| build(parameters, sampled, centroid, pool, &mut file);
    let measured = threads::with_pool(guc::build_threads(), build)?;
    drop(file);
    measured
}

fn build(
    parameters: &Parameters,
    sampled: &Sampled,
    centroid: &[f32],
    pool: &rayon::ThreadPool,
    file: &mut Option<TemporaryFile>,
) -> Result<Measured> {
    let mut rows = sampled.rows();
    // Small chunks: threads get their rows soon.
    let memory = 4 * sampled.vectors.len() + sampled.rows.len() * 1024 + (1 << 20);
    let settings = Settings::new(*parameters, centroid, max_level(parameters).map_err(failed)?, memory);
    let mut feeder = Feeder::new(settings, pool);
    // Two fifths are left for the other way, where these are enough for it.
    let left = rows.len() * 2 / 5;
    let count =
        if parameters.code_bits > 0 && left > LEAST as usize { rows.len() - left } else { rows.len() };
    let in_memory = feed(&mut feeder, &mut rows.by_ref().take(count), IN_MEMORY)?;
    let Some(pace) = Pace::of(&in_memory) else { return Ok(Measured { pace: None, spilled: None }) };
    let mut spilled = None;
    if feeder.can_spill() && rows.len() > LEAST as usize {
        let file = file.insert(TemporaryFile::create()?);
        while feeder.can_spill() && feeder.spill(file, |_| check_for_interrupts()).map_err(failed)? {}
        let first = feeder.inserted();
        let moments = feed(&mut feeder, &mut rows, SPILLED)?;
        let last = moments.last().filter(|(nodes, _)| *nodes >= first + LEAST);
        spilled = last.map(|(nodes, seconds)| seconds / pace.seconds(first.into(), f64::from(*nodes)));
    }
    Ok(Measured { pace: Some(pace), spilled })
}

/// Feeds rows for so long; how many nodes were inserted at some moments, and the seconds since it began.
fn feed<'v>(
    feeder: &mut Feeder,
    rows: &mut impl Iterator<Item = (&'v [u8], HeapTid)>,
    time: Duration,
) -> Result<Vec<(u32, f64)>> {
    let (start, first) = (Instant::now(), feeder.inserted());
    let (mut moments, mut next) = (Vec::new(), first + LEAST);
    let moment = |feeder: &Feeder| (feeder.inserted(), start.elapsed().as_secs_f64());
    let mut wait = |feeder: &Feeder, most: u32| {
        loop {
            check_for_interrupts();
            if feeder.inserted() >= next {
                moments.push(moment(feeder));
                next = feeder.inserted() * 2 - first.min(feeder.inserted());
            }
            if feeder.waiting() <= most {
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    };
    while start.elapsed() < time
        && let Some((vector, heap_tid)) = rows.next()
        && feeder.push(vector, heap_tid).is_ok()
    {
        wait(feeder, WAITING);
    }
    wait(feeder, 0);
    if !feeder.check().map_err(failed)? {
        return Err(threads::ended());
    }
    moments.push(moment(feeder));
    Ok(moments)
}

fn failed(error: Error) -> SqlError {
    match error {
        Error::TemporaryFile { errno } => file_error(errno, "could not read from a temporary file"),
        Error::OutOfMemory => crate::memory::out_of_memory("Failed while an index build was measured."),
        _ => SqlError::new(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            format!("could not measure an index build: {error:?}"),
        ),
    }
}
