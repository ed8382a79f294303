//! Casts between vectors, arrays and numbers of dimensions. `typmod` is the expected number of dimensions, or
//! −1.

use pgrx::PgSqlErrorCode;

use super::call::RealArray;
use super::datum::Array;
use super::element::Element;
use super::validate::{check_dimensions, check_expected, element};
use crate::error::{Result, SqlError};

/// A vector of an array of int4, float4, float8 or numeric.
pub fn from_array<E: Element>(array: &Array, typmod: i32) -> Result<Vec<E>> {
    if array.dimensions > 1 {
        return Err(SqlError::new(PgSqlErrorCode::ERRCODE_DATA_EXCEPTION, "array must be 1-D"));
    }
    if array.has_nulls {
        let code = PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED;
        return Err(SqlError::new(code, "array must not contain nulls"));
    }
    check_dimensions::<E>(array.length)?;
    check_expected(typmod, array.length)?;
    match array.floats() {
        Some(floats) => floats.map(element).collect(),
        None => Err(SqlError::new(PgSqlErrorCode::ERRCODE_DATA_EXCEPTION, "unsupported array type")),
    }
}

/// A float4[] of a vector.
pub fn to_array<E: Element>(elements: &[E]) -> RealArray {
    RealArray(elements.iter().map(|element| element.to_f32()).collect())
}

/// A vector of the other type.
pub fn convert<From: Element, To: Element>(elements: &[From], typmod: i32) -> Result<Vec<To>> {
    check_dimensions::<To>(elements.len())?;
    check_expected(typmod, elements.len())?;
    elements.iter().map(|value| element(value.to_f32())).collect()
}
