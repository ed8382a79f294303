//! The order of content locks, tracked in debug builds: an ERROR where rules 1 to 3 of ARCHITECTURE.md are broken.
//!
//! Imports nothing from this crate.

use std::cell::RefCell;

use pgrx::pg_sys::Oid;

thread_local! {
    /// Blocks that this backend has locked: index and block.
    static HELD: RefCell<Vec<(Oid, u32)>> = const { RefCell::new(Vec::new()) };
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

/// A content lock that is held until this is dropped; dropping it while an ERROR unwinds is safe.
pub struct Held(Oid, u32);

impl Held {
    /// Notes a lock that is about to be taken.
    pub fn new(index: Oid, block: u32, access: Access) -> Self {
        if cfg!(debug_assertions) {
            HELD.with_borrow_mut(|held| {
                match access {
                    Access::Share => assert!(held.is_empty(), "a page is read while another is locked"),
                    Access::Exclusive => {
                        let lower = |other: &(Oid, u32)| other.0 == index && other.1 < block;
                        assert!(held.iter().all(lower), "pages are locked out of order");
                    }
                    Access::Conditional => {}
                }
                held.push((index, block));
            });
        }
        Self(index, block)
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

/// Asserts that no content lock is held, as at an interrupt point.
pub fn assert_none_held() {
    if cfg!(debug_assertions) {
        assert!(HELD.with_borrow(Vec::is_empty), "an interrupt point under a page lock");
    }
}
