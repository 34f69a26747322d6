//! One file that is served, without what lies beside it.

mod common;

use common::{Ease, Rig, Speech};
use privns_ninep::{Errno, NONUM};
use privns_servers::dir::Dir;
use privns_servers::{Limits, Server};

#[test]
fn nothing_beside_it_is_seen_or_changed() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    std::fs::create_dir(path("d")).unwrap();
    for name in ["f", "g", "d/f"] {
        std::fs::write(path(name), name).unwrap();
    }
    let rig = Server::new(Dir::only(&path("f")).unwrap(), false, Limits::default());
    for speech in [Speech::Ours, Speech::Linux, Speech::Unix, Speech::Base] {
        let (c, root) = rig.attached(speech);
        assert_eq!(c.names(&root), [b"f".to_vec()]);
        assert_eq!(c.contents(&root, b"f").unwrap(), b"f");
        for other in [&b"g"[..], b"d", b"none"] {
            assert_eq!(c.walk(&root, &[other]).unwrap_err(), Errno::ENOENT);
        }
    }
    let (c, root) = rig.attached(Speech::Ours);
    let busy = Some(Errno::EBUSY);
    assert_eq!(c.mkdir(&root, b"new", 0o755, NONUM).err(), busy);
    assert_eq!(c.symlink(&root, b"new", b"g", NONUM).err(), busy);
    assert_eq!(c.unlink(&root, b"f", false).err(), busy);
    assert_eq!(c.unlink(&root, b"g", false).err(), busy);
    assert_eq!(c.rename(&root, b"f", &root, b"h").err(), busy);
    let how = privns_ninep::client::flags::RDWR | privns_ninep::client::flags::CREATE;
    assert!(c.create(&root, b"new", how, 0o644, NONUM).is_err());
    // What an editor puts in its place is it.
    std::fs::write(path("h"), "after").unwrap();
    std::fs::rename(path("h"), path("f")).unwrap();
    assert_eq!(c.contents(&root, b"f").unwrap(), b"after");
    assert!(Dir::only(std::path::Path::new("/")).is_err());
}
