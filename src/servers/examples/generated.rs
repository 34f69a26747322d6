//! A generated tree on standard input and output: the file `N` holds N times N.
//! What it does not say is the default.
use privns_abi::{Errno, Result};
use privns_ninep::attr::{Attr, Entry, mode};
use privns_servers::session::Peer;
use privns_servers::{How, Limits, Server, Tree, Who, tree::read_bytes};

/// How many files there are. Node 0 is the root, node N the file `N`.
const FILES: u64 = 100;
/// The tree.
pub(crate) struct Squares;

impl Tree for Squares {
    type Node = u64;
    type File = String;

    fn attach(&self, _who: &Who, _aname: &[u8]) -> Result<u64> {
        Ok(0)
    }
    fn walk(&self, dir: &u64, name: &[u8]) -> Result<u64> {
        if *dir != 0 {
            return Err(Errno::ENOTDIR);
        }
        (1..=FILES).find(|n| n.to_string().as_bytes() == name).ok_or(Errno::ENOENT)
    }
    fn parent(&self, node: &u64) -> Result<Option<(u64, Vec<u8>)>> {
        Ok((*node != 0).then(|| (0, node.to_string().into_bytes())))
    }
    fn attr(&self, node: &u64) -> Result<Attr> {
        let size = self.open(node, How(0))?.len() as u64;
        let kind = if *node == 0 { mode::DIRECTORY | 0o555 } else { mode::REGULAR | 0o444 };
        Ok(Attr::of(*node, kind, size))
    }
    fn open(&self, node: &u64, how: How) -> Result<String> {
        match node {
            _ if how.writes() => Err(Errno::EROFS),
            0 => Ok(String::new()),
            n => Ok(format!("{}\n", n * n)),
        }
    }
    fn read(&self, file: &String, offset: u64, buf: &mut [u8]) -> Result<usize> {
        Ok(read_bytes(file.as_bytes(), offset, buf))
    }
    fn list(&self, _dir: &String, from: u64, add: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        for node in from.saturating_add(1)..=FILES {
            if !add(self.attr(&node)?.entry(node.to_string().as_bytes(), node)) {
                break;
            }
        }
        Ok(())
    }
}

#[allow(dead_code, reason = "the server suite takes the tree alone")]
fn main() -> std::io::Result<()> {
    let server = Server::new(Squares, true, Limits::default());
    server.serve(std::io::stdin(), std::io::stdout(), Peer::Trusted)
}
