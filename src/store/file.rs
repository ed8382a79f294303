//! A temporary file of a build or a check: the backend's own thread writes it, the threads of the build read
//! it.
//!
//! It is one of Postgres's: in `temp_tablespaces`, within `temp_file_limit`, and removed when the transaction
//! or the process ends, however that is. Postgres closes and opens the descriptors of its files as it likes,
//! and no other thread may call it: threads read by a duplicate.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use pgrx::{PgSqlErrorCode, pg_sys};
use walia_core::arena::{VectorFile, VectorReader};
use walia_core::page::RecordFile;
use walia_core::types::Error;

use super::check_for_interrupts;
use crate::error::{OrRaise, SqlError};

/// Bytes that are written between two points where the build can be cancelled.
const WRITTEN_AT_ONCE: usize = 1 << 20;

/// A temporary file. It is to be dropped after all threads that read it have ended.
pub struct TemporaryFile {
    file: pg_sys::File,
    size: u64,
    /// For the threads.
    duplicate: OwnedFd,
}

impl TemporaryFile {
    /// An empty file.
    pub fn create() -> Result<Self, SqlError> {
        // SAFETY: inside of a transaction, whose resource owner closes the file where this does not.
        let (file, descriptor) = unsafe {
            pg_sys::PrepareTempTablespaces();
            let file = pg_sys::OpenTemporaryFile(false);
            pg_sys::ReserveExternalFD();
            (file, libc::fcntl(pg_sys::FileGetRawDesc(file), libc::F_DUPFD_CLOEXEC, 0))
        };
        if descriptor < 0 {
            let errno = last_errno();
            // SAFETY: reserved above.
            unsafe { pg_sys::ReleaseExternalFD() };
            return Err(file_error(errno, "could not duplicate the descriptor of a temporary file"));
        }
        // SAFETY: made above, and nobody else's.
        let duplicate = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self { file, size: 0, duplicate })
    }

    /// An empty file that lives until this transaction ends, whatever subtransaction it is created in.
    pub fn of_transaction() -> Result<Self, SqlError> {
        // SAFETY: inside of a transaction. Where `create` raises an ERROR, Postgres sets the owner itself.
        unsafe {
            let owner = pg_sys::CurrentResourceOwner;
            pg_sys::CurrentResourceOwner = pg_sys::TopTransactionResourceOwner;
            let created = Self::create();
            pg_sys::CurrentResourceOwner = owner;
            created
        }
    }

    /// Writes bytes at an offset.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) {
        self.size = offset;
        self.append(bytes);
    }

    fn write_failed(&self, errno: i32) -> SqlError {
        // SAFETY: the file is open; its name ends with a zero, and is copied.
        let name = unsafe { CStr::from_ptr(pg_sys::FilePathName(self.file)) }.to_string_lossy();
        file_error(errno, &format!("could not write to file \"{name}\""))
    }
}

impl VectorFile for TemporaryFile {
    fn append(&mut self, bytes: &[u8]) {
        for mut bytes in bytes.chunks(WRITTEN_AT_ONCE) {
            while !bytes.is_empty() {
                check_for_interrupts();
                let event = pg_sys::PG_WAIT_EXTENSION;
                // SAFETY: the file is open, and the bytes are read only, whatever the type of the pointer.
                let written = unsafe {
                    let (start, length) = (bytes.as_ptr().cast_mut().cast(), bytes.len() as _);
                    pg_sys::FileWrite(self.file, start, length, self.size as pg_sys::off_t, event)
                };
                if written <= 0 {
                    Err(self.write_failed(last_errno())).or_raise()
                }
                self.size += written as u64;
                bytes = &bytes[written as usize..];
            }
        }
    }

    fn reader(&self) -> Box<dyn VectorReader> {
        Box::new(Reader(self.duplicate.as_raw_fd()))
    }
}

impl RecordFile for TemporaryFile {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.write_at(offset, bytes);
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Error> {
        Reader(self.duplicate.as_raw_fd()).read(offset, bytes)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // SAFETY: reserved in `create`; only counts.
        unsafe { pg_sys::ReleaseExternalFD() };
        // While an ERROR unwinds the file is left to the resource owner, and a process that ends has closed
        // it.
        // SAFETY: a variable of this process.
        if !std::thread::panicking() && !unsafe { pg_sys::proc_exit_inprogress } {
            // SAFETY: opened in `create`.
            unsafe { pg_sys::FileClose(self.file) };
        }
    }
}

/// The descriptor of a file that outlives it.
struct Reader(RawFd);

impl VectorReader for Reader {
    fn read(&self, mut offset: u64, mut bytes: &mut [u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            // SAFETY: as many bytes as there is room for; the descriptor is open as long as threads run.
            let read =
                unsafe { libc::pread(self.0, bytes.as_mut_ptr().cast(), bytes.len(), offset as libc::off_t) };
            match read {
                0 => return Err(Error::TemporaryFile { errno: 0 }),
                1.. => {
                    bytes = &mut bytes[read as usize..];
                    offset += read as u64;
                }
                _ if last_errno() == libc::EINTR => {}
                _ => return Err(Error::TemporaryFile { errno: last_errno() }),
            }
        }
        Ok(())
    }
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The ERROR of something that could not be done to a file, in Postgres's words.
pub fn file_error(errno: i32, what: &str) -> SqlError {
    let code = match errno {
        libc::ENOSPC | libc::EDQUOT => PgSqlErrorCode::ERRCODE_DISK_FULL,
        libc::EMFILE | libc::ENFILE => PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES,
        _ => PgSqlErrorCode::ERRCODE_IO_ERROR,
    };
    let reason = match errno {
        0 => "it is too short".to_owned(),
        _ => io::Error::from_raw_os_error(errno).to_string(),
    };
    // Rust adds the number of the error.
    let reason = reason.split(" (os error").next().unwrap_or_default();
    SqlError::new(code, format!("{what}: {reason}"))
}
