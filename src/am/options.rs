//! The index options `m` and `ef_construction`.
//!
//! Imports `error`.

use std::ffi::CStr;
use std::mem::offset_of;
use std::sync::OnceLock;

use pgrx::{PgSqlErrorCode, pg_guard, pg_sys};

use crate::error::SqlError;

/// The options of an index, in the layout that Postgres fills: a varlena.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Options {
    vl_len: i32,
    /// Links that a node keeps on every layer above 0.
    pub m: i32,
    /// Candidates kept while looking for a new node's neighbours.
    pub ef_construction: i32,
}

/// An integer option.
struct IntOption {
    name: &'static CStr,
    description: &'static CStr,
    offset: usize,
    default: i32,
    min: i32,
    max: i32,
}

const OPTIONS: [IntOption; 2] = [
    IntOption {
        name: c"m",
        description: c"Number of links that a node keeps on every layer above 0",
        offset: offset_of!(Options, m),
        default: 16,
        min: 2,
        max: 100,
    },
    IntOption {
        name: c"ef_construction",
        description: c"Number of candidates kept while looking for a new node's neighbours",
        offset: offset_of!(Options, ef_construction),
        default: 100,
        min: 4,
        max: 1000,
    },
];

/// What Postgres calls this access method's options by.
static KIND: OnceLock<pg_sys::relopt_kind::Type> = OnceLock::new();

/// Defines the options; called once, when the library is loaded.
pub fn define() {
    // SAFETY: called while the library is loaded, with C strings that live for ever.
    KIND.get_or_init(|| unsafe {
        let kind = pg_sys::add_reloption_kind();
        for option in &OPTIONS {
            pg_sys::add_int_reloption(
                kind,
                option.name.as_ptr(),
                option.description.as_ptr(),
                option.default,
                option.min,
                option.max,
                pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE,
            );
        }
        kind
    });
}

impl Options {
    /// The options of an open index.
    ///
    /// # Safety
    /// `index` is an open walia_hnsw index.
    pub unsafe fn of(index: pg_sys::Relation) -> Self {
        // SAFETY: rd_options is null or what `amoptions` gave for this index.
        unsafe {
            (*index).rd_options.cast::<Self>().as_ref().copied().unwrap_or(Self {
                vl_len: 0,
                m: OPTIONS[0].default,
                ef_construction: OPTIONS[1].default,
            })
        }
    }
}

/// `amoptions`: parses and, when asked to, validates `WITH (…)`.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn amoptions(reloptions: pg_sys::Datum, validate: bool) -> *mut pg_sys::bytea {
    let elements = OPTIONS.map(|option| pg_sys::relopt_parse_elt {
        optname: option.name.as_ptr(),
        opttype: pg_sys::relopt_type::RELOPT_TYPE_INT,
        offset: option.offset as i32,
        #[cfg(feature = "pg18")]
        isset_offset: 0,
    });
    let kind = *KIND.get().expect("defined when the library was loaded");
    // SAFETY: the elements describe fields of `Options`; the result is null or a palloc'd `Options`.
    let (parsed, options) = unsafe {
        let parsed = pg_sys::build_reloptions(
            reloptions,
            validate,
            kind,
            size_of::<Options>(),
            elements.as_ptr(),
            elements.len() as i32,
        );
        (parsed, parsed.cast::<Options>().as_ref())
    };
    if let Some(options) = options
        && validate
        && options.ef_construction < 2 * options.m
    {
        SqlError::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "ef_construction must be greater than or equal to 2 * m",
        )
        .raise()
    }
    parsed.cast()
}
