//! pgvector's settings `hnsw.*`, which count where walia's own are at their defaults: clients set them.
//!
//! A setting of pgvector's always has a value once its library is loaded. So it is the source of the value
//! that says whether anybody has set it. A session that has set one before the library came has a
//! placeholder, of text.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr;

use pgrx::pg_sys;

/// A setting of walia's and the one of pgvector's that it stands for.
pub struct Pair {
    own: Setting,
    theirs: Setting,
}

impl Pair {
    /// A pair, by the names of both.
    pub const fn new(own: &'static CStr, theirs: &'static CStr) -> Self {
        Self { own: Setting::new(own), theirs: Setting::new(theirs) }
    }

    /// The text of pgvector's value, where that one was set and walia's was not.
    pub fn text(&self) -> Option<&CStr> {
        let theirs = self.set()?;
        // SAFETY: a record of this kind, whose variable has one of its values.
        let text = unsafe {
            match (*theirs).vartype {
                pg_sys::config_type::PGC_STRING => *(*theirs.cast::<pg_sys::config_string>()).variable,
                pg_sys::config_type::PGC_ENUM => {
                    let record = theirs.cast::<pg_sys::config_enum>();
                    pg_sys::config_enum_lookup_by_value(record, *(*record).variable).cast_mut()
                }
                _ => ptr::null_mut(),
            }
        };
        // SAFETY: a C string that lives until the next change of settings, or null.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
    }

    /// The number that is pgvector's value, where that one was set and walia's was not.
    pub fn number(&self) -> Option<i32> {
        let theirs = self.set()?;
        // SAFETY: as above.
        unsafe {
            match (*theirs).vartype {
                pg_sys::config_type::PGC_INT => Some(*(*theirs.cast::<pg_sys::config_int>()).variable),
                _ => self.text()?.to_str().ok()?.trim().parse().ok(),
            }
        }
    }

    /// pgvector's, where that one was set and walia's was not.
    fn set(&self) -> Option<*mut pg_sys::config_generic> {
        let is_set = |record: *mut pg_sys::config_generic| {
            // SAFETY: a record of Postgres's.
            unsafe { (*record).source > pg_sys::GucSource::PGC_S_DYNAMIC_DEFAULT }
        };
        let theirs = self.theirs.record().filter(|record| is_set(*record))?;
        self.own.record().is_none_or(|own| !is_set(own)).then_some(theirs)
    }
}

/// A setting, by its name.
struct Setting {
    name: &'static CStr,
    /// Its record, once a library has defined it: it stays where it is then.
    record: Cell<*mut pg_sys::config_generic>,
}

impl Setting {
    const fn new(name: &'static CStr) -> Self {
        Self { name, record: Cell::new(ptr::null_mut()) }
    }

    /// What Postgres keeps of it; `None` where nobody has defined or set it.
    fn record(&self) -> Option<*mut pg_sys::config_generic> {
        if self.record.get().is_null() {
            let record = find(self.name)?;
            // SAFETY: a record of Postgres's.
            if unsafe { (*record).flags } & pg_sys::GUC_CUSTOM_PLACEHOLDER as i32 != 0 {
                return Some(record);
            }
            self.record.set(record);
        }
        Some(self.record.get())
    }
}

/// Looks a setting up.
#[cfg(not(any(feature = "pg14", feature = "pg15")))]
fn find(name: &CStr) -> Option<*mut pg_sys::config_generic> {
    // SAFETY: the name is a C string; nothing is made, and no error raised, where there is none.
    let record = unsafe { pg_sys::find_option(name.as_ptr(), false, true, pg_sys::DEBUG5 as i32) };
    (!record.is_null()).then_some(record)
}

/// Looks a setting up: Postgres keeps them in the order of their names.
#[cfg(any(feature = "pg14", feature = "pg15"))]
fn find(name: &CStr) -> Option<*mut pg_sys::config_generic> {
    // SAFETY: Postgres's array of as many records as it says.
    let records = unsafe {
        std::slice::from_raw_parts(pg_sys::get_guc_variables(), pg_sys::GetNumConfigOptions() as usize)
    };
    fn folded(name: &CStr) -> impl Iterator<Item = u8> {
        name.to_bytes().iter().map(u8::to_ascii_lowercase)
    }
    // SAFETY: every record has a name.
    let name_of = |record: *mut pg_sys::config_generic| unsafe { CStr::from_ptr((*record).name) };
    let found = records.binary_search_by(|record| folded(name_of(*record)).cmp(folded(name)));
    Some(records[found.ok()?])
}
