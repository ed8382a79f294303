//! The marks of rows without a distance: a pass that meets none of a kind marks it as absent.
//!
//! 1. Before the pass takes the number of pages, kinds that may be present are marked as **clearing**.
//! 2. An insertion adds such rows to a tuple that it finds, or, in one unit, makes a tuple (or publishes a
//!    node) and marks the kind as present.
//! 3. At the end of the pass a kind that is still clearing is marked as **absent** where no tuple of it is
//!    left, and as present otherwise.
//!
//! So whatever tuple there is at the end was met, or its insertion has changed the mark: no row is in an
//! index that says there is none, not between two units either. A pass that does not end leaves the mark,
//! which says nothing; the next one finds out.

use super::{Met, Vacuum};
use crate::page::format::hints::Hints;
use crate::page::format::meta::{HINTS_BLOCK, META_BLOCK, Meta};
use crate::page::format::presence::Presence;
use crate::page::format::tuple::AsideKind;
use crate::page::store::{PageStore, StopPoint, WriteUnit};
use crate::types::{ElementType, Link, Metric, Result};

impl<Store: PageStore> Vacuum<'_, Store> {
    /// Whether a pass would find out what a mark does not say, though nothing has died.
    pub(super) fn is_presence_unknown(&self) -> Result<bool> {
        let hints = self.hints()?;
        Ok(AsideKind::ALL.into_iter().any(|kind| match self.meta.presence(kind) {
            Presence::Unknown | Presence::Clearing => true,
            Presence::Absent => !hints.is_absent(&self.meta, kind),
            Presence::Present => false,
        }))
    }

    /// Step 1.
    pub(super) fn begin_clearing(&mut self) -> Result<()> {
        self.met = Met::default();
        let hints = self.hints()?;
        let is_present =
            |meta: &Meta, kind| !hints.is_absent(meta, kind) && meta.presence(kind) != Presence::Clearing;
        if AsideKind::ALL.into_iter().any(|kind| is_present(&self.meta, kind)) {
            self.change_meta(|meta| {
                for kind in AsideKind::ALL {
                    if is_present(meta, kind) {
                        meta.set_presence(kind, Presence::Clearing);
                    }
                }
            })?;
            self.index.store.stop_point(StopPoint::VacuumClearing);
        }
        Ok(())
    }

    /// Step 3.
    pub(super) fn end_clearing(&mut self) -> Result<()> {
        let is_clearing = |meta: &Meta, kind| meta.presence(kind) == Presence::Clearing;
        if !AsideKind::ALL.into_iter().any(|kind| is_clearing(&self.meta, kind)) {
            return Ok(());
        }
        let mut unit = self.index.store.begin();
        let mut meta = Meta::of_page(unit.lock(META_BLOCK)?)?;
        let mut hints = Hints::of_page(unit.lock(HINTS_BLOCK)?)?;
        for kind in AsideKind::ALL {
            if !is_clearing(&meta, kind) {
                continue;
            }
            if self.met.contains(kind) {
                meta.set_presence(kind, Presence::Present);
            } else {
                meta.set_presence(kind, Presence::Absent);
                hints.aside_mut(kind).fill(Link::NONE);
                hints.write(unit.edit(HINTS_BLOCK));
            }
        }
        meta.write(unit.edit(META_BLOCK));
        unit.commit()?;
        self.meta = meta;
        self.index.store.stop_point(StopPoint::VacuumCleared);
        Ok(())
    }

    /// Whether the vectors of nodes are to be looked at: some may have no distance, and none was met yet.
    pub(super) fn looks_at_vectors(&self) -> bool {
        let parameters = &self.index.schema.layout.parameters;
        // The greatest vector of binary16 is ordinary, and those of bits are.
        matches!(parameters.element, ElementType::F32 | ElementType::Sparse)
            && matches!(parameters.metric, Metric::Cosine | Metric::InnerProduct)
            && self.meta.presence(AsideKind::ZeroVector) == Presence::Clearing
            && !self.met.contains(AsideKind::ZeroVector)
    }

    /// Whether the vector of a node's payload has a distance from every query that is ordinary itself.
    pub(super) fn has_distance(&mut self, payload: &[u8]) -> bool {
        let schema = &self.index.schema;
        let element = schema.layout.parameters.element;
        let vector = schema.layout.encoding.decode(payload, element, &mut self.decoded);
        schema.measure.is_ordinary(vector)
    }

    fn hints(&self) -> Result<Hints> {
        Hints::of_page(&*self.index.store.read(HINTS_BLOCK)?)
    }
}
