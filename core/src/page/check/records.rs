//! Lists of records that may be longer than memory: pages of them, of which so many are in memory as it may
//! take, and the others in a temporary file.

use crate::types::{Error, Result};
use bytemuck::Pod;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

/// Bytes of a page. Records are looked up here and there: a page is no larger than a read is worth.
const PAGE: usize = 4096;
/// Pages that are in memory in any case.
const FEWEST: usize = 4;
/// The place of a page that is not in memory.
const ABSENT: u32 = u32::MAX;

/// A temporary file of records.
pub trait RecordFile {
    /// Writes bytes at an offset: over others, at the end, or past it. It may unwind.
    fn write(&mut self, offset: u64, bytes: &[u8]);

    /// Reads bytes that were written.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()>;
}

/// The memory of a check.
pub struct Memory<'m> {
    /// What it may take. Some 0.2% of what is in the file come on top, and what is found.
    pub bytes: usize,
    /// Makes an empty file, when that is not enough.
    pub file: Box<dyn FnMut() -> Box<dyn RecordFile> + 'm>,
}

impl Memory<'_> {
    /// As much as there is.
    pub fn unbounded() -> Self {
        Self { bytes: usize::MAX, file: Box::new(|| unreachable!("every page finds a place in memory")) }
    }
}

/// The pages of several lists.
pub(super) struct Pool<'m> {
    memory: Memory<'m>,
    file: Option<Box<dyn RecordFile>>,
    frames: Vec<Frame>,
    /// Pages that may be in memory.
    most: usize,
    /// The frame of each page, or [`ABSENT`].
    frame_of: Vec<u32>,
    /// The frame that was looked at last for one to be taken.
    hand: usize,
}

/// A place for a page.
struct Frame {
    bytes: Vec<u8>,
    page: u32,
    /// Whether it was used since the hand passed.
    recent: bool,
    /// Whether the file has it otherwise.
    changed: bool,
}

impl<'m> Pool<'m> {
    /// An empty one, which takes so many bytes of what may be taken.
    pub fn new(memory: Memory<'m>, bytes: usize) -> Rc<RefCell<Self>> {
        let most = (bytes / PAGE).max(FEWEST);
        let (file, frames, frame_of) = (None, Vec::new(), Vec::new());
        Rc::new(RefCell::new(Self { memory, file, frames, most, frame_of, hand: 0 }))
    }

    fn add_page(&mut self) -> Result<u32> {
        let page = u32::try_from(self.frame_of.len()).map_err(|_| Error::OutOfMemory)?;
        self.frame_of.try_reserve(1)?;
        let at = self.free_frame()?;
        self.frames[at].bytes.fill(0);
        (self.frames[at].page, self.frames[at].changed) = (page, true);
        self.frame_of.push(at as u32);
        Ok(page)
    }

    /// The bytes of a page, to be changed or not.
    fn page(&mut self, page: u32, to_change: bool) -> Result<&mut [u8]> {
        let mut at = self.frame_of[page as usize] as usize;
        if at == ABSENT as usize {
            at = self.free_frame()?;
            let file = self.file.as_ref().expect("a page that is not in memory has been written");
            file.read(u64::from(page) * PAGE as u64, &mut self.frames[at].bytes)?;
            (self.frames[at].page, self.frames[at].changed) = (page, false);
            self.frame_of[page as usize] = at as u32;
        }
        let frame = &mut self.frames[at];
        frame.recent = true;
        frame.changed |= to_change;
        Ok(&mut frame.bytes)
    }

    /// A frame without a page: a new one, or that of the next page that was not used of late.
    fn free_frame(&mut self) -> Result<usize> {
        if self.frames.len() < self.most {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(PAGE)?;
            bytes.resize(PAGE, 0);
            self.frames.try_reserve(1)?;
            self.frames.push(Frame { bytes, page: ABSENT, recent: true, changed: false });
            return Ok(self.frames.len() - 1);
        }
        loop {
            self.hand = (self.hand + 1) % self.frames.len();
            if !std::mem::take(&mut self.frames[self.hand].recent) {
                break;
            }
        }
        let frame = &mut self.frames[self.hand];
        let page = std::mem::replace(&mut frame.page, ABSENT);
        if page != ABSENT {
            if frame.changed {
                let file = self.file.get_or_insert_with(&mut self.memory.file);
                file.write(u64::from(page) * PAGE as u64, &frame.bytes);
            }
            self.frame_of[page as usize] = ABSENT;
        }
        Ok(self.hand)
    }
}

/// A list.
pub(super) struct Records<'m, Record> {
    pool: Rc<RefCell<Pool<'m>>>,
    pages: Vec<u32>,
    length: usize,
    records: PhantomData<Record>,
}

impl<'m, Record: Pod> Records<'m, Record> {
    const PER_PAGE: usize = PAGE / size_of::<Record>();

    /// An empty one.
    pub fn new(pool: &Rc<RefCell<Pool<'m>>>) -> Self {
        Self { pool: pool.clone(), pages: Vec::new(), length: 0, records: PhantomData }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn push(&mut self, record: Record) -> Result<()> {
        if self.length == self.pages.len() * Self::PER_PAGE {
            self.pages.try_reserve(1)?;
            self.pages.push(self.pool.borrow_mut().add_page()?);
        }
        self.length += 1;
        self.set(self.length - 1, record)
    }

    pub fn pop(&mut self) -> Result<Option<Record>> {
        let Some(last) = self.length.checked_sub(1) else { return Ok(None) };
        let record = self.get(last)?;
        self.length = last;
        Ok(Some(record))
    }

    pub fn get(&self, position: usize) -> Result<Record> {
        let (page, offset) = self.place(position);
        let mut pool = self.pool.borrow_mut();
        let bytes = pool.page(page, false)?;
        Ok(bytemuck::pod_read_unaligned(&bytes[offset..offset + size_of::<Record>()]))
    }

    pub fn set(&mut self, position: usize, record: Record) -> Result<()> {
        let (page, offset) = self.place(position);
        let mut pool = self.pool.borrow_mut();
        let bytes = pool.page(page, true)?;
        bytes[offset..offset + size_of::<Record>()].copy_from_slice(bytemuck::bytes_of(&record));
        Ok(())
    }

    /// The position of the first record in a range, sorted by `key`, whose key is not less than this.
    pub fn first_not_less<Key: Ord>(
        &self,
        range: std::ops::Range<usize>,
        sought: &Key,
        key: impl Fn(&Record) -> Key,
    ) -> Result<usize> {
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if key(&self.get(middle)?) < *sought {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn place(&self, position: usize) -> (u32, usize) {
        debug_assert!(position < self.length);
        (self.pages[position / Self::PER_PAGE], position % Self::PER_PAGE * size_of::<Record>())
    }
}
