//! Whether an index may hold rows without a distance, which an order that is not that of the distances gives
//! first: two marks on the meta page. A kind is marked as absent only while the index holds none of it.
//!
//! FORMAT.md is the authority on the bytes.

use crate::page::format::hints::Hints;
use crate::page::format::meta::{COMPATIBLE_PRESENCE, Meta};
use crate::page::format::tuple::AsideKind;

/// What a mark says. The values are on disk.
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
    fn from_code(code: u8) -> Self {
        let known = [Self::Absent, Self::Present, Self::Clearing];
        known.into_iter().find(|presence| *presence as u8 == code).unwrap_or(Self::Unknown)
    }
}

impl Meta {
    /// The mark of a kind of rows. That of zero vectors is also of nodes whose distances may overflow, see
    /// [`Measure::is_ordinary`](crate::kernel::Measure::is_ordinary).
    pub fn presence(&self, kind: AsideKind) -> Presence {
        if self.compatible_features & COMPATIBLE_PRESENCE == 0 {
            return Presence::Unknown;
        }
        Presence::from_code(match kind {
            AsideKind::ZeroVector => self.undefined_presence,
            AsideKind::Null => self.null_presence,
        })
    }

    /// Sets a mark.
    pub fn set_presence(&mut self, kind: AsideKind, presence: Presence) {
        self.compatible_features |= COMPATIBLE_PRESENCE;
        match kind {
            AsideKind::ZeroVector => self.undefined_presence = presence as u8,
            AsideKind::Null => self.null_presence = presence as u8,
        }
    }

    /// Whether the index holds no rows of a kind. Release 0.1.0 does not know the marks. It leaves a hint
    /// with the first of these rows that it inserts, and a mark says [`Presence::Absent`] only where there
    /// was no hint.
    pub fn is_absent(&self, hints: &Hints, kind: AsideKind) -> bool {
        self.presence(kind) == Presence::Absent && hints.aside(kind).iter().all(|hint| hint.is_none())
    }
}
