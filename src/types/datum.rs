//! The layout of values: vectors, arrays and states of aggregates in memory that Postgres owns.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;

use pgrx::pg_sys::Datum;
use pgrx::{PgSqlErrorCode, pg_sys};
use walia_core::types::{ElementType, SPARSE_BYTES};

use super::element::Element;
use crate::error::SqlError;

/// Bytes of a vector before its elements, after the varlena header: dimensions and zero, both int16; of a
/// `bit` its length, an int32.
const VECTOR_HEADER: usize = 4;
/// The same of a sparse vector: dimensions, the number of its elements, and zero, all int32.
const SPARSE_HEADER: usize = 12;
/// Bytes of a one-dimensional array without nulls before its elements, after the varlena header.
const ARRAY_HEADER: usize = size_of::<pg_sys::ArrayType>() + 2 * size_of::<i32>() - pg_sys::VARHDRSZ;

/// The contents of a varlena, without its header; aligned to 4 bytes.
///
/// Memory of its own (a detoasted copy, a new value) is freed with it or handed over as a datum.
pub struct Varlena {
    pointer: NonNull<pg_sys::varlena>,
    length: usize,
    owned: bool,
}

impl Varlena {
    /// A new value, in the current memory context.
    pub fn new(parts: &[&[u8]]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let size = pg_sys::VARHDRSZ + length;
        // SAFETY: palloc gives `size` writable bytes or raises; the header is the first four of them.
        let pointer = unsafe {
            let pointer = pg_sys::palloc(size).cast::<pg_sys::varlena>();
            pgrx::set_varsize_4b(pointer, size as i32);
            NonNull::new_unchecked(pointer)
        };
        // SAFETY: the parts add up to the bytes after the header, and new memory overlaps none of them.
        unsafe {
            let mut target = pointer.as_ptr().cast::<u8>().add(pg_sys::VARHDRSZ);
            for part in parts {
                ptr::copy_nonoverlapping(part.as_ptr(), target, part.len());
                target = target.add(part.len());
            }
        }
        Self { pointer, length, owned: true }
    }

    /// The value of a datum: in place where it is stored inline under a four-byte header, else a copy.
    ///
    /// # Safety
    /// `datum` is a varlena that outlives the result.
    pub unsafe fn detoast(datum: Datum) -> Self {
        let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: by the caller's promise. A detoasted value has a four-byte header.
        unsafe {
            let pointer = NonNull::new_unchecked(pg_sys::pg_detoast_datum(stored));
            let length = pgrx::varsize_4b(pointer.as_ptr()) - pg_sys::VARHDRSZ;
            Self { pointer, length, owned: pointer.as_ptr() != stored }
        }
    }

    /// Hands the value to Postgres.
    pub fn into_datum(self) -> Datum {
        Datum::from(ManuallyDrop::new(self).pointer.as_ptr())
    }
}

impl Deref for Varlena {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `length` bytes follow the header, and they live as long as `self`.
        unsafe {
            slice::from_raw_parts(self.pointer.as_ptr().cast::<u8>().add(pg_sys::VARHDRSZ), self.length)
        }
    }
}

impl Drop for Varlena {
    fn drop(&mut self) {
        // An ERROR's cleanup frees the memory context: while unwinding there is nothing left to do.
        if self.owned && !std::thread::panicking() {
            // SAFETY: `owned` memory came from palloc, and nobody else knows of it.
            unsafe { pg_sys::pfree(self.pointer.as_ptr().cast()) }
        }
    }
}

/// A vector whose type is known at run time.
pub struct RawVector {
    value: Varlena,
    element: ElementType,
}

impl RawVector {
    /// The vector of a datum; see [`Varlena`].
    ///
    /// # Safety
    /// `datum` is a vector with such elements, of walia's types or pgvector's, or a `bit`, that outlives the
    /// result.
    pub unsafe fn from_datum(datum: Datum, element: ElementType) -> Self {
        // SAFETY: by the caller's promise.
        Self { value: unsafe { Varlena::detoast(datum) }, element }
    }

    /// The same vector in memory of its own, of the current memory context.
    pub fn copied(&self) -> Self {
        Self { value: Varlena::new(&[&self.value]), ..*self }
    }

    /// The vector as a datum, which lives as long as `self`.
    pub fn datum(&self) -> Datum {
        Datum::from(self.value.pointer.as_ptr())
    }

    /// The elements' bytes in the machine's order, aligned to 4 bytes; of a sparse vector with their indices
    /// before them.
    pub fn bytes(&self) -> &[u8] {
        match self.element {
            ElementType::F32 | ElementType::F16 | ElementType::Bit => &self.value[VECTOR_HEADER..],
            ElementType::Sparse => &self.value[SPARSE_HEADER..],
        }
    }

    /// The number of dimensions.
    pub fn dimensions(&self) -> usize {
        match self.element {
            ElementType::F32 | ElementType::F16 => u16::from_ne_bytes([self.value[0], self.value[1]]).into(),
            ElementType::Bit | ElementType::Sparse => self.int32(0),
        }
    }

    /// Whether there are as many bytes as its header says.
    pub fn is_whole(&self) -> bool {
        let bytes = match self.element {
            ElementType::Sparse => SPARSE_BYTES.saturating_mul(self.int32(4)),
            element => element.bytes(self.dimensions()),
        };
        self.bytes().len() == bytes
    }

    fn int32(&self, at: usize) -> usize {
        u32::from_ne_bytes([0, 1, 2, 3].map(|byte| self.value[at + byte])) as usize
    }
}

/// A vector, as the slice of its elements.
pub struct Vector<E>(RawVector, PhantomData<E>);

impl<E: Element> Vector<E> {
    /// The vector of a datum; see [`Varlena`]. Raises an ERROR where the lengths do not agree.
    ///
    /// # Safety
    /// `datum` is a vector of `E` that outlives the result.
    pub unsafe fn from_datum(datum: Datum) -> Self {
        // SAFETY: by the caller's promise.
        let vector = unsafe { RawVector::from_datum(datum, E::TYPE) };
        if !vector.is_whole() {
            SqlError::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, format!("invalid {} value", E::NAME))
                .raise()
        }
        Self(vector, PhantomData)
    }
}

impl<E: Element> Deref for Vector<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        bytemuck::cast_slice(self.0.bytes())
    }
}

/// The float8[] state of `avg`: the number of vectors, then the sum of each dimension.
pub struct State {
    value: Varlena,
    writable: bool,
}

impl State {
    /// A new state.
    pub fn new(values: &[f64]) -> Self {
        Self { value: array(values, pg_sys::FLOAT8OID), writable: true }
    }

    /// The state of a datum; `None` where it is none.
    ///
    /// # Safety
    /// `datum` is an array that outlives the result.
    pub unsafe fn from_datum(datum: Datum) -> Option<Self> {
        // SAFETY: by the caller's promise.
        let value = unsafe { Varlena::detoast(datum) };
        let header: &[i32] = bytemuck::cast_slice(&value[..value.len().min(ARRAY_HEADER)]);
        let elements = value.len().saturating_sub(ARRAY_HEADER) / size_of::<f64>();
        let float8 = pg_sys::FLOAT8OID.to_u32() as i32;
        // One dimension, no bitmap of nulls, float8, as many as there are (at least the count), any lower
        // bound.
        let is_state = elements > 0 && header.starts_with(&[1, 0, float8, elements as i32]);
        is_state.then_some(Self { writable: value.owned, value })
    }

    /// Lets it change: in place, or a copy of it.
    pub fn make_writable(&mut self, in_place: bool) {
        if !in_place && !self.writable {
            self.value = Varlena::new(&[&self.value]);
        }
        self.writable = true;
    }

    /// Hands the state to Postgres.
    pub fn into_varlena(self) -> Varlena {
        self.value
    }
}

impl Deref for State {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        bytemuck::cast_slice(&self.value[ARRAY_HEADER..])
    }
}

impl DerefMut for State {
    fn deref_mut(&mut self) -> &mut [f64] {
        assert!(self.writable, "only a transition function's state may change");
        let values = self.len();
        // SAFETY: the same bytes as `deref`'s, which are f64 and aligned as it has checked, and only this
        // call's.
        unsafe {
            let contents = self.value.pointer.as_ptr().cast::<u8>().add(pg_sys::VARHDRSZ);
            slice::from_raw_parts_mut(contents.add(ARRAY_HEADER).cast(), values)
        }
    }
}

/// A one-dimensional array of `type_oid`, whose elements have the same bytes as `T`.
pub fn array<T: bytemuck::Pod>(elements: &[T], type_oid: pg_sys::Oid) -> Varlena {
    let header: [i32; 5] = [1, 0, type_oid.to_u32() as i32, elements.len() as i32, 1];
    Varlena::new(&[bytemuck::cast_slice(&header), bytemuck::cast_slice(elements)])
}

/// An array argument.
pub struct Array {
    /// Number of dimensions: 0 where there is no element.
    pub dimensions: usize,
    /// Whether any element is NULL.
    pub has_nulls: bool,
    /// Number of elements.
    pub length: usize,
    element_type: pg_sys::Oid,
    elements: NonNull<[Datum]>,
    // The elements may point into it.
    _value: Varlena,
}

impl Array {
    /// The array of a datum.
    ///
    /// # Safety
    /// `datum` is an array that outlives the result.
    pub unsafe fn from_datum(datum: Datum) -> Self {
        // SAFETY: by the caller's promise.
        let value = unsafe { Varlena::detoast(datum) };
        let header = value.pointer.as_ptr().cast::<pg_sys::ArrayType>();
        // SAFETY: every array begins so.
        let pg_sys::ArrayType { ndim, elemtype, .. } = unsafe { *header };
        let (mut size, mut by_value, mut align) = (0, false, 0);
        // SAFETY: looks a type up that there is an array of.
        unsafe { pg_sys::get_typlenbyvalalign(elemtype, &mut size, &mut by_value, &mut align) };
        let (mut elements, mut nulls, mut length) = (ptr::null_mut(), ptr::null_mut(), 0);
        let size = size.into();
        // SAFETY: the type is as was looked up. What is given is palloc'd, and leaves elements in the array.
        let (elements, has_nulls) = unsafe {
            pg_sys::deconstruct_array(
                header,
                elemtype,
                size,
                by_value,
                align,
                &mut elements,
                &mut nulls,
                &mut length,
            );
            (NonNull::new_unchecked(elements), pg_sys::array_contains_nulls(header))
        };
        let length = length as usize;
        let elements = NonNull::slice_from_raw_parts(elements, length);
        Self { dimensions: ndim as usize, has_nulls, length, element_type: elemtype, elements, _value: value }
    }

    /// The elements as float4; `None` where they are not int4, float4, float8 or numeric. A numeric without a
    /// float4 raises an ERROR, as its own cast does.
    pub fn floats(&self) -> Option<impl Iterator<Item = f32>> {
        let to_f32: fn(Datum) -> f32 = match self.element_type {
            pg_sys::INT4OID => |datum| datum.value() as i32 as f32,
            pg_sys::FLOAT4OID => |datum| f32::from_bits(datum.value() as u32),
            pg_sys::FLOAT8OID => |datum| f64::from_bits(datum.value() as u64) as f32,
            // SAFETY: an element of a numeric[], which numeric_float4 gives a float4 of, never NULL.
            pg_sys::NUMERICOID => |datum| unsafe {
                pgrx::direct_function_call(pg_sys::numeric_float4, &[Some(datum)]).unwrap_or(f32::NAN)
            },
            _ => return None,
        };
        // SAFETY: as deconstruct_array gave them, freed with the memory context of the call.
        let elements = unsafe { self.elements.as_ref() };
        Some(elements.iter().map(move |element| to_f32(*element)))
    }
}
