//! What pgrx does not pass on of an error that unwinds through this library.
//!
//! An ERROR of Postgres that is raised below one of our callbacks becomes a panic, and at the callback's edge
//! an ERROR again. pgrx carries message, DETAIL, HINT and LOCATION over, and SQLSTATE if it is one of
//! Postgres's own; the lines of CONTEXT from below and the other fields are kept here, and given back while
//! the ERROR is raised the second time. Both happen where Postgres asks for such lines: in error context
//! callbacks, which it calls from the innermost to the outermost. There, too, an ERROR that there is no
//! memory gets what its handling takes. So every function that Postgres calls, and that calls Postgres,
//! begins with [`enter!`].

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, UnsafeCell};
use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_sys};

use crate::memory;

thread_local! {
    /// Whether this is the backend's own thread, which alone may call Postgres.
    static IS_BACKEND: Cell<bool> = const { Cell::new(false) };
    /// The last ERROR as it passed there, in a memory context that is for this alone.
    static PASSING: Cell<*mut pg_sys::ErrorData> = const { Cell::new(ptr::null_mut()) };
    static CONTEXT: Cell<pg_sys::MemoryContext> = const { Cell::new(ptr::null_mut()) };
    /// The message of a panic that is no ERROR.
    static PANIC: Cell<Option<CString>> = const { Cell::new(None) };
}

/// The callback of ours that Postgres calls first. Only the backend's own thread uses it: not of the thread,
/// as each call of a distance would have to look for it.
static INNERMOST: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Takes care of errors from now on; called when the library is loaded, again where that failed after this.
pub fn define() {
    if !CONTEXT.get().is_null() {
        return;
    }
    without_backtraces();
    IS_BACKEND.set(true);
    use_what_threads_have();
    // SAFETY: the backend's only thread is in _PG_init; the context lives as long as the process.
    CONTEXT.set(unsafe {
        pg_sys::AllocSetContextCreateInternal(
            pg_sys::TopMemoryContext,
            c"walia error".as_ptr(),
            pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
            pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
            pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
        )
    });
    let hook_of_pgrx = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        hook_of_pgrx(info);
        if IS_BACKEND.get() {
            begin_to_unwind(info.payload());
        }
    }));
}

/// Uses what a thread has of its own and drops at its end: libc takes memory for the first use, and ends the
/// process where there is none. pgrx has such a thing, too, and uses it in each panic.
fn use_what_threads_have() {
    PANIC.set(None);
    _ = std::panic::catch_unwind(|| std::panic::panic_any(()));
}

/// pgrx puts a backtrace into the DETAIL of errors, for users to see, where `RUST_BACKTRACE` is in the
/// server's environment. The standard library, of which this library has a copy of its own, asks for the
/// variables once: when the first one is wanted.
fn without_backtraces() {
    const VARIABLE: &str = "RUST_LIB_BACKTRACE";
    let before = env::var_os(VARIABLE);
    // SAFETY: the backend's only thread is in _PG_init.
    unsafe { env::set_var(VARIABLE, "0") };
    drop(Backtrace::capture());
    // SAFETY: as above.
    unsafe {
        match before {
            Some(value) => env::set_var(VARIABLE, value),
            None => env::remove_var(VARIABLE),
        }
    }
}

/// An error context callback, for as long as a function runs that Postgres has called.
pub struct ErrorContext {
    callback: pg_sys::ErrorContextCallback,
    outer: *mut c_void,
}

/// Begins a function that Postgres calls: see the module. It ends with the block that this is in.
macro_rules! enter {
    () => {
        let mut context = $crate::error_context::ErrorContext::default();
        let _entered = context.push();
    };
}
pub(crate) use enter;

/// A callback on Postgres's stack of them. When this is dropped, the callback leaves the stack; in its place
/// comes, while an error unwinds, the one that gives back what was kept. It must be dropped: Postgres knows
/// where the callback is.
pub struct Pushed<'a>(&'a mut ErrorContext);

impl Default for ErrorContext {
    /// A callback that is not on the stack.
    fn default() -> Self {
        let (previous, arg) = (ptr::null_mut(), ptr::null_mut());
        let callback = pg_sys::ErrorContextCallback { previous, callback: Some(keep), arg };
        Self { callback, outer: ptr::null_mut() }
    }
}

impl ErrorContext {
    /// Puts it on the stack. Raises an ERROR where there is no memory for further errors.
    pub fn push(&mut self) -> Pushed<'_> {
        memory::take_room();
        let callback = &raw mut self.callback;
        // SAFETY: in the backend's own thread; the callback stays where it is as long as `Pushed` borrows it.
        unsafe {
            (*callback).previous = pg_sys::error_context_stack;
            (*callback).arg = callback.cast();
            pg_sys::error_context_stack = callback;
        }
        self.outer = INNERMOST.load(Ordering::Relaxed);
        INNERMOST.store(callback.cast(), Ordering::Relaxed);
        Pushed(self)
    }
}

impl Drop for Pushed<'_> {
    fn drop(&mut self) {
        INNERMOST.store(self.0.outer, Ordering::Relaxed);
        // SAFETY: the stack as it was when this was pushed: what was pushed since has been taken away, here
        // or by pgrx.
        unsafe { pg_sys::error_context_stack = self.0.callback.previous }
        if std::thread::panicking() {
            GIVE_BACK.push();
        }
    }
}

/// The callback that is on the stack from the moment when an error unwinds until it is raised again: whoever
/// catches it there restores the stack.
struct GiveBack(UnsafeCell<pg_sys::ErrorContextCallback>);

// SAFETY: only the backend's own thread uses it.
unsafe impl Sync for GiveBack {}

static GIVE_BACK: GiveBack = GiveBack(UnsafeCell::new(pg_sys::ErrorContextCallback {
    previous: ptr::null_mut(),
    callback: Some(give_back),
    arg: ptr::null_mut(),
}));

impl GiveBack {
    fn push(&self) {
        let callback = self.0.get();
        // SAFETY: in the backend's own thread; it is on the stack once at most, and then on top.
        unsafe {
            if pg_sys::error_context_stack != callback {
                (*callback).previous = pg_sys::error_context_stack;
                pg_sys::error_context_stack = callback;
            }
        }
    }
}

/// Called for every panic, before it unwinds.
fn begin_to_unwind(payload: &dyn Any) {
    if let Some(CaughtError::PostgresError(report)) = payload.downcast_ref() {
        // SAFETY: kept by `keep`.
        let is_the_last = unsafe { PASSING.get().as_ref() }.is_some_and(|last| {
            // SAFETY: a message is a C string.
            let message = (!last.message.is_null()).then(|| unsafe { CStr::from_ptr(last.message) });
            PgSqlErrorCode::from(last.sqlerrcode) == report.sql_error_code()
                && message.is_some_and(|message| message.to_string_lossy() == report.message())
        });
        if is_the_last {
            return;
        }
    }
    // Another one was kept, which somebody has caught.
    PASSING.set(ptr::null_mut());
    let text = payload.downcast_ref::<&str>().copied();
    if let Some(text) = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)) {
        PANIC.set(CString::new(text.replace('\0', "")).ok());
        GIVE_BACK.push();
    }
}

/// Keeps an ERROR that is raised below, when Postgres asks for a line of CONTEXT.
///
/// # Safety
/// Only Postgres calls it, while it raises an error.
unsafe extern "C-unwind" fn keep(this: *mut c_void) {
    // Callbacks further out are asked when the error is raised again.
    if this != INNERMOST.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: an error is being raised.
    if unsafe { postgres::geterrcode() } == PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as c_int {
        memory::give_room();
    }
    PASSING.set(ptr::null_mut());
    let context = CONTEXT.get();
    if context.is_null() {
        // The library is being loaded.
        return;
    }
    // SAFETY: the copy is in a context that only this function resets. There is no frame here that an ERROR
    // for want of memory must not jump over.
    unsafe {
        let caller = pg_sys::CurrentMemoryContext;
        postgres::MemoryContextReset(context);
        pg_sys::CurrentMemoryContext = context;
        let data = postgres::CopyErrorData();
        pg_sys::CurrentMemoryContext = caller;
        if (*data).elevel == PgLogLevel::ERROR as c_int {
            PASSING.set(data);
        }
    }
}

/// Adds to an ERROR that is raised again what pgrx has not passed on.
///
/// # Safety
/// Only Postgres calls it, while it raises an error.
unsafe extern "C-unwind" fn give_back(_argument: *mut c_void) {
    let text = c"%s".as_ptr();
    if let Some(message) = PANIC.take() {
        let hint = c"This is a bug of the extension. Please report it, with LOCATION (\\errverbose in psql) and the statement.";
        // SAFETY: an error is being raised; both are C strings, which Postgres copies.
        unsafe {
            postgres::errmsg_internal(c"internal error in walia: %s".as_ptr(), message.as_ptr());
            postgres::errhint(text, hint.as_ptr());
        }
        return;
    }
    // SAFETY: kept by `keep`, which alone resets its memory.
    let Some(data) = (unsafe { PASSING.replace(ptr::null_mut()).as_ref() }) else { return };
    // SAFETY: an error is being raised; all strings are C strings, which Postgres copies.
    unsafe {
        postgres::errcode(data.sqlerrcode);
        if !data.context.is_null() {
            postgres::errcontext_msg(text, data.context);
        }
        if !data.detail_log.is_null() {
            postgres::errdetail_log(text, data.detail_log);
        }
    }
    for (field, value) in [
        (pg_sys::PG_DIAG_SCHEMA_NAME, data.schema_name),
        (pg_sys::PG_DIAG_TABLE_NAME, data.table_name),
        (pg_sys::PG_DIAG_COLUMN_NAME, data.column_name),
        (pg_sys::PG_DIAG_DATATYPE_NAME, data.datatype_name),
        (pg_sys::PG_DIAG_CONSTRAINT_NAME, data.constraint_name),
    ] {
        if !value.is_null() {
            // SAFETY: as above.
            unsafe { postgres::err_generic_string(field.into(), value) };
        }
    }
    // SAFETY: as above; the query is null or a C string.
    unsafe {
        postgres::errposition(data.cursorpos);
        postgres::internalerrposition(data.internalpos);
        postgres::internalerrquery(data.internalquery);
        postgres::errhidestmt(data.hide_stmt);
        postgres::errhidecontext(data.hide_ctx);
    }
}

/// Functions that pgrx leaves out, or from which it would make a panic where none may be.
mod postgres {
    use super::{c_char, c_int, pg_sys};

    unsafe extern "C-unwind" {
        pub fn CopyErrorData() -> *mut pg_sys::ErrorData;
        pub fn MemoryContextReset(context: pg_sys::MemoryContext);
        pub fn geterrcode() -> c_int;
        pub fn errcode(code: c_int) -> c_int;
        pub fn errmsg_internal(format: *const c_char, ...) -> c_int;
        pub fn errhint(format: *const c_char, ...) -> c_int;
        pub fn errcontext_msg(format: *const c_char, ...) -> c_int;
        pub fn errdetail_log(format: *const c_char, ...) -> c_int;
        pub fn err_generic_string(field: c_int, value: *const c_char) -> c_int;
        pub fn errposition(position: c_int) -> c_int;
        pub fn internalerrposition(position: c_int) -> c_int;
        pub fn internalerrquery(query: *const c_char) -> c_int;
        pub fn errhidestmt(hide: bool) -> c_int;
        pub fn errhidecontext(hide: bool) -> c_int;
    }
}
