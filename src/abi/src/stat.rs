//! The part of a file's attributes that name resolution needs.

/// What `lstat` says of a file, as far as resolving names needs it
/// (`st_mode`, `st_dev`, `st_ino`, `st_uid`, `st_gid`, `st_nlink` of stat(3type)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Links; a directory has two, and one for each directory in it, or 1 on
    /// file systems that do not count them.
    pub links: u64,
}

impl Stat {
    /// True for a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }

    /// True for a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}
