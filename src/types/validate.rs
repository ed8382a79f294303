//! What every vector must be: 1 to 16000 dimensions, as many as the type modifier says, all elements finite.
//!
//! The messages are those that pgvector's users know.

use pgrx::PgSqlErrorCode;
use walia_core::types::MAX_DIMENSIONS;

use super::decimal::shortest;
use super::element::Element;
use crate::error::{Result, SqlError};

/// `dimensions` is a number of dimensions that a vector may have.
pub fn check_dimensions<E: Element>(dimensions: usize) -> Result<()> {
    if dimensions < 1 {
        return Err(SqlError::new(
            PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
            format!("{} must have at least 1 dimension", E::NAME),
        ));
    }
    if dimensions > MAX_DIMENSIONS {
        return Err(SqlError::new(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("{} cannot have more than {MAX_DIMENSIONS} dimensions", E::NAME),
        ));
    }
    Ok(())
}

/// `dimensions` is what a type modifier (−1: none) or an earlier vector asks for.
pub fn check_expected(expected: i32, dimensions: usize) -> Result<()> {
    if expected == -1 || usize::try_from(expected) == Ok(dimensions) {
        return Ok(());
    }
    Err(SqlError::new(
        PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
        format!("expected {expected} dimensions, not {dimensions}"),
    ))
}

/// Both vectors have the same number of dimensions.
pub fn check_same<E: Element>(a: &[E], b: &[E]) -> Result<()> {
    if a.len() == b.len() {
        return Ok(());
    }
    Err(different_dimensions(E::NAME, a.len(), b.len()))
}

/// The error for two vectors of a type that have not the same number of dimensions.
pub fn different_dimensions(name: &str, a: usize, b: usize) -> SqlError {
    SqlError::new(PgSqlErrorCode::ERRCODE_DATA_EXCEPTION, format!("different {name} dimensions {a} and {b}"))
}

/// The error for two values of type `bit` that are not of one length.
pub fn different_lengths(a: usize, b: usize) -> SqlError {
    SqlError::new(PgSqlErrorCode::ERRCODE_DATA_EXCEPTION, format!("different bit lengths {a} and {b}"))
}

/// The element itself, if it is finite.
pub fn finite<E: Element>(element: E) -> Result<E> {
    let value = element.to_f32();
    if value.is_finite() {
        return Ok(element);
    }
    let what = if value.is_nan() { "NaN" } else { "infinite value" };
    Err(SqlError::new(PgSqlErrorCode::ERRCODE_DATA_EXCEPTION, format!("{what} not allowed in {}", E::NAME)))
}

/// The nearest element to a value that came from another type.
pub fn element<E: Element>(value: f32) -> Result<E> {
    let element = E::from_f32(value);
    if value.is_finite() && !element.to_f32().is_finite() {
        return Err(out_of_range::<E>(&shortest(value)));
    }
    finite(element)
}

/// Text as a message shows it: all of it, but of what may have any length the beginning. Messages are copied
/// more than once.
pub fn shown(text: &[u8]) -> String {
    const MOST: usize = 1000;
    let mut length = text.len();
    if length > MOST {
        // Not in the middle of a character.
        length = (0..=MOST).rev().find(|end| text[*end] & 0xc0 != 0x80).unwrap_or(MOST);
    }
    let mut shown = String::from_utf8_lossy(&text[..length]).into_owned();
    if length < text.len() {
        shown.push_str("...");
    }
    shown
}

/// The error for a number, as text, that no element can hold.
pub fn out_of_range<E: Element>(number: &str) -> SqlError {
    SqlError::new(
        PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
        format!("\"{number}\" is out of range for type {}", E::NAME),
    )
}

/// The error for a result that is too large.
pub fn overflow() -> SqlError {
    SqlError::new(PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

/// The error for a product that is too small.
pub fn underflow() -> SqlError {
    SqlError::new(PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow")
}

/// The number of dimensions that a type modifier's one integer says.
pub fn check_modifier<E: Element>(modifiers: &[i32]) -> Result<i32> {
    let invalid = |message| SqlError::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message);
    match modifiers {
        [dimensions] if *dimensions < 1 => {
            Err(invalid(format!("dimensions for type {} must be at least 1", E::NAME)))
        }
        [dimensions] if *dimensions > MAX_DIMENSIONS as i32 => {
            Err(invalid(format!("dimensions for type {} cannot exceed {MAX_DIMENSIONS}", E::NAME)))
        }
        [dimensions] => Ok(*dimensions),
        _ => Err(invalid("invalid type modifier".into())),
    }
}
