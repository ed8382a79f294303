//! The edge of the functions that return rows.
//!
//! A library may be newer or older than the extension's script, which ALTER EXTENSION replaces. So what the
//! catalog says that a function takes and returns is compared with what it does take and return, before it
//! does anything.

use std::cmp::Ordering;
use std::ffi::CStr;
use std::{ptr, slice};

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::Datum;
use pgrx::{PgMemoryContexts, PgSqlErrorCode, Spi, pg_sys};

use crate::error::{Result, SqlError};
use crate::nodes::NodeRef;

/// A row that a function returns.
pub trait Row {
    /// The names and types of its columns.
    fn columns() -> Vec<(&'static str, pg_sys::Oid)>;

    /// Its values; `None` is NULL.
    fn datums(self) -> Vec<Option<Datum>>;
}

/// Defines a [`Row`] as a struct of its columns.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($column:ident: $type:ty,)* }) => {
        $(#[$doc])*
        struct $name { $($column: $type,)* }

        impl $crate::observe::rows::Row for $name {
            fn columns() -> Vec<(&'static str, pgrx::pg_sys::Oid)> {
                vec![$((stringify!($column), <$type as pgrx::IntoDatum>::type_oid()),)*]
            }

            fn datums(self) -> Vec<Option<pgrx::pg_sys::Datum>> {
                vec![$(pgrx::IntoDatum::into_datum(self.$column),)*]
            }
        }
    };
}
pub(super) use row;

/// Exports the C function `symbol`, which takes arguments of these types and returns rows of this kind.
macro_rules! export {
    ($symbol:literal: $call:ident($($argument:ident),*) -> $row:ty => $rows:expr) => {
        const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", $symbol))]
            extern "C" fn info() -> &'static pgrx::pg_sys::Pg_finfo_record {
                &pgrx::pg_sys::Pg_finfo_record { api_version: 1 }
            }

            /// # Safety
            /// Only Postgres calls it.
            #[unsafe(export_name = $symbol)]
            #[pgrx::pg_guard]
            unsafe extern "C-unwind" fn function(call: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
                $crate::error_context::enter!();
                let arguments = [$(pgrx::pg_sys::$argument),*];
                // SAFETY: by the caller's promise.
                let $call = unsafe { $crate::observe::rows::Call::new::<$row>(call, &arguments) };
                let $call = $crate::error::OrRaise::or_raise($call);
                $call.give($rows)
            }
        };
    };
}
pub(super) use export;

/// The call of a function that is declared as the library has it.
pub struct Call {
    call: pg_sys::FunctionCallInfo,
    /// Where the caller wants the rows.
    info: *mut pg_sys::ReturnSetInfo,
    /// The declared result, of a life as long as the query's.
    descriptor: pg_sys::TupleDesc,
}

impl Call {
    /// The call that Postgres makes; an error where the function is not declared with these arguments and
    /// columns.
    ///
    /// # Safety
    /// `call` is what Postgres gave to a function.
    pub unsafe fn new<R: Row>(call: pg_sys::FunctionCallInfo, arguments: &[pg_sys::Oid]) -> Result<Self> {
        // SAFETY: by the caller's promise; the node's tag tells what it is.
        let (function, info) = unsafe {
            let info = NodeRef::<pg_sys::Node>::or_null((*call).resultinfo);
            ((*(*call).flinfo).fn_oid, info.and_then(NodeRef::downcast::<pg_sys::ReturnSetInfo>))
        };
        let materialize = pg_sys::SetFunctionReturnMode::SFRM_Materialize as i32;
        let Some(info) = info.filter(|info| info.allowedModes & materialize != 0) else {
            let message = "set-valued function called in context that cannot accept a set";
            return Err(SqlError::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message));
        };
        let mut descriptor = ptr::null_mut();
        // SAFETY: the call's; the memory context is that of the query.
        let result = unsafe {
            PgMemoryContexts::For((*info.econtext).ecxt_per_query_memory)
                .switch_to(|_| pg_sys::get_call_result_type(call, ptr::null_mut(), &mut descriptor))
        };
        let composite = result == pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE;
        // SAFETY: in a transaction; a composite result has a descriptor.
        if !composite || unsafe { arguments != arguments_of(function) || !fits::<R>(descriptor) } {
            // SAFETY: in a transaction.
            return Err(unsafe { other_declaration(function) });
        }
        Ok(Self { call, info: info.as_ptr(), descriptor })
    }

    /// An oid argument.
    pub fn oid(&self, index: usize) -> pg_sys::Oid {
        pg_sys::Oid::from(self.argument(index).value() as u32)
    }

    /// An int4 argument.
    pub fn int(&self, index: usize) -> i32 {
        self.argument(index).value() as i32
    }

    /// An int8 argument.
    pub fn bigint(&self, index: usize) -> i64 {
        self.argument(index).value() as i64
    }

    /// A boolean argument.
    pub fn boolean(&self, index: usize) -> bool {
        self.argument(index).value() as u8 != 0
    }

    /// A text argument; `None` for NULL.
    pub fn text(&self, index: usize) -> Option<String> {
        // SAFETY: `new` has seen that the argument is of the type that its caller asks for.
        self.datum(index).and_then(|datum| unsafe { pgrx::FromDatum::from_datum(datum, false) })
    }

    /// Any argument; `None` for NULL.
    pub fn datum(&self, index: usize) -> Option<Datum> {
        // SAFETY: `new` has seen that the function has as many arguments as its caller asks for.
        let is_null = unsafe { pgrx::fcinfo::pg_arg_is_null(self.call, index) };
        (!is_null).then(|| self.argument(index))
    }

    fn argument(&self, index: usize) -> Datum {
        // SAFETY: `new` has seen that the function has as many arguments as its caller asks for.
        unsafe { pgrx::fcinfo::pg_getarg_datum_raw(self.call, index) }
    }

    /// Returns the rows.
    pub fn give<R: Row>(&self, rows: impl IntoIterator<Item = R>) -> Datum {
        // SAFETY: the caller's, by the promise of `new`; nobody else uses it during the call.
        let info = unsafe { &mut *self.info };
        let random = info.allowedModes & pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random as i32 != 0;
        // SAFETY: what the query keeps lives in its memory context.
        let store = unsafe {
            PgMemoryContexts::For((*info.econtext).ecxt_per_query_memory)
                .switch_to(|_| pg_sys::tuplestore_begin_heap(random, false, pg_sys::work_mem))
        };
        info.returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
        info.setResult = store;
        info.setDesc = self.descriptor;
        // What the values of a row take is given back with the row.
        let mut of_row = PgMemoryContexts::new("walia row");
        let descriptor = self.descriptor;
        for row in rows {
            // SAFETY: nothing of the row before is used any more; `new` has seen that rows are as the
            // descriptor says.
            unsafe {
                of_row.reset();
                of_row.switch_to(|_| {
                    let datums = row.datums();
                    let mut nulls: Vec<bool> = datums.iter().map(Option::is_none).collect();
                    let datums = datums.into_iter().map(|datum| datum.unwrap_or(Datum::from(0)));
                    let mut values: Vec<Datum> = datums.collect();
                    pg_sys::tuplestore_putvalues(store, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
                });
            }
        }
        // SAFETY: the call is Postgres's.
        unsafe { pgrx::fcinfo::pg_return_null(self.call) }
    }
}

/// The types of a function's arguments, as the catalog has them.
///
/// # Safety
/// Called in a transaction.
unsafe fn arguments_of<'a>(function: pg_sys::Oid) -> &'a [pg_sys::Oid] {
    let (mut types, mut count) = (ptr::null_mut(), 0);
    // SAFETY: Postgres gives an array of so many, in memory of the call; of none, perhaps no array.
    unsafe {
        pg_sys::get_func_signature(function, &mut types, &mut count);
        if count == 0 { &[] } else { slice::from_raw_parts(types, count as usize) }
    }
}

/// Whether a declared result has exactly a row's columns.
///
/// # Safety
/// `descriptor` is a tuple descriptor.
unsafe fn fits<R: Row>(descriptor: pg_sys::TupleDesc) -> bool {
    // SAFETY: by the caller's promise.
    let descriptor = unsafe { pgrx::PgTupleDesc::from_pg_unchecked(descriptor) };
    let declared = descriptor.iter().map(|column| (column.name(), column.atttypid));
    declared.eq(R::columns())
}

/// The ERROR of a function that a script of another version declared.
///
/// # Safety
/// Called in a transaction.
unsafe fn other_declaration(function: pg_sys::Oid) -> SqlError {
    let library = env!("CARGO_PKG_VERSION");
    // SAFETY: catalog look-ups; the name is a C string.
    let (name, extension) = unsafe {
        let name = CStr::from_ptr(pg_sys::format_procedure(function)).to_string_lossy().into_owned();
        (name, pg_sys::getExtensionOfObject(pg_sys::ProcedureRelationId, function))
    };
    // Asked of the catalog by its full names, so that no object of a user's takes the place of Postgres's.
    let query = "SELECT extversion::text FROM pg_catalog.pg_extension WHERE oid OPERATOR(pg_catalog.=) $1";
    let version = Spi::get_one_with_args::<String>(query, &[DatumWithOid::from(extension)]).ok().flatten();
    let error = SqlError::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("function {name} is not declared as the library of walia {library} needs it"),
    );
    let Some(version) = version else {
        return error
            .detail("It does not belong to an extension.")
            .hint("Run CREATE EXTENSION walia to declare the functions of the library.");
    };
    let declared = format!("The extension's objects in this database are those of version {version}.");
    match numbers(&version).cmp(&numbers(library)) {
        Ordering::Less => error.detail(declared).hint("Run ALTER EXTENSION walia UPDATE."),
        Ordering::Greater => error
            .detail(declared)
            .hint(format!("Install the library of walia {version}, and begin a new session.")),
        Ordering::Equal => error
            .detail("It was declared while that version was being developed, and has changed since.")
            .hint(format!("Drop the function, and create it as the scripts of walia {library} do.")),
    }
}

/// The numbers of a version.
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}
