//! Text input and output: `[1,2.5,-3e+20]`.
//!
//! Input takes what pgvector takes, decimal numbers only: the same white space, the same numbers, rounded to
//! nearest. Output prints what float4out prints.

use pgrx::PgSqlErrorCode;
use walia_core::types::MAX_DIMENSIONS;

use super::decimal::append_shortest;
use super::element::Element;
use super::validate::{check_dimensions, check_expected, finite, out_of_range, shown};
use crate::error::{Result, SqlError};

/// Bytes that the shortest decimal of a float4 may take.
const MAX_DECIMAL_LENGTH: usize = 15;

/// The elements of a vector's text. `typmod` is the expected number of dimensions, or −1.
pub fn parse<E: Element>(text: &[u8], typmod: i32) -> Result<Vec<E>> {
    let syntax = || {
        SqlError::new(
            PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type {}: \"{}\"", E::NAME, shown(text)),
        )
    };
    let mut rest = skip_space(text)
        .strip_prefix(b"[")
        .ok_or_else(|| syntax().detail("Vector contents must start with \"[\"."))?;
    if skip_space(rest).starts_with(b"]") {
        check_dimensions::<E>(0)?;
    }
    let mut elements = Vec::with_capacity(usize::try_from(typmod).unwrap_or(0).min(MAX_DIMENSIONS));
    loop {
        if elements.len() == MAX_DIMENSIONS {
            check_dimensions::<E>(MAX_DIMENSIONS + 1)?;
        }
        rest = skip_space(rest);
        let (number, after) = rest.split_at(number_length(rest));
        elements.push(parse_element(number).ok_or_else(syntax)??);
        rest = match skip_space(after) {
            [b',', after @ ..] => after,
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            _ => return Err(syntax()),
        };
    }
    if !skip_space(rest).is_empty() {
        return Err(syntax().detail("Junk after closing right brace."));
    }
    check_expected(typmod, elements.len())?;
    Ok(elements)
}

/// The element of a number's text; `None` where that is no number.
fn parse_element<E: Element>(number: &[u8]) -> Option<Result<E>> {
    let number = str::from_utf8(number).ok()?;
    let element = E::from_f32(number.parse().ok()?);
    // Digits that end as infinity were too many; the word itself is refused in its own words.
    let overflowed = element.to_f32().is_infinite() && number.bytes().any(|byte| byte.is_ascii_digit());
    Some(if overflowed { Err(out_of_range::<E>(&shown(number.as_bytes()))) } else { finite(element) })
}

/// Length of the longest prefix that is a decimal number, an infinity or a NaN by strtof's rules; 0 where
/// none is.
fn number_length(text: &[u8]) -> usize {
    let sign = sign_length(text);
    let unsigned = &text[sign..];
    for word in ["infinity", "inf", "nan"] {
        if unsigned.get(..word.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(word.as_bytes())) {
            return sign + word.len();
        }
    }
    let digits_from =
        |start: usize| unsigned[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let integer = digits_from(0);
    let mut length = integer;
    if unsigned.get(length) == Some(&b'.') {
        let fraction = digits_from(length + 1);
        if integer + fraction > 0 {
            length += 1 + fraction;
        }
    }
    if length == 0 {
        return 0;
    }
    if matches!(unsigned.get(length), Some(b'e' | b'E')) {
        let start = length + 1 + sign_length(&unsigned[length + 1..]);
        let exponent = digits_from(start);
        if exponent > 0 {
            length = start + exponent;
        }
    }
    sign + length
}

fn sign_length(text: &[u8]) -> usize {
    usize::from(matches!(text.first(), Some(b'+' | b'-')))
}

/// The text after its leading white space, by Postgres's rules for it (a vertical tab included).
fn skip_space(text: &[u8]) -> &[u8] {
    let space = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c));
    &text[space.count()..]
}

/// The text of a vector.
pub fn print<E: Element>(elements: &[E]) -> String {
    let mut text = String::with_capacity(2 + elements.len() * (MAX_DECIMAL_LENGTH + 1));
    text.push('[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        append_shortest(&mut text, element.to_f32());
    }
    text.push(']');
    text
}
