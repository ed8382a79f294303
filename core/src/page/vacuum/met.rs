//! What a pass has met of rows without a distance.

use crate::page::format::tuple::AsideKind;

/// Kinds of rows that stay in the index, as far as a pass has met them.
#[derive(Default)]
pub(super) struct Met(Vec<AsideKind>);

impl Met {
    pub fn add(&mut self, kind: AsideKind) {
        if !self.contains(kind) {
            self.0.push(kind);
        }
    }

    pub fn contains(&self, kind: AsideKind) -> bool {
        self.0.contains(&kind)
    }
}
