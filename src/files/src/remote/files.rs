//! Open remote files, by their descriptors.

use super::conn::Conn;
use alloc::sync::Arc;
use alloc::vec::Vec;
use privns_abi::{Errno, Result};
use privns_ninep::client::Opened;

/// An open remote file as the server has it.
pub struct Open {
    /// The connection that it is open on.
    pub conn: Conn,
    /// The fid, and what is known of the file.
    pub opened: Opened,
}

/// What a virtual descriptor stands for.
pub struct File {
    server: u32,
    open: Arc<Open>,
    path: Vec<u8>,
}

impl File {
    /// The number of the server.
    #[must_use]
    pub fn server(&self) -> u32 {
        self.server
    }

    /// The name from the server's root, as far as this process knows.
    ///
    /// # Errors
    /// ENOENT for a file that has been removed.
    pub fn path(&self) -> Result<Vec<u8>> {
        Ok(self.path.clone())
    }

    /// The open file; opened again where its connection has died.
    ///
    /// # Errors
    /// ESTALE when it is another file now; EIO.
    pub fn open(&self) -> Result<Arc<Open>> {
        Ok(self.open.clone())
    }
}

/// The open files of a process.
#[derive(Default)]
pub struct Files {}

impl Files {
    /// None.
    #[must_use]
    pub const fn new() -> Files {
        Files {}
    }

    /// The file behind a descriptor; `None` for one of the kernel's own.
    #[must_use]
    pub fn get(&self, _fd: i32) -> Option<Arc<File>> {
        None
    }

    /// Makes a descriptor for a file that has just been opened with these
    /// flags of open(2).
    ///
    /// # Errors
    /// EMFILE.
    pub fn install(&self, server: u32, open: Open, path: Vec<u8>, _flags: i32) -> Result<i32> {
        drop(File { server, open: Arc::new(open), path });
        Err(Errno::EMFILE)
    }
}
