//! What a page holds, as it is shown.

/// What a page holds, whichever relation it is of.
pub struct Shown {
    /// What most of it is used for.
    pub kind: &'static str,
    /// Tuples, but for tombstones.
    pub tuples: u32,
    /// Tuples that are dead.
    pub tombstones: u32,
    /// Bytes for new tuples.
    pub free_bytes: u32,
}
