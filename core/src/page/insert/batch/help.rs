//! Others that search beside who joins a batch, in processes of their own, which read the same pages.
//!
//! A request says what [`Seeker`] must know of the nodes of a group; the answer has what it found near the
//! first of them, and what was read of that. Both are bytes, as they go through memory that processes share;
//! numbers are in the machine's order.

use super::JoinOptions;
use super::near::Near;
use super::seek::{Begin, Seeker, Sought, Wanted};
use crate::graph::{Candidate, Precision};
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::types::{Error, Link, Result};
use bytemuck::{Pod, bytes_of, pod_read_unaligned};

/// The share of a join's memory for what is near one group of nodes of each who searches, while threads
/// choose among what was near the last one.
const NEAR_SHARE: usize = 4;
/// Nodes near those of a group below which a group is so small that to tell of it takes as long as to search
/// for it, about: of 128 dimensions six nodes. Tests are to see helpers in joins of any size.
const LEAST_NEAR: usize = if cfg!(debug_assertions) { 1 } else { 256 };

/// Bytes of what a helper finds at most, which is about what an answer takes: Postgres sends no message of a
/// gigabyte.
const MOST: usize = 256 << 20;

/// Others that search at the same time, numbered from 0. Each answers a request before it gets the next one.
pub trait Helpers {
    /// How many they are.
    fn count(&self) -> usize;
    /// Gives one a request; may unwind.
    fn ask(&mut self, helper: usize, request: &[u8]);
    /// Waits for its answer; may unwind.
    fn answer(&mut self, helper: usize) -> &[u8];
}

impl<Store: PageStore> Index<Store> {
    /// How many may search at the same time for a join that has so many bytes, the caller of
    /// [`Index::join_graph`] among them: what each finds must have room.
    pub fn searchers(&self, memory: usize) -> usize {
        (memory / NEAR_SHARE / 2 / Near::size(&self.schema) / LEAST_NEAR).max(1)
    }
}

impl JoinOptions<'_> {
    /// What of a join's memory one of so many who search has for what it finds.
    pub fn memory_of_searcher(memory: usize, searchers: usize) -> usize {
        memory / NEAR_SHARE / searchers
    }
}

/// Nobody helps.
impl Helpers for () {
    fn count(&self) -> usize {
        0
    }

    fn ask(&mut self, _helper: usize, _request: &[u8]) {}

    fn answer(&mut self, _helper: usize) -> &[u8] {
        &[]
    }
}

/// Searches for who joins a batch to an index.
pub struct JoinHelper<'i, Store: PageStore> {
    seeker: Seeker<'i, Store>,
    /// What was near the last group.
    before: Near,
}

impl<'i, Store: PageStore> JoinHelper<'i, Store> {
    /// With so many bytes for what it finds.
    pub fn new(index: &'i Index<Store>, memory: usize) -> Self {
        Self { seeker: Seeker::new(index, memory.min(MOST)), before: Near::default() }
    }

    /// The answer to a request.
    pub fn answer(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        let (beam, group) = read_request(request)?;
        let (found, near) = self.seeker.seek(&group, beam, &self.before)?;
        let answer = write_answer(&found, &near)?;
        self.before = near;
        Ok(answer)
    }
}

/// The request for these nodes, as [`Seeker::seek`] is told of them.
pub(super) fn write_request(group: &[Wanted], beam: usize) -> Result<Vec<u8>> {
    let mut request = Writer::default();
    request.number(beam)?;
    request.number(group.len())?;
    for Wanted { level, payload, begins } in group {
        request.number((*level).into())?;
        request.bytes(payload)?;
        request.number(begins.len())?;
        for begin in begins {
            let (number, place) = match begin {
                Begin::Place(place) => (u32::MAX, *place),
                Begin::Earlier(number) => (*number, Link::NONE),
            };
            request.put(&number)?;
            request.put(&place)?;
        }
    }
    Ok(request.0)
}

fn read_request(request: &[u8]) -> Result<(usize, Vec<Wanted>)> {
    let mut request = Reader(request);
    let beam = request.number()?;
    let wanted = |request: &mut Reader| {
        let level = request.number()? as u8;
        let payload = request.bytes()?.to_vec();
        let begins = request.list(|request| {
            Ok(match (request.take()?, request.take()?) {
                (u32::MAX, place) => Begin::Place(place),
                (number, _) => Begin::Earlier(number),
            })
        })?;
        Ok(Wanted { level, payload, begins })
    };
    Ok((beam, request.list(wanted)?))
}

fn write_answer(found: &[Sought], near: &Near) -> Result<Vec<u8>> {
    let mut answer = Writer::default();
    answer.number(found.len())?;
    for Sought { layers, is_held } in found {
        answer.number((*is_held).into())?;
        answer.number(layers.len())?;
        for layer in layers {
            answer.number(layer.len())?;
            for Candidate { distance, node, precision } in layer {
                let (kind, doubt) = match precision {
                    Precision::Exact => (0u32, 0.0),
                    Precision::Within(doubt) => (1, *doubt),
                    Precision::Estimated(doubt) => (2, *doubt),
                };
                answer.put(distance)?;
                answer.put(node)?;
                answer.put(&kind)?;
                answer.put(&doubt)?;
            }
        }
    }
    answer.number(near.len())?;
    for (node, read) in near.iter() {
        answer.put(&node)?;
        // Whether it is gone, not live, or live.
        answer.number(read.map_or(0, |(is_live, ..)| 1 + usize::from(is_live)))?;
        if let Some((_, level, payload)) = read {
            answer.number(level.into())?;
            answer.bytes(payload)?;
        }
    }
    Ok(answer.0)
}

/// What an answer says.
pub(super) fn read_answer(answer: &[u8]) -> Result<(Vec<Sought>, Near)> {
    let mut answer = Reader(answer);
    let candidate = |answer: &mut Reader| {
        let (distance, node) = (answer.take()?, answer.take()?);
        let precision = match (answer.take::<u32>()?, answer.take()?) {
            (0, _) => Precision::Exact,
            (1, doubt) => Precision::Within(doubt),
            (_, doubt) => Precision::Estimated(doubt),
        };
        Ok(Candidate { distance, node, precision })
    };
    let found = answer.list(|answer| {
        let is_held = answer.number()? > 0;
        Ok(Sought { layers: answer.list(|answer| answer.list(candidate))?, is_held })
    })?;
    let mut near = Near::default();
    for _ in 0..answer.number()? {
        let node = answer.take()?;
        let read = match answer.number()? {
            0 => None,
            live => Some((live == 2, answer.number()? as u8, answer.bytes()?)),
        };
        near.add(node, read)?;
    }
    Ok((found, near))
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn put(&mut self, value: &impl Pod) -> Result<()> {
        let bytes = bytes_of(value);
        self.0.try_reserve(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn number(&mut self, number: usize) -> Result<()> {
        self.put(&(number as u32))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.number(bytes.len())?;
        self.0.try_reserve(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

struct Reader<'m>(&'m [u8]);

impl<'m> Reader<'m> {
    fn first(&mut self, count: usize) -> Result<&'m [u8]> {
        let (first, rest) = self.0.split_at_checked(count).ok_or(Error::Message)?;
        self.0 = rest;
        Ok(first)
    }

    fn take<T: Pod>(&mut self) -> Result<T> {
        self.first(size_of::<T>()).map(pod_read_unaligned)
    }

    fn number(&mut self) -> Result<usize> {
        self.take::<u32>().map(|number| number as usize)
    }

    fn bytes(&mut self) -> Result<&'m [u8]> {
        let count = self.number()?;
        self.first(count)
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.number()?;
        let mut list = Vec::new();
        // No item has no bytes.
        list.try_reserve_exact(count.min(self.0.len()))?;
        for _ in 0..count {
            list.push(item(self)?);
        }
        Ok(list)
    }
}
