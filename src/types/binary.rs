//! Binary input and output, big-endian: dimensions and zero (both int16), then the elements.

use pgrx::PgSqlErrorCode;

use super::call::{Bytes, Message};
use super::element::Element;
use super::validate::{check_dimensions, check_expected, finite};
use crate::error::{Result, SqlError};

/// The elements of a vector's message. `typmod` is the expected number of dimensions, or −1.
pub fn receive<E: Element>(mut message: Message, typmod: i32) -> Result<Vec<E>> {
    let dimensions = usize::try_from(message.int16()).unwrap_or(0);
    let unused = message.int16();
    check_dimensions::<E>(dimensions)?;
    check_expected(typmod, dimensions)?;
    if unused != 0 {
        return Err(SqlError::new(
            PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
            format!("expected unused to be 0, not {unused}"),
        ));
    }
    message
        .bytes(dimensions * size_of::<E>())
        .chunks_exact(size_of::<E>())
        .map(|bytes| finite(E::from_be(bytes)))
        .collect()
}

/// The message of a vector.
pub fn send<E: Element>(elements: &[E]) -> Bytes {
    let mut bytes = Vec::with_capacity(4 + size_of_val(elements));
    bytes.extend_from_slice(&(elements.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    for element in elements {
        element.append_be(&mut bytes);
    }
    Bytes(bytes)
}
