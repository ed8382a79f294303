//! The type `veccode`: the code of a vector, for indexes that carry it. Its bytes are core's.

use std::fmt::Write;
use std::sync::Arc;

use pgrx::PgSqlErrorCode;
use walia_core::code::Quantizer;
use walia_core::code::standalone::{self, StandaloneCode};
use walia_core::page::Quantizers;
use walia_core::types::{ElementType, Metric};

use super::call::{Bytes, Message};
use super::element::Element;
use super::validate::shown;
use crate::error::{Result, SqlError};
use crate::quantizers::OfProcess;

/// The bits a dimension that a code may have.
pub const CODE_BITS: [i32; 3] = [1, 2, 4];

/// What makes and reads the codes of vectors of so many dimensions.
pub fn quantizer(dimensions: usize, element: ElementType, metric: Metric, bits: u8) -> Arc<Quantizer> {
    let parameters = standalone::parameters(dimensions, element, metric, bits);
    let make = || Ok(Quantizer::new(parameters, &vec![0.0; dimensions]));
    OfProcess.get(&parameters, make).expect("nothing is read")
}

/// The code of a vector.
pub fn of_vector<E: Element>(elements: &[E], bits: i32) -> Result<Bytes> {
    if !CODE_BITS.contains(&bits) {
        let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
        return Err(SqlError::new(code, format!("codes of {bits} bits a dimension are not supported"))
            .hint("Codes may have 1, 2 or 4 bits a dimension."));
    }
    let quantizer = quantizer(elements.len(), E::TYPE, Metric::Cosine, bits as u8);
    Ok(Bytes(standalone::encode(&quantizer, bytemuck::cast_slice(elements))))
}

/// The code of a text: its bytes in hexadecimal, as `bytea` has them.
pub fn parse(text: &[u8]) -> Result<Bytes> {
    let digits = text.strip_prefix(b"\\x").filter(|digits| digits.len().is_multiple_of(2));
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
    let bytes = digits.and_then(|digits| digits.chunks_exact(2).map(byte).collect::<Option<Vec<u8>>>());
    bytes.filter(|bytes| StandaloneCode::parse(bytes).is_some()).map(Bytes).ok_or_else(|| {
        let code = PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION;
        SqlError::new(code, format!("invalid input syntax for type veccode: \"{}\"", shown(text)))
            .detail("Codes are made by walia_code().")
    })
}

/// The text of a code.
pub fn print(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        _ = write!(text, "{byte:02x}");
    }
    text
}

/// The code of a message, which is its bytes.
pub fn receive(mut message: Message) -> Result<Bytes> {
    let bytes = message.rest().to_vec();
    if StandaloneCode::parse(&bytes).is_none() {
        let code = PgSqlErrorCode::ERRCODE_INVALID_BINARY_REPRESENTATION;
        return Err(SqlError::new(code, "invalid binary value for type veccode"));
    }
    Ok(Bytes(bytes))
}

/// The message of a code.
pub fn send(bytes: &[u8]) -> Bytes {
    Bytes(bytes.to_vec())
}
