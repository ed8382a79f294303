//! `walia_prewarm(regclass, text)`: loads the pages of an index that searches need first.

use pgrx::{PgSqlErrorCode, pg_sys};
use walia_core::page::{Contents, Occupancy, Pages};
use walia_core::types::Result;

use super::open::{OpenIndex, Purpose};
use super::rows::{export, row};
use crate::error::{OrRaise, SqlError};
use crate::store::RelationStore;
use crate::store::cached;

row! {
    /// What was loaded.
    Prewarmed {
        pages_loaded: i64,
        pages_cached_before: i64,
        pages_without_room: i64,
    }
}

export!("walia_prewarm_wrapper": call(REGCLASSOID, TEXTOID) -> Prewarmed => [prewarm(call.oid(0), call.text(1))]);

/// How soon a search needs a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// To find where to begin: the meta pages and the upper layers.
    Upper,
    /// To walk.
    Links,
    /// For what it has found.
    All,
}

impl Need {
    const ALL: [(&'static str, Self); 3] =
        [("upper", Self::Upper), ("links", Self::Links), ("all", Self::All)];

    fn named(name: &str) -> std::result::Result<Self, SqlError> {
        let named = Self::ALL.into_iter().find(|(other, _)| *other == name);
        named.map(|(_, need)| need).ok_or_else(|| {
            let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
            SqlError::new(code, format!("unrecognized part of an index: \"{name}\""))
                .hint("Valid values are \"upper\", \"links\", and \"all\".")
        })
    }

    fn of(page: &Occupancy) -> Self {
        match page {
            Occupancy { is_upper: true, .. } | Occupancy { contents: Contents::Meta, .. } => Self::Upper,
            Occupancy { has_links: true, .. } => Self::Links,
            _ => Self::All,
        }
    }
}

/// Loads pages of an index as far as there is room for them, those that are needed first before the others.
fn prewarm(index: pg_sys::Oid, what: Option<String>) -> Prewarmed {
    let need = Need::named(what.as_deref().unwrap_or_default()).or_raise();
    let opened = OpenIndex::new(index, Purpose::Read).or_raise();
    if opened.is_temporary() {
        let code = PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;
        SqlError::new(code, "cannot prewarm a temporary index")
            .detail("Its pages are cached in the session's own memory.")
            .raise()
    }
    load(&opened.store_for_overview(), need).map_err(|error| opened.error(error)).or_raise()
}

fn load(store: &RelationStore, need: Need) -> Result<Prewarmed> {
    // Others need buffers, too.
    let room = cached::buffers() as u64 * 3 / 4;
    let before = store.cached_pages()?;
    let blocks = store.block_count()?;
    let mut done = Prewarmed { pages_loaded: 0, pages_cached_before: 0, pages_without_room: 0 };
    let mut kept = Vec::new();
    // All that is asked for in one pass, unless it may be too much.
    let passes: Vec<_> = match u64::from(blocks) <= room {
        true => vec![Need::Upper..=need],
        false => {
            Need::ALL.into_iter().filter(|(_, other)| *other <= need).map(|(_, need)| need..=need).collect()
        }
    };
    for needed in passes {
        let mut before = before.iter().peekable();
        for (block, page) in store.pages(0..blocks) {
            let page = page?;
            let is_needed = needed.contains(&Need::of(&Occupancy::of(&page, block)));
            drop(page);
            while before.next_if(|page| page.block < block).is_some() {}
            if !is_needed {
                continue;
            }
            if kept.len() as u64 == room {
                done.pages_without_room += 1;
                continue;
            }
            // Until then it is in the ring of buffers by which this pass reads.
            store.keep(block);
            kept.try_reserve(1)?;
            kept.push((block, before.peek().is_some_and(|page| page.block == block)));
        }
    }
    // What others have used meanwhile may have taken their places.
    let after = store.cached_pages()?;
    for (block, was_cached) in kept {
        *match after.binary_search_by_key(&block, |page| page.block) {
            Err(_) => &mut done.pages_without_room,
            Ok(_) if was_cached => &mut done.pages_cached_before,
            Ok(_) => &mut done.pages_loaded,
        } += 1;
    }
    Ok(done)
}
