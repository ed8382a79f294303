//! Which index an entry belongs to.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, fence};

pub(super) const WORDS: usize = 5;

/// An index as long as it is not rewritten: its database, tablespace, file number and OID, and the session
/// that a temporary one belongs to. Also where its file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u32; WORDS]);

/// A key that others may read while it is changed. Zeros are none.
#[derive(Default)]
#[repr(C)]
pub(super) struct AtomicKey {
    /// Odd while there is a key; another number each time.
    version: AtomicU32,
    words: [AtomicU32; WORDS],
}

impl AtomicKey {
    pub fn load(&self) -> Option<Key> {
        let version = self.version.load(Acquire);
        let key = Key(self.words.each_ref().map(|word| word.load(Relaxed)));
        fence(Acquire);
        (version % 2 == 1 && version == self.version.load(Relaxed)).then_some(key)
    }

    pub fn clear(&self) {
        let version = self.version.load(Relaxed);
        self.version.store(version.wrapping_add(version % 2), Relaxed);
        fence(Release);
    }

    pub fn set(&self, key: &Key) {
        self.words.iter().zip(key.0).for_each(|(word, new)| word.store(new, Relaxed));
        self.version.store(self.version.load(Relaxed) | 1, Release);
    }
}
