//! What the planner has to know of distances in an index, and of rows without one.

use pgrx::pg_sys;
use walia_core::page::Meta;
use walia_core::page::format::tuple::AsideKind;
use walia_core::types::Metric;

use super::column;
use crate::nodes::NodeRef;
use crate::store::RelationStore;

/// The metric of an index of this access method.
pub fn metric(index: NodeRef<pg_sys::IndexOptInfo>) -> Option<Metric> {
    // SAFETY: the index is open.
    with_open(index, |relation| unsafe { column::measure(relation) }.map(|(metric, _)| metric))
}

/// Whether an index's distance is defined for all vectors.
pub fn is_never_undefined(index: NodeRef<pg_sys::IndexOptInfo>) -> bool {
    matches!(metric(index), Some(Metric::L2 | Metric::L1 | Metric::Hamming | Metric::Jaccard))
}

/// Whether an index may hold rows of these kinds; also where it cannot be read, of which a scan would
/// complain.
pub fn may_hold(index: NodeRef<pg_sys::IndexOptInfo>, kinds: &[AsideKind]) -> bool {
    with_open(index, |relation| {
        // SAFETY: the index is open as long as the store is used; a read asks for no table.
        let store = unsafe { RelationStore::new(relation, std::ptr::null_mut()) };
        Meta::read(&store).and_then(|meta| meta.may_hold(&store, kinds)).unwrap_or(true)
    })
}

/// Looks at an index that is one of the planner's.
fn with_open<T>(index: NodeRef<pg_sys::IndexOptInfo>, look: impl FnOnce(pg_sys::Relation) -> T) -> T {
    let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: the planner has locked the indexes that it may use.
    let relation = unsafe { pg_sys::index_open(index.indexoid, no_lock) };
    let found = look(relation);
    // SAFETY: opened above.
    unsafe { pg_sys::index_close(relation, no_lock) };
    found
}
