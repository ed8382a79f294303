//! The index options `m`, `ef_construction`, `quantization` and `storage`.

use std::ffi::CStr;
use std::mem::offset_of;
use std::sync::OnceLock;

use pgrx::{PgSqlErrorCode, pg_guard, pg_sys};
use walia_core::page::Quantization;

use crate::error::SqlError;
use crate::error_context::enter;

/// The options of an index, in the layout that Postgres fills: a varlena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Options {
    vl_len: i32,
    /// Links that a node keeps on every layer above 0.
    pub m: i32,
    /// Candidates kept while looking for a new node's neighbours.
    pub ef_construction: i32,
    /// A position among the values of [`QUANTIZATION`].
    quantization: i32,
    /// A position among the values of [`STORAGE`].
    storage: i32,
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

/// An option whose value is one of some words.
struct EnumOption<T: 'static> {
    name: &'static CStr,
    description: &'static CStr,
    offset: usize,
    /// The first is the default.
    values: &'static [(&'static CStr, T)],
    /// DETAIL of an error for other values.
    detail: &'static CStr,
}

const QUANTIZATION: EnumOption<Quantization> = EnumOption {
    name: c"quantization",
    description: c"Bits a dimension of the codes beside links",
    offset: offset_of!(Options, quantization),
    values: &[
        (c"auto", Quantization::Auto),
        (c"none", Quantization::None),
        (c"1", Quantization::Bits(1)),
        (c"2", Quantization::Bits(2)),
        (c"4", Quantization::Bits(4)),
    ],
    detail: c"Valid values are \"auto\", \"none\", \"1\", \"2\" and \"4\".",
};

const STORAGE: EnumOption<Option<StoredAs>> = EnumOption {
    name: c"storage",
    description: c"Precision of the vectors that the index holds",
    offset: offset_of!(Options, storage),
    values: &[
        (c"auto", None),
        (c"f32", Some(StoredAs::F32)),
        (c"f16", Some(StoredAs::F16)),
        (c"sq8", Some(StoredAs::Sq8)),
    ],
    detail: c"Valid values are \"auto\", \"f32\", \"f16\" and \"sq8\".",
};

/// The precision of the vectors that an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredAs {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// A byte an element.
    Sq8,
}

/// What ALTER INDEX takes to change an option.
const LOCK: pg_sys::LOCKMODE = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;

/// What Postgres calls this access method's options by.
static KIND: OnceLock<pg_sys::relopt_kind::Type> = OnceLock::new();

/// Defines the options; called once, when the library is loaded.
pub fn define() {
    KIND.get_or_init(|| {
        // SAFETY: in the backend's only thread.
        let kind = unsafe { pg_sys::add_reloption_kind() };
        for IntOption { name, description, default, min, max, .. } in OPTIONS {
            let (name, description) = (name.as_ptr(), description.as_ptr());
            // SAFETY: C strings that live for ever.
            unsafe { pg_sys::add_int_reloption(kind, name, description, default, min, max, LOCK) };
        }
        // SAFETY: the library is being loaded.
        unsafe {
            define_enum(kind, &QUANTIZATION);
            define_enum(kind, &STORAGE);
        }
        kind
    });
}

/// Defines an option, for ever.
///
/// # Safety
/// The library is being loaded.
unsafe fn define_enum<T>(kind: pg_sys::relopt_kind::Type, option: &EnumOption<T>) {
    let words = option.values.iter().zip(0..);
    let end = pg_sys::relopt_enum_elt_def { string_val: std::ptr::null(), symbol_val: 0 };
    let members: Vec<_> = words
        .map(|((word, _), symbol_val)| pg_sys::relopt_enum_elt_def { string_val: word.as_ptr(), symbol_val })
        .chain([end])
        .collect();
    // SAFETY: Postgres keeps the members, which are leaked, and copies the strings or keeps them, which are
    // constants.
    unsafe {
        pg_sys::add_enum_reloption(
            kind,
            option.name.as_ptr(),
            option.description.as_ptr(),
            members.leak().as_mut_ptr(),
            0,
            option.detail.as_ptr(),
            LOCK,
        );
    }
}

impl Options {
    /// The codes that the index shall have.
    pub fn quantization(&self) -> Quantization {
        QUANTIZATION.values.get(self.quantization as usize).map_or(Quantization::Auto, |(_, value)| *value)
    }

    /// The precision of the vectors that the index shall hold; `None` where it may choose.
    pub fn storage(&self) -> Option<StoredAs> {
        STORAGE.values.get(self.storage as usize).and_then(|(_, value)| *value)
    }

    /// The options of an open index.
    ///
    /// # Safety
    /// `index` is an open walia_hnsw index.
    pub unsafe fn of(index: pg_sys::Relation) -> Self {
        // SAFETY: rd_options is null or what `amoptions` gave for this index.
        unsafe { Self::parsed((*index).rd_options) }
    }

    /// The options that an index has by its row of pg_class.
    ///
    /// # Safety
    /// `row` is a row of pg_class, which `descriptor` describes, of a walia_hnsw index.
    pub unsafe fn of_row(row: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) -> Self {
        // SAFETY: by the caller's promise; the result is null or what `amoptions` gives.
        unsafe { Self::parsed(pg_sys::extractRelOptions(row, descriptor, Some(amoptions))) }
    }

    /// The options of an array of text, as pg_class has them; the defaults where there is none. Raises an
    /// ERROR for what CREATE INDEX would not take.
    ///
    /// # Safety
    /// `options` is an array of text.
    pub unsafe fn of_array(options: Option<pg_sys::Datum>) -> Self {
        // SAFETY: by the caller's promise.
        unsafe { Self::parsed(amoptions(options.unwrap_or(pg_sys::Datum::from(0)), true)) }
    }

    /// # Safety
    /// `options` is null or what `amoptions` gave.
    unsafe fn parsed(options: *const pg_sys::bytea) -> Self {
        // SAFETY: by the caller's promise.
        unsafe { options.cast::<Self>().as_ref() }.copied().unwrap_or(Self {
            vl_len: 0,
            m: OPTIONS[0].default,
            ef_construction: OPTIONS[1].default,
            quantization: 0,
            storage: 0,
        })
    }
}

/// `amoptions`: parses and, when asked to, validates `WITH (…)`.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn amoptions(reloptions: pg_sys::Datum, validate: bool) -> *mut pg_sys::bytea {
    enter!();
    let element = |name: &CStr, opttype, offset: usize| pg_sys::relopt_parse_elt {
        optname: name.as_ptr(),
        opttype,
        offset: offset as i32,
        #[cfg(feature = "pg18")]
        isset_offset: 0,
    };
    let int = |option: &IntOption| element(option.name, pg_sys::relopt_type::RELOPT_TYPE_INT, option.offset);
    let word = |name, offset| element(name, pg_sys::relopt_type::RELOPT_TYPE_ENUM, offset);
    let elements = [
        int(&OPTIONS[0]),
        int(&OPTIONS[1]),
        word(QUANTIZATION.name, QUANTIZATION.offset),
        word(STORAGE.name, STORAGE.offset),
    ];
    let kind = *KIND.get().expect("defined when the library was loaded");
    let (size, count) = (size_of::<Options>(), elements.len() as i32);
    // SAFETY: the elements describe fields of `Options`; the result is null or a palloc'd `Options`.
    let (parsed, options) = unsafe {
        let parsed = pg_sys::build_reloptions(reloptions, validate, kind, size, elements.as_ptr(), count);
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
