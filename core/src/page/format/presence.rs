//! Whether an index may hold rows without a distance, which an order that is not that of the distances gives
//! first: two marks on the meta page. A kind is marked as absent only while the index holds none of it.
//!
//! FORMAT.md is the authority on the bytes.

/// What a mark says. The values are on disk. [`Meta::presence`](super::meta::Meta::presence) reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Presence {
    /// Nothing: whoever wrote the index knew no marks.
    Unknown = 0,
    /// There are no such rows.
    Absent = 1,
    /// There have been some since a vacuum began that met none.
    Present = 2,
    /// A vacuum looks for them, or did not end; none has come since it began.
    Clearing = 3,
}

impl Presence {
    /// What an on-disk value says.
    pub fn from_code(code: u8) -> Self {
        let known = [Self::Absent, Self::Present, Self::Clearing];
        known.into_iter().find(|presence| *presence as u8 == code).unwrap_or(Self::Unknown)
    }
}
