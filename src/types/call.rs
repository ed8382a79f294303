//! The edge to Postgres: arguments and results of the C functions.

use std::ffi::{CStr, CString, c_int};
use std::ptr;
use std::slice;

use pgrx::pg_sys::Datum;
use pgrx::{IntoDatum, PgSqlErrorCode, pg_sys};
use walia_core::types::ElementType;

use super::datum::{Array, RawVector, State, Varlena, Vector, array};
use super::element::Element;
use crate::error::{Result, SqlError};
use crate::memory;

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

    /// All bytes that are left.
    pub fn rest(&mut self) -> &[u8] {
        // SAFETY: as above; the cursor is within the message.
        let left = unsafe { (*self.0).len - (*self.0).cursor };
        self.bytes(left as usize)
    }
}

/// The call of a C function that SQL declares STRICT.
pub struct Call(pg_sys::FunctionCallInfo);

impl Call {
    /// The call that Postgres makes.
    ///
    /// # Safety
    /// `call` is what Postgres gave to a function, and the arguments asked for have the types that SQL
    /// declares.
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

    /// An argument that is a vector with such elements.
    pub fn raw(&self, index: usize, element: ElementType) -> RawVector {
        // SAFETY: `new`'s promise; arguments outlive the call.
        unsafe { RawVector::from_datum(self.datum(index), element) }
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
        // SAFETY: `new`'s promise; arguments outlive the call.
        unsafe { Array::from_datum(self.datum(index)) }
    }

    /// A varlena argument whose contents are bytes.
    pub fn bytes(&self, index: usize) -> Varlena {
        // SAFETY: `new`'s promise; arguments outlive the call.
        unsafe { Varlena::detoast(self.datum(index)) }
    }

    /// A state argument, to be read; `caller` is named in the error where it is none.
    pub fn state(&self, index: usize, caller: &str) -> Result<State> {
        // SAFETY: `new`'s promise; arguments outlive the call.
        let state = unsafe { State::from_datum(self.datum(index)) };
        state.ok_or_else(|| {
            let message = format!("{caller}: expected state array");
            SqlError::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message)
        })
    }

    /// The first argument of a transition function: an aggregate's state may change in place, any other is
    /// copied.
    pub fn transition_state(&self, caller: &str) -> Result<State> {
        let mut state = self.state(0, caller)?;
        // SAFETY: `new`'s promise; a null pointer asks for no memory context.
        let in_aggregate = unsafe { pg_sys::AggCheckCallContext(self.0, ptr::null_mut()) } != 0;
        state.make_writable(in_aggregate);
        Ok(state)
    }

    /// What the C function returns. Raises the ERROR of a result that is one, and that of memory that was
    /// missing on the way.
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

/// A bytea, or another varlena whose contents are bytes.
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
        self.into_varlena().into_result()
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
