//! The order of content locks, tracked in debug builds: a panic where rules 1 to 3 of ARCHITECTURE.md are
//! broken.
//!
//! Every [`Pages`](super::Pages) notes its locks here.

use std::cell::RefCell;

thread_local! {
    /// Pages that this thread has locked: store and block.
    static HELD: RefCell<Vec<(usize, u32)>> = const { RefCell::new(Vec::new()) };
}

/// How a page is locked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To be read.
    Share,
    /// By a write unit, waiting for others.
    Exclusive,
    /// By a write unit, without waiting.
    Conditional,
}

/// A content lock that is held until this is dropped; dropping it while an error unwinds is safe.
pub struct Held(usize, u32);

impl Held {
    /// Notes a lock that is about to be taken on a page of `store`, a number that tells stores apart.
    pub fn new(store: usize, block: u32, access: Access) -> Self {
        if cfg!(debug_assertions) {
            HELD.with_borrow_mut(|held| {
                let mut blocks = held.iter().filter(|entry| entry.0 == store).map(|entry| entry.1);
                match access {
                    Access::Share => {
                        assert!(blocks.next().is_none(), "a page is read while another is locked");
                    }
                    Access::Exclusive => {
                        assert!(blocks.all(|other| other < block), "pages are locked out of order");
                    }
                    Access::Conditional => {}
                }
                held.push((store, block));
            });
        }
        Self(store, block)
    }

    /// Asserts that no page of a store is locked, as at an interrupt point.
    pub fn assert_none(store: usize) {
        if cfg!(debug_assertions) {
            let none = HELD.with_borrow(|held| held.iter().all(|entry| entry.0 != store));
            assert!(none, "an interrupt point under a page lock");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            HELD.with_borrow_mut(|held| {
                if let Some(position) = held.iter().position(|entry| *entry == (self.0, self.1)) {
                    held.swap_remove(position);
                }
            });
        }
    }
}
