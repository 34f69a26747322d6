//! Where a directory of the export is, for clients of the same user on the same
//! machine.

use super::{Dir, Node};
use privns_ninep::near::{BOOT, Near};
use rustix::fs::{AtFlags, StatxFlags};
use std::sync::OnceLock;

/// The number under which the kernel was booted.
fn boot() -> Option<[u8; BOOT]> {
    static KNOWN: OnceLock<Option<[u8; BOOT]>> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let text = std::fs::read("/proc/sys/kernel/random/boot_id").ok()?;
        text.first_chunk().copied()
    })
}

impl Dir {
    /// Nothing is said where some names are not shown; of what is no directory;
    /// of file systems whose inodes' numbers are not those that clients are
    /// told; and before Linux 5.8, which does not number mounts.
    pub(super) fn near_of(&self, node: &Node) -> Option<Vec<u8>> {
        if self.processes || self.only.is_some() {
            return None;
        }
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let at = rustix::fs::statx(&node.fd, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
        let stat = node.stat().ok()?;
        let numbered = at.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        let plain = self.path_of(stat.st_dev, stat.st_ino) == stat.st_ino;
        if !numbered || !plain || u32::from(at.stx_mode) & 0o170_000 != 0o040_000 {
            return None;
        }
        let path = node.own_path().ok()?;
        let near = Near {
            boot: boot()?,
            pid: std::process::id(),
            mount: at.stx_mnt_id,
            dev: stat.st_dev,
            ino: stat.st_ino,
            path: &path,
        };
        Some(near.encode())
    }
}
