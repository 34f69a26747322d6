//! Programs in trees that other people's servers have.

use privns_shim_tests::{Running, Site, needs};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("an address").port()
}

fn listens(port: u16) {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "the server does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A morning's work in `/r`: nothing of it is left.
const WORK: &str = r#"set -e; mkdir /r/p; cd /r/p
echo hello >f; cat f; mv f g; ln -s g l; cat l; chmod 600 g; stat -c '%a %s' g
printf 'all:\n\techo built >out\n' >Makefile; make -s; cat out
tar -cf t.tar g out; tar -tf t.tar
git init -q .; git add g; git -c user.name=a -c user.email=a@b commit -qm done; git log --format=%s
for i in $(seq 300); do : >many-$i; done; ls | grep -c many
head -c 3000000 /dev/zero >big; cp big copy; cmp big copy; truncate -s 10 big; wc -c <big
cd /; rm -r /r/p; ls -A /r"#;
const WORKED: &str = "hello\nhello\n600 6\nbuilt\ng\nout\ndone\n300\n10";

#[track_caller]
fn works(site: &Site, line: &str) {
    site.inside(&["-e", line], WORK).limit(60).run().prints(WORKED);
}

#[test]
fn ganesha() {
    needs!("ganesha", "root", "ganesha.nfsd", "git", "make");
    let site = Site::new();
    site.mkdir("export");
    let port = free_port();
    let export = site.at("export");
    let config = format!(
        "NFS_CORE_PARAM {{ Protocols = 9P; Bind_addr = 127.0.0.1; }}
         _9P {{ _9P_TCP_Port = {port}; _9P_TCP_Msize = 1048576; }}
         EXPORT {{ Export_Id = 1; Path = {export}; Pseudo = /exp; Tag = exp; Access_Type = RW;
         Squash = No_Root_Squash; SecType = sys; Protocols = 9P; Transports = TCP;
         FSAL {{ Name = VFS; }} }}"
    );
    site.write("ganesha.conf", config);
    let script = "exec ganesha.nfsd -F -L $T/ganesha.log -f $T/ganesha.conf -p $T/ganesha.pid";
    let _ganesha: Running = site.sh(script).start();
    listens(port);
    works(&site, &format!("mount -o aname=exp tcp!127.0.0.1!{port} /r"));
}

#[test]
fn diod() {
    needs!("diod", "diod", "git", "make");
    let site = Site::new();
    site.mkdir("export");
    let port = free_port();
    let export = site.at("export");
    let script = format!("exec diod -f -n -N -L /dev/null -l 127.0.0.1:{port} -e {export}");
    let _diod: Running = site.sh(&script).start();
    listens(port);
    works(&site, &format!("mount -o aname={export} tcp!127.0.0.1!{port} /r"));
}
