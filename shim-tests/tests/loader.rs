//! What the loader and libc load by themselves, where a namespace has something else in its
//! place than the host.

use privns_shim_tests::{Served, Site, needs};

/// A program whose library the host has too, at the very place where the program says that it is.
const TREE: &str = r#"
    set -e; mkdir -p $T/lib $T/d/lib $T/d/bin $T/none; cd $T/d
    for n in 1 7; do
        echo "int own(void) { return $n; }" >own.c
        cc -shared -fPIC -o own$n.so own.c; cc -shared -fPIC -o named$n.so own.c -Wl,-soname,libown.so
    done
    cp own7.so lib/plain.so; cp named7.so lib/libown.so; cp own1.so $T/lib/plain.so; cp named1.so $T/lib/libown.so
    cat >main.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
int own(void);
int main(int argc, char **argv) { Dl_info info; dladdr((void *)own, &info); printf("%d %s\n", own(), argc > 1 ? "" : info.dli_fname); return 0; }
C
    cc -o bin/new main.c lib/libown.so -Wl,--enable-new-dtags,-rpath,$T/lib
    cc -o bin/old main.c lib/libown.so -Wl,--disable-new-dtags,-rpath,$T/lib
    cc -o bin/place main.c $T/lib/plain.so
    echo 'int own(void); int other(void) { return own(); }' >other.c
    cc -shared -fPIC -o lib/libother.so other.c lib/libown.so -Wl,--disable-new-dtags,-rpath,$T/lib
    cat >more.c <<'C'
#include <stdio.h>
int other(void);
int main(void) { printf("%d\n", other()); return 0; }
C
    cc -o bin/more more.c lib/libother.so -Wl,-rpath-link,lib,--disable-new-dtags,-rpath,$T/lib
    cp lib/libother.so $T/lib/"#;

/// A library that both have is the namespace's, and one that it hides is not found.
#[test]
fn libraries_that_both_have() {
    needs!("libraries_that_both_have", "cc");
    let site = Site::new();
    site.sh(TREE).run().ok();
    let (lib, here) = (site.at("lib"), site.at("d/lib"));
    let script = "for f in old 'new -' place more; do $T/d/bin/$f; done 2>&1";
    let told = |n: u32| format!("{n} {lib}/libown.so\n{n} \n{n} {lib}/plain.so\n{n}");
    site.sh(script).run().prints(&told(1));
    site.inside(&["--bind", &here, &lib], script).run().prints(&told(7));
    let served = Served::start(&site, "a", "dir $T/d/lib");
    let whole = Served::start(&site, "b", "dir $T/d");
    let (at, root) = (served.address(), whole.address());
    let mount = ["--mount", &at, &lib];
    site.inside(&mount, script).run().prints(&told(7));
    let both = [&mount[..], &["--mount", &root, "/r"]].concat();
    let inside = site.inside(&both, &script.replace("$T/d", "/r")).run();
    inside.prints(&told(7));
    let union = ["--bind-before", &here, &lib];
    site.inside(&union, script).run().prints(&told(7));
    // The program that ns-exec itself becomes.
    let first = site.ns_exec().args(mount).args(["--", &site.at("d/bin/place")]).run();
    first.prints(&format!("7 {lib}/plain.so"));
    let hides = ["--bind", &site.at("none"), &lib];
    let hidden =
        site.inside(&hides, "for f in old new place; do $T/d/bin/$f 2>/dev/null; echo $?; done");
    hidden.run().prints("127\n127\n127");
}

/// A service of nsswitch.conf(5) that the host does not have.
const SERVICE: &str = r#"
    set -e; mkdir -p $T/d/lib $T/etc; cd $T/d
    cat >service.c <<'C'
#include <errno.h>
#include <nss.h>
#include <pwd.h>
#include <string.h>
enum nss_status _nss_privns_getpwnam_r(const char *name, struct passwd *p, char *buf, size_t len, int *error)
{
    static char dir[] = "/", x[] = "x", own[] = "somebody";
    if (strcmp(name, own)) { *error = ENOENT; return NSS_STATUS_NOTFOUND; }
    p->pw_name = own; p->pw_passwd = p->pw_gecos = p->pw_shell = x; p->pw_dir = dir;
    p->pw_uid = p->pw_gid = 4711;
    return NSS_STATUS_SUCCESS;
}
C
    cc -shared -fPIC -o lib/libnss_privns.so.2 service.c -Wl,-soname,libnss_privns.so.2
    sed '/^passwd:/d' /etc/nsswitch.conf >$T/etc/nsswitch.conf; echo 'passwd: files privns' >>$T/etc/nsswitch.conf"#;

#[test]
fn services_of_nsswitch_conf() {
    needs!("services_of_nsswitch_conf", "cc", "getent");
    let site = Site::new();
    site.sh(SERVICE).run().ok();
    let served = Served::start(&site, "a", "dir $T/d/lib");
    let (conf, lib, at) = (site.at("etc/nsswitch.conf"), site.at("d/lib"), served.address());
    let bind = ["--bind", &conf, "/etc/nsswitch.conf"];
    let script = "getent passwd somebody; id -u somebody; getent passwd root | cut -d: -f1";
    let want = "somebody:x:4711:4711:x:/:x\n4711\nroot";
    let path = ["--setenv", "LD_LIBRARY_PATH", "/new"];
    for place in [["--bind", &lib, "/new"], ["--mount", &at, "/new"]] {
        let options = [&bind[..], &place, &path].concat();
        site.inside(&options, script).run().prints(want);
        let first = site.ns_exec().args(&options).args(["--", "getent", "passwd", "somebody"]);
        first.run().prints("somebody:x:4711:4711:x:/:x");
    }
    for place in [["--bind-after", &lib, "/usr/local/lib"], ["--mount-after", &at, "/usr/lib64"]] {
        site.inside(&[&bind[..], &place].concat(), script).run().prints(want);
    }
    let outcome = site.inside(&bind, "getent passwd somebody; echo $?").run();
    outcome.prints("2");
}

/// A whole system in place of the host's has conversions of text of its own.
#[test]
fn conversions_of_another_system() {
    needs!("conversions_of_another_system", "cc", "iconv");
    let site = Site::new();
    let copy = r#"
        set -e; mkdir -p $T/d/usr/bin $T/d/dev $T/d/tmp; cd $T/d; ln -s usr/bin bin
        own=$(find /usr/lib/*/gconv /usr/lib64/gconv /usr/lib/gconv -name ISO8859-7.so 2>/dev/null | head -n 1)
        cp /bin/bash usr/bin/sh; cp /usr/bin/iconv /bin/rm usr/bin/
        for one in $(ldd usr/bin/* | grep -o '/\(usr/\)*lib[^ ]*' | sort -u); do
            mkdir -p .${one%/*}; cp -L $one .$one
        done
        mkdir -p .${own%/*}; cp $own .${own%/*}/OWN.so
        printf 'module ISO-8859-7// INTERNAL OWN 1\n' >.${own%/*}/gconv-modules
        printf 'a\341\n' >tmp/text"#;
    site.sh(copy).run().ok();
    site.sh("cp -r $T/d $T/whole").run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let script = "iconv -f ISO-8859-7 -t UTF-8 /tmp/text; rm /usr/lib/*/gconv/OWN.so
        iconv -f ISO-8859-7 -t UTF-8 /tmp/text || echo none";
    let at = served.address();
    for whole in [["--bind", &site.at("d"), "/"], ["--mount", &at, "/"]] {
        let options =
            [&["--clear"], &whole[..], &["--chdir", "/", "--setenv", "LC_ALL", "C"]].concat();
        site.sh("cp -r $T/whole/. $T/d").run().ok();
        site.inside(&options, script).run().prints("aα\nnone");
    }
}
