//! Functions of vectors that give vectors, numbers or bits; comparison.
//!
//! Elements are computed in float4 and norms in float8.

use std::cmp::Ordering;

use super::call::Bits;
use super::element::Element;
use super::validate::{check_dimensions, check_same, overflow, underflow};
use crate::error::Result;

/// `a + b`, by element.
pub fn add<E: Element>(a: &[E], b: &[E]) -> Result<Vec<E>> {
    by_element(a, b, |a, b| a + b).and_then(not_overflowed)
}

/// `a - b`, by element.
pub fn subtract<E: Element>(a: &[E], b: &[E]) -> Result<Vec<E>> {
    by_element(a, b, |a, b| a - b).and_then(not_overflowed)
}

/// `a * b`, by element.
pub fn multiply<E: Element>(a: &[E], b: &[E]) -> Result<Vec<E>> {
    let products = by_element(a, b, |a, b| a * b)?;
    for ((a, b), product) in a.iter().zip(b).zip(&products) {
        let product = product.to_f32();
        if product.is_infinite() {
            return Err(overflow());
        }
        if product == 0.0 && a.to_f32() != 0.0 && b.to_f32() != 0.0 {
            return Err(underflow());
        }
    }
    Ok(products)
}

fn by_element<E: Element>(a: &[E], b: &[E], operation: impl Fn(f32, f32) -> f32) -> Result<Vec<E>> {
    check_same(a, b)?;
    Ok(a.iter().zip(b).map(|(a, b)| E::from_f32(operation(a.to_f32(), b.to_f32()))).collect())
}

fn not_overflowed<E: Element>(elements: Vec<E>) -> Result<Vec<E>> {
    if elements.iter().any(|element| element.to_f32().is_infinite()) { Err(overflow()) } else { Ok(elements) }
}

/// The elements of `a`, then those of `b`.
pub fn concat<E: Element>(a: &[E], b: &[E]) -> Result<Vec<E>> {
    check_dimensions::<E>(a.len() + b.len())?;
    Ok([a, b].concat())
}

/// The order of two vectors: by element, then by length, as arrays are ordered.
pub fn compare<E: Element>(a: &[E], b: &[E]) -> Ordering {
    // −0 equals 0, and elements are never NaN.
    let mut by_element =
        a.iter().zip(b).map(|(a, b)| a.to_f32().partial_cmp(&b.to_f32()).unwrap_or(Ordering::Equal));
    by_element.find(|order| order.is_ne()).unwrap_or(a.len().cmp(&b.len()))
}

/// The Euclidean norm.
pub fn norm<E: Element>(elements: &[E]) -> f64 {
    elements.iter().map(|element| f64::from(element.to_f32()).powi(2)).sum::<f64>().sqrt()
}

/// The vector of norm 1 in the same direction; of a zero vector, zeros.
pub fn normalize<E: Element>(elements: &[E]) -> Result<Vec<E>> {
    let norm = norm(elements);
    if norm == 0.0 {
        return Ok(vec![E::zeroed(); elements.len()]);
    }
    let scale = |element: &E| E::from_f32((f64::from(element.to_f32()) / norm) as f32);
    not_overflowed(elements.iter().map(scale).collect())
}

/// `count` elements from the one numbered `start` on, from 1, as far as there are any: like substring.
pub fn subvector<E: Element>(elements: &[E], start: i32, count: i32) -> Result<Vec<E>> {
    let length = elements.len() as i64;
    // In 64 bits, where no sum of two 32-bit numbers overflows.
    let end = (i64::from(start) + i64::from(count.max(0)) - 1).clamp(0, length);
    let start = (i64::from(start) - 1).clamp(0, end);
    let part = &elements[start as usize..end as usize];
    check_dimensions::<E>(part.len())?;
    Ok(part.to_vec())
}

/// A bit for each dimension: whether the element is above zero.
pub fn binary_quantize<E: Element>(elements: &[E]) -> Bits {
    let byte = |chunk: &[E]| {
        let bits =
            chunk.iter().enumerate().map(|(index, element)| u8::from(element.to_f32() > 0.0) << (7 - index));
        bits.fold(0, |byte, bit| byte | bit)
    };
    Bits { length: elements.len(), bytes: elements.chunks(8).map(byte).collect() }
}
