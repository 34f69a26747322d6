//! What a directory holds, in a form that can be compared.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Name to description: kind, mode, owner, links, and the content's size and hash
/// or the link's target. Times are left out.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tree(BTreeMap<Vec<u8>, String>);

impl Tree {
    /// Reads the tree at `root`; `normal` rewrites link targets and file contents,
    /// which may name the place.
    #[must_use]
    pub fn read(root: &Path, normal: &dyn Fn(&[u8]) -> Vec<u8>) -> Self {
        let mut tree = Self::default();
        tree.add(root, b"", normal);
        tree
    }

    /// Adds the names of `lower` that are not here: a union of the top directory.
    #[must_use]
    pub fn over(mut self, lower: &Self) -> Self {
        let top = |name: &[u8]| name.split(|b| *b == b'/').next().unwrap_or(b"").to_vec();
        let taken: std::collections::BTreeSet<_> = self.0.keys().map(|k| top(k)).collect();
        for (name, what) in &lower.0 {
            if !taken.contains(&top(name)) {
                self.0.insert(name.clone(), what.clone());
            }
        }
        self
    }

    fn add(&mut self, dir: &Path, prefix: &[u8], normal: &dyn Fn(&[u8]) -> Vec<u8>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = [prefix, entry.file_name().as_bytes()].concat();
            if entry.file_name().as_bytes().starts_with(b".privns") {
                continue;
            }
            self.0.insert(name.clone(), describe(&path, normal));
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                self.add(&path, &[&name, &b"/"[..]].concat(), normal);
            }
        }
    }

    /// The lines in which two trees differ, `-` for this one and `+` for `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> String {
        let mut text = String::new();
        let names: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        for name in names {
            let (left, right) = (self.0.get(name), other.0.get(name));
            if left == right {
                continue;
            }
            let shown = String::from_utf8_lossy(name);
            for (sign, what) in [('-', left), ('+', right)] {
                if let Some(what) = what {
                    text.push_str(&format!("{sign} {shown}: {what}\n"));
                }
            }
        }
        text
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, what) in &self.0 {
            writeln!(f, "{}: {what}", String::from_utf8_lossy(name))?;
        }
        Ok(())
    }
}

fn describe(path: &Path, normal: &dyn Fn(&[u8]) -> Vec<u8>) -> String {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return "gone".into() };
    let kind = meta.file_type();
    let common = format!("{:o} {}:{}", meta.mode() & 0o7777, meta.uid(), meta.gid());
    if kind.is_symlink() {
        let target = std::fs::read_link(path).unwrap_or_default();
        let target = normal(target.as_os_str().as_bytes());
        return format!("link {}", String::from_utf8_lossy(&target));
    }
    if kind.is_dir() {
        return format!("dir {common}");
    }
    if kind.is_file() {
        let content = normal(&std::fs::read(path).unwrap_or_default());
        let mut hash = DefaultHasher::new();
        content.hash(&mut hash);
        return format!(
            "file {common} links {} size {} #{:x}",
            meta.nlink(),
            content.len(),
            hash.finish()
        );
    }
    let word = match () {
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () => "device",
    };
    format!("{word} {common}")
}
