//! The edge to Postgres: arguments and results of the C functions, and the layout of values.
//!
//! All of `types`' `unsafe` is here, apart from the C functions themselves.

use std::ffi::{CStr, CString, c_char, c_int};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;

use pgrx::pg_sys::Datum;
use pgrx::{IntoDatum, PgSqlErrorCode, pg_sys};

use super::element::Element;
use crate::error::{Result, SqlError};
use crate::memory;

/// Bytes of a vector before its elements, after the varlena header: dimensions and zero, both int16.
const VECTOR_HEADER: usize = 4;
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
    unsafe fn detoast(datum: Datum) -> Self {
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
pub struct RawVector(Varlena);

impl RawVector {
    /// The vector of a datum; see [`Varlena`].
    ///
    /// # Safety
    /// `datum` is a vector of either type (or of pgvector's) that outlives the result.
    pub unsafe fn from_datum(datum: Datum) -> Self {
        // SAFETY: by the caller's promise.
        Self(unsafe { Varlena::detoast(datum) })
    }

    /// The same vector in memory of its own, of the current memory context.
    pub fn copied(&self) -> Self {
        Self(Varlena::new(&[&self.0]))
    }

    /// The vector as a datum, which lives as long as `self`.
    pub fn datum(&self) -> Datum {
        Datum::from(self.0.pointer.as_ptr())
    }

    /// The elements' bytes in the machine's order, aligned to 4 bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0[VECTOR_HEADER..]
    }

    /// The number of dimensions.
    pub fn dimensions(&self) -> usize {
        usize::from(u16::from_ne_bytes([self.0[0], self.0[1]]))
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
        let vector = unsafe { RawVector::from_datum(datum) };
        if vector.bytes().len() != vector.dimensions() * size_of::<E>() {
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
        // SAFETY: the same bytes as `deref`'s, which are f64 and aligned as it has checked, and only this call's.
        unsafe {
            let contents = self.value.pointer.as_ptr().cast::<u8>().add(pg_sys::VARHDRSZ);
            slice::from_raw_parts_mut(contents.add(ARRAY_HEADER).cast(), values)
        }
    }
}

/// A one-dimensional array of `type_oid`, whose elements have the same bytes as `T`.
fn array<T: bytemuck::Pod>(elements: &[T], type_oid: pg_sys::Oid) -> Varlena {
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
    /// The elements as float4; `None` where they are not int4, float4, float8 or numeric. A numeric without a float4
    /// raises an ERROR, as its own cast does.
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

/// A message that a client sends in binary.
pub struct Message(pg_sys::StringInfo);

impl Message {
    /// The next two bytes, big-endian. Raises an ERROR at the message's end.
    pub fn int16(&mut self) -> i16 {
        // SAFETY: a StringInfo, as the receive function's argument is.
        unsafe { pg_sys::pq_getmsgint(self.0, 2) as i16 }
    }

    /// The next `length` bytes. Raises an ERROR where there are fewer.
    pub fn bytes(&mut self, length: usize) -> &[u8] {
        // SAFETY: as above; the bytes live as long as the message.
        unsafe { slice::from_raw_parts(pg_sys::pq_getmsgbytes(self.0, length as c_int).cast(), length) }
    }
}

/// The call of a C function that SQL declares STRICT.
pub struct Call(pg_sys::FunctionCallInfo);

impl Call {
    /// The call that Postgres makes.
    ///
    /// # Safety
    /// `call` is what Postgres gave to a function, and the arguments asked for have the types that SQL declares.
    pub unsafe fn new(call: pg_sys::FunctionCallInfo) -> Self {
        Self(call)
    }

    /// An argument as it is.
    pub fn datum(&self, index: usize) -> Datum {
        // SAFETY: `new`'s promise.
        unsafe { pgrx::fcinfo::pg_getarg_datum_raw(self.0, index) }
    }

    /// An int4 argument.
    pub fn int(&self, index: usize) -> i32 {
        self.datum(index).value() as i32
    }

    /// A cstring argument, without the final zero.
    pub fn text(&self, index: usize) -> &[u8] {
        // SAFETY: `new`'s promise; arguments outlive the call.
        unsafe { CStr::from_ptr(self.datum(index).cast_mut_ptr()) }.to_bytes()
    }

    /// A vector argument.
    pub fn vector<E: Element>(&self, index: usize) -> Vector<E> {
        // SAFETY: `new`'s promise; arguments outlive the call.
        unsafe { Vector::from_datum(self.datum(index)) }
    }

    /// The argument of a receive function.
    pub fn message(&self, index: usize) -> Message {
        Message(self.datum(index).cast_mut_ptr())
    }

    /// The integers of a type modifier's cstring[]. Raises an ERROR where they are none.
    pub fn modifiers(&self, index: usize) -> &[i32] {
        let mut length = 0;
        // SAFETY: `new`'s promise; the result is palloc'd in the call's memory context.
        unsafe {
            let array = pg_sys::pg_detoast_datum(self.datum(index).cast_mut_ptr());
            let modifiers = pg_sys::ArrayGetIntegerTypmods(array.cast(), &mut length);
            slice::from_raw_parts(modifiers, length as usize)
        }
    }

    /// An array argument.
    pub fn array(&self, index: usize) -> Array {
        // SAFETY: `new`'s promise. deconstruct_array palloc's what it gives, and leaves elements in the array, which
        // is kept beside them.
        unsafe {
            let value = Varlena::detoast(self.datum(index));
            let header = value.pointer.as_ptr().cast::<pg_sys::ArrayType>();
            let pg_sys::ArrayType { ndim, elemtype, .. } = *header;
            let (mut size, mut by_value, mut align) = (0, false, 0);
            pg_sys::get_typlenbyvalalign(elemtype, &mut size, &mut by_value, &mut align);
            let (mut elements, mut nulls, mut length) = (ptr::null_mut(), ptr::null_mut(), 0);
            pg_sys::deconstruct_array(
                header,
                elemtype,
                size.into(),
                by_value,
                align,
                &mut elements,
                &mut nulls,
                &mut length,
            );
            Array {
                dimensions: ndim as usize,
                has_nulls: pg_sys::array_contains_nulls(header),
                length: length as usize,
                element_type: elemtype,
                elements: NonNull::slice_from_raw_parts(NonNull::new_unchecked(elements), length as usize),
                _value: value,
            }
        }
    }

    /// A state argument, to be read; `caller` is named in the error where it is none.
    pub fn state(&self, index: usize, caller: &str) -> Result<State> {
        // SAFETY: `new`'s promise; arguments outlive the call.
        let value = unsafe { Varlena::detoast(self.datum(index)) };
        let header: &[i32] = bytemuck::cast_slice(&value[..value.len().min(ARRAY_HEADER)]);
        let elements = value.len().saturating_sub(ARRAY_HEADER) / size_of::<f64>();
        let float8 = pg_sys::FLOAT8OID.to_u32() as i32;
        // One dimension, no bitmap of nulls, float8, as many as there are (at least the count), any lower bound.
        if elements == 0 || !header.starts_with(&[1, 0, float8, elements as i32]) {
            let message = format!("{caller}: expected state array");
            return Err(SqlError::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message));
        }
        Ok(State { writable: value.owned, value })
    }

    /// The first argument of a transition function: an aggregate's state may change in place, any other is copied.
    pub fn transition_state(&self, caller: &str) -> Result<State> {
        let mut state = self.state(0, caller)?;
        // SAFETY: `new`'s promise; a null pointer asks for no memory context.
        let in_aggregate = unsafe { pg_sys::AggCheckCallContext(self.0, ptr::null_mut()) } != 0;
        if !in_aggregate && !state.writable {
            state.value = Varlena::new(&[&state.value]);
        }
        state.writable = true;
        Ok(state)
    }

    /// What the C function returns. Raises the ERROR of a result that is one, and that of memory that was missing on the way.
    pub fn result<R: Return>(&self, result: R) -> Datum {
        let result = result.into_result();
        memory::check();
        match result {
            Ok(Some(datum)) => datum,
            Ok(None) => {
                // SAFETY: `new`'s promise.
                unsafe { pgrx::fcinfo::pg_return_null(self.0) }
            }
            Err(error) => error.raise(),
        }
    }
}

unsafe extern "C" {
    /// Writes the digits of float4out (without a final zero) and returns how many: common/shortest_dec.h.
    fn float_to_shortest_decimal_bufn(value: f32, buffer: *mut c_char) -> c_int;
}

/// Appends the shortest decimal that reads back as `value`, as float4out prints it.
pub fn append_shortest(text: &mut String, value: f32) {
    // FLOAT_SHORTEST_DECIMAL_LEN of the same header.
    let mut buffer = [0u8; 16];
    // SAFETY: the buffer is as long as the function asks for.
    let length = unsafe { float_to_shortest_decimal_bufn(value, buffer.as_mut_ptr().cast()) };
    text.extend(buffer[..length as usize].iter().map(|&byte| char::from(byte)));
}

/// The shortest decimal that reads back as `value`.
pub fn shortest(value: f32) -> String {
    let mut text = String::new();
    append_shortest(&mut text, value);
    text
}

/// What a C function may return.
pub trait Return {
    /// The datum (`None` is NULL), or the error to raise.
    fn into_result(self) -> Result<Option<Datum>>;
}

impl<R: Return> Return for Result<R> {
    fn into_result(self) -> Result<Option<Datum>> {
        self?.into_result()
    }
}

impl<R: Return> Return for Option<R> {
    fn into_result(self) -> Result<Option<Datum>> {
        self.map_or(Ok(None), Return::into_result)
    }
}

/// A vector.
impl<E: Element> Return for Vec<E> {
    fn into_result(self) -> Result<Option<Datum>> {
        Varlena::new(&[&(self.len() as i16).to_ne_bytes(), &[0, 0], bytemuck::cast_slice(&self)])
            .into_result()
    }
}

/// A bit string: most significant bit first.
pub struct Bits {
    /// Number of bits.
    pub length: usize,
    /// Eight bits a byte; the last one's unused bits are zero.
    pub bytes: Vec<u8>,
}

impl Return for Bits {
    fn into_result(self) -> Result<Option<Datum>> {
        Varlena::new(&[&(self.length as i32).to_ne_bytes(), &self.bytes]).into_result()
    }
}

/// A float4[].
pub struct RealArray(pub Vec<f32>);

impl Return for RealArray {
    fn into_result(self) -> Result<Option<Datum>> {
        array(&self.0, pg_sys::FLOAT4OID).into_result()
    }
}

/// A bytea.
pub struct Bytes(pub Vec<u8>);

impl Return for Bytes {
    fn into_result(self) -> Result<Option<Datum>> {
        Varlena::new(&[&self.0]).into_result()
    }
}

impl Return for Varlena {
    fn into_result(self) -> Result<Option<Datum>> {
        Ok(Some(self.into_datum()))
    }
}

impl Return for State {
    fn into_result(self) -> Result<Option<Datum>> {
        self.value.into_result()
    }
}

/// A cstring.
impl Return for String {
    fn into_result(self) -> Result<Option<Datum>> {
        Ok(CString::new(self).ok().into_datum())
    }
}

macro_rules! return_by_value {
    ($($type:ty),*) => { $(
        impl Return for $type {
            fn into_result(self) -> Result<Option<Datum>> {
                Ok(self.into_datum())
            }
        }
    )* };
}

return_by_value!(bool, i32, f64, Datum);
