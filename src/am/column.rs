//! What an index's column, operator class and options say: the parameters of its graph, and its vectors.

use std::cell::Cell;

use pgrx::{PgSqlErrorCode, pg_sys};
use walia_core::page::{Quantization, Storage, Wishes, fit};
use walia_core::types::{ElementType, MAX_SPARSE_ELEMENTS, Metric, Parameters, PayloadEncoding};

use super::options::{Options, StoredAs};
use crate::error::{Result, SqlError};
use crate::types::{RawVector, different_dimensions, different_lengths, measure_of};

/// Support function 1: the distance.
pub const DISTANCE_PROCEDURE: u16 = 1;

/// The metric and the element type of an index's operator class; `None` where it is none of walia's
/// distances.
///
/// # Safety
/// `index` is an open walia_hnsw index.
pub unsafe fn measure(index: pg_sys::Relation) -> Option<(Metric, ElementType)> {
    // SAFETY: an open index has one column at least; the relation cache keeps its support functions.
    let distance = unsafe { (*pg_sys::index_getprocinfo(index, 1, DISTANCE_PROCEDURE)).fn_addr };
    distance.and_then(measure_of)
}

/// The parameters that an index is to be built with, as far as they do not depend on its vectors.
///
/// # Safety
/// `index` is an open walia_hnsw index.
pub unsafe fn parameters(index: pg_sys::Relation) -> Result<Parameters> {
    // SAFETY: by the caller's promise.
    unsafe { wishes(index) }.map(fit_again)
}

/// What is wished for of an index.
///
/// # Safety
/// `index` is an open walia_hnsw index.
pub unsafe fn wishes(index: pg_sys::Relation) -> Result<Wishes> {
    // SAFETY: an open index has one column at least.
    unsafe {
        let descriptor = pgrx::PgTupleDesc::from_pg_unchecked((*index).rd_att);
        let column = descriptor.get(0).expect("an index has a column");
        let column = Column { type_oid: column.atttypid, type_modifier: column.atttypmod };
        declared_wishes(column, &Options::of(index), measure(index))
    }
}

/// The type of an index's column.
#[derive(Clone, Copy)]
pub struct Column {
    /// The type, perhaps a domain.
    pub type_oid: pg_sys::Oid,
    /// Its type modifier, or -1.
    pub type_modifier: i32,
}

/// What is wished for of an index of a column.
///
/// # Safety
/// Called in a transaction; the type exists.
pub unsafe fn declared_wishes(
    Column { type_oid, mut type_modifier }: Column,
    options: &Options,
    measure: Option<(Metric, ElementType)>,
) -> Result<Wishes> {
    if type_modifier < 0 {
        // A domain has none of its own: that of the type which it is over counts.
        // SAFETY: by the caller's promise.
        unsafe { pg_sys::getBaseTypeAndTypmod(type_oid, &mut type_modifier) };
    }
    let (metric, element) = measure.ok_or_else(|| {
        SqlError::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "support function 1 of the operator class is not a distance function of walia",
        )
    })?;
    // SAFETY: by the caller's promise.
    let name = || unsafe { type_name(type_oid) };
    let invalid = |message: String| SqlError::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message);
    if type_modifier < 0 {
        return Err(invalid("column does not have dimensions".into()).hint(format!(
            "Specify them in the type, as in {}(384), or index an expression of such a type.",
            name()
        )));
    }
    let most = element.max_dimensions();
    let dimensions = usize::try_from(type_modifier).ok().filter(|dimensions| *dimensions <= most);
    let dimensions = dimensions.ok_or_else(|| {
        SqlError::new(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("column cannot have more than {most} dimensions for walia_hnsw index"),
        )
    })?;
    let quantization = options.quantization();
    if !(metric.has_codes() && element.is_quantizable()) && matches!(quantization, Quantization::Bits(_)) {
        let of_what =
            if element.is_quantizable() { "the L1 distance".into() } else { format!("type {}", name()) };
        return Err(invalid(format!("quantization is not supported for {of_what}"))
            .hint("Omit the option, or set it to \"none\"."));
    }
    let storage = match (options.storage(), element) {
        (Some(_), ElementType::Bit | ElementType::Sparse) => {
            return Err(invalid(format!("storage is not supported for type {}", name()))
                .hint("Omit the option, or set it to \"auto\"."));
        }
        (None, _) => Storage::Auto,
        (Some(StoredAs::F32), ElementType::F32) | (Some(StoredAs::F16), ElementType::F16) => {
            Storage::Encoding(PayloadEncoding::Column)
        }
        (Some(StoredAs::F16), ElementType::F32) => Storage::Encoding(PayloadEncoding::F16),
        (Some(StoredAs::Sq8), _) => Storage::Encoding(PayloadEncoding::Sq8),
        (Some(StoredAs::F32), ElementType::F16) => {
            return Err(invalid(format!("storage \"f32\" is more precise than type {}", name()))
                .hint("Omit the option, or set it to \"f16\" or \"sq8\"."));
        }
    };
    let (m, ef_construction) = (options.m as u16, options.ef_construction as u16);
    Ok(Wishes { dimensions, element, metric, m, ef_construction, quantization, storage })
}

/// [`fit()`], whose last answer is kept: the planner asks for each of a table's partitions, whose indexes are
/// alike.
fn fit_again(wishes: Wishes) -> Parameters {
    thread_local! {
        static LAST: Cell<Option<(Wishes, Parameters)>> = const { Cell::new(None) };
    }
    if let Some((_, parameters)) = LAST.get().filter(|(last, _)| *last == wishes) {
        return parameters;
    }
    let parameters = fit(wishes);
    LAST.set(Some((wishes, parameters)));
    parameters
}

/// The vector of a datum that an index with these parameters is to hold.
///
/// # Safety
/// `datum` is a value of the index's column, and not NULL.
pub unsafe fn vector(datum: pg_sys::Datum, parameters: &Parameters) -> Result<RawVector> {
    // SAFETY: by the caller's promise.
    let vector = unsafe { RawVector::from_datum(datum, parameters.element) };
    if !fits(&vector, parameters) {
        return Err(SqlError::new(
            PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
            format!("expected {} dimensions, not {}", parameters.dimensions, vector.dimensions()),
        ));
    }
    if !parameters.is_vector_size(vector.bytes().len()) {
        return Err(SqlError::new(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!(
                "sparsevec cannot have more than {MAX_SPARSE_ELEMENTS} non-zero elements for walia_hnsw index"
            ),
        ));
    }
    Ok(vector)
}

/// The vector that a query is for: the operator's right side, its column being the left one.
///
/// # Safety
/// `datum` is a value of the operator's right type, and not NULL; `index` is an open walia_hnsw index with
/// these parameters.
pub unsafe fn query_vector(
    datum: pg_sys::Datum,
    parameters: &Parameters,
    index: pg_sys::Relation,
) -> Result<RawVector> {
    // SAFETY: by the caller's promise.
    let vector = unsafe { RawVector::from_datum(datum, parameters.element) };
    if fits(&vector, parameters) {
        return Ok(vector);
    }
    // The operator's own words.
    let (expected, dimensions) = (parameters.dimensions, vector.dimensions());
    if parameters.element == ElementType::Bit {
        return Err(different_lengths(expected, dimensions));
    }
    // SAFETY: by the caller's promise.
    let name = unsafe { indexed_type_name(index) };
    Err(different_dimensions(&name, expected, dimensions))
}

/// Whether a vector has the dimensions of an index's, and all of its bytes.
fn fits(vector: &RawVector, parameters: &Parameters) -> bool {
    vector.dimensions() == parameters.dimensions && vector.is_whole()
}

/// The name of the type that an index's operator class is for.
///
/// # Safety
/// `index` is an open walia_hnsw index.
pub unsafe fn indexed_type_name(index: pg_sys::Relation) -> String {
    // SAFETY: the relation cache keeps a type for each column, of which there is one at least.
    unsafe { type_name(*(*index).rd_opcintype) }
}

/// The name of a type, or of the one that a domain is over: without a schema, as operators' messages have it.
///
/// # Safety
/// Called in a transaction; the type exists.
pub unsafe fn type_name(type_oid: pg_sys::Oid) -> String {
    // SAFETY: by the caller's promise. The row is released when it has been read.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::TYPEOID as i32;
        let row = pg_sys::SearchSysCache1(cache, pg_sys::getBaseType(type_oid).into());
        assert!(!row.is_null(), "the type of a column exists");
        let name = &(*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_type>()).typname;
        let name = pgrx::name_data_to_str(name).to_owned();
        pg_sys::ReleaseSysCache(row);
        name
    }
}

/// The precision of the vectors that an index holds, as the option `storage` calls it.
pub fn storage_name(parameters: &Parameters) -> &'static str {
    match (parameters.payload, parameters.element) {
        (PayloadEncoding::Sq8, _) => "sq8",
        (PayloadEncoding::F16, _) | (PayloadEncoding::Column, ElementType::F16) => "f16",
        (PayloadEncoding::Column, ElementType::F32 | ElementType::Sparse) => "f32",
        (PayloadEncoding::Column, ElementType::Bit) => "bit",
    }
}

/// The metric's name, for people.
pub fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::L2 => "l2",
        Metric::InnerProduct => "inner_product",
        Metric::Cosine => "cosine",
        Metric::L1 => "l1",
        Metric::Hamming => "hamming",
        Metric::Jaccard => "jaccard",
    }
}
