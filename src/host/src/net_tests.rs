use super::*;
use crate::signals::calm;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::string::String;
use std::vec;

const SOON: Duration = Duration::from_secs(10);

/// A socket of ours and its peer.
fn pair() -> (Socket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Socket::adopt(ours.into_raw_fd()), theirs)
}

fn echo(socket: &Socket, mut peer: impl Read + Write) {
    assert_eq!(socket.send(&[b"he", b"", b"llo"]), Ok(5));
    let mut got = [0; 5];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
    peer.write_all(b"world").unwrap();
    socket.wait(Ready { read: true, write: false }, SOON).unwrap();
    let mut all = [0; 9];
    assert_eq!(socket.recv(&mut all), Ok(5));
    assert_eq!(&all[..5], b"world");
}

#[test]
fn it_dials_both_families_and_names_of_any_length() {
    let dir = std::env::temp_dir().join(std::format!("privns-net-{}", std::process::id()));
    let deep = dir.join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    for parent in [&dir, &deep] {
        let path = parent.join("s");
        // std refuses long names: bound from within.
        let short = std::format!("/proc/self/fd/{}/s", {
            let dir = std::fs::File::open(parent).unwrap();
            dir.into_raw_fd()
        });
        let listener = UnixListener::bind(short).unwrap();
        let name = path.to_str().map(String::from).unwrap();
        let socket = Socket::dial(&Endpoint::Unix(name.as_bytes()), SOON).unwrap();
        echo(&socket, listener.accept().unwrap().0);
    }
    let missing = dir.join("none");
    let missing = Endpoint::Unix(missing.to_str().unwrap().as_bytes());
    assert_eq!(Socket::dial(&missing, SOON).unwrap_err(), Errno::ENOENT);
    std::fs::remove_dir_all(&dir).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = Socket::dial(&Endpoint::V4([127, 0, 0, 1], port), SOON).unwrap();
    echo(&socket, listener.accept().unwrap().0);
    drop(listener);
    let refused = Socket::dial(&Endpoint::V4([127, 0, 0, 1], port), SOON);
    assert_eq!(refused.unwrap_err(), Errno::ECONNREFUSED);
    // Where there is IPv6 at all.
    if let Ok(listener) = TcpListener::bind("[::1]:0") {
        let port = listener.local_addr().unwrap().port();
        let mut ip = [0; 16];
        ip[15] = 1;
        let socket = Socket::dial(&Endpoint::V6(ip, port, 0), SOON).unwrap();
        echo(&socket, listener.accept().unwrap().0);
    }
}

#[test]
fn programs_do_not_meet_it() {
    let (socket, _peer) = pair();
    assert!(socket.fd() >= 500, "{}", socket.fd());
    // SAFETY: a question about a descriptor.
    let flags = unsafe { libc::fcntl(socket.fd(), libc::F_GETFD) };
    assert_eq!(flags, libc::FD_CLOEXEC);
    let old = socket.fd();
    let new = Kernel.dup_elsewhere(old, true).unwrap();
    assert!(socket.moved(old, new) && !socket.moved(old, new));
    assert_eq!(socket.fd(), new);
    echo(&socket, _peer);
    let _ = Kernel.close(old);
}

#[test]
fn a_file_in_its_place_is_not_written_to() {
    let (socket, _peer) = pair();
    let name = std::format!("/tmp/privns-net-file-{}", std::process::id());
    let file = std::fs::File::create(&name).unwrap();
    // SAFETY: what a program does that closes everything it finds.
    assert!(unsafe { libc::dup2(file.as_raw_fd(), socket.fd()) } >= 0);
    assert_eq!(socket.send(&[b"not here"]), Err(Errno::ENOTSOCK));
    assert_eq!(socket.recv(&mut [0; 4]), Err(Errno::ENOTSOCK));
    assert_eq!(std::fs::metadata(&name).unwrap().len(), 0);
    std::fs::remove_file(&name).unwrap();
    let _ = Kernel.close(socket.fd());
    assert_eq!(socket.send(&[b"nor here"]), Err(Errno::EBADF));
    socket.lost();
    assert_eq!(socket.wait(Ready { read: true, write: false }, SOON), Err(Errno::EBADF));
}

#[test]
fn a_peer_that_is_gone_is_an_error_and_no_signal() {
    let (socket, peer) = pair();
    drop(peer);
    assert_eq!(socket.send(&[b"x"]), Err(Errno::EPIPE));
    let ready = socket.wait(Ready { read: true, write: false }, SOON).unwrap();
    assert!(ready.read);
    assert_eq!(socket.recv(&mut [0; 4]), Ok(0));
}

#[test]
fn waits_end_in_time() {
    let (socket, _peer) = pair();
    let timeout = Duration::from_millis(90);
    let _calm = calm();
    let began = now();
    let waited = socket.wait(Ready { read: true, write: false }, timeout);
    assert_eq!(waited, Err(Errno::ETIMEDOUT));
    let took = now() - began;
    assert!(took >= timeout && took < SOON, "{took:?}");
    let full = vec![0; 1 << 20];
    while socket.send(&[&full]).is_ok() {}
    assert_eq!(socket.send(&[&full]), Err(Errno::EAGAIN));
    let waited = socket.wait(Ready { read: false, write: true }, timeout);
    assert_eq!(waited, Err(Errno::ETIMEDOUT));
}

extern "C" fn ignore(_: i32) {}

/// Installs a handler that does nothing.
fn handle(signal: i32, flags: i32) {
    // SAFETY: the handler touches nothing.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = ignore as extern "C" fn(i32) as usize;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &action, core::ptr::null_mut()), 0);
    }
}

/// A thread that waits, and is sent a signal after a while: how its wait ended
/// and how long it took.
fn interrupted(signal: i32, wait: impl FnOnce(&Socket) -> Errno + Send) -> (Errno, Duration) {
    let (socket, _peer) = pair();
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let waiter = scope.spawn(move || {
            // SAFETY: no arguments.
            tell.send(unsafe { libc::syscall(libc::SYS_gettid) }).unwrap();
            let _calm = calm();
            let began = now();
            (wait(&socket), now() - began)
        });
        let tid = told.recv().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        // SAFETY: to a thread of this process that is alive.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal) };
        waiter.join().unwrap()
    })
}

#[test]
fn signals_end_waits_as_they_end_slow_calls() {
    handle(libc::SIGRTMIN(), 0);
    handle(libc::SIGRTMIN() + 1, libc::SA_RESTART);
    let want = Ready { read: true, write: false };
    let limit = Duration::from_secs(2);
    let (e, took) = interrupted(libc::SIGRTMIN(), |s| s.wait(want, limit).unwrap_err());
    assert!(e == Errno::EINTR && took < Duration::from_secs(1), "{e:?} {took:?}");
    let (e, took) =
        interrupted(libc::SIGRTMIN(), |s| s.recv_waiting(&mut [0; 9], limit).unwrap_err());
    assert!(e == Errno::EINTR && took < Duration::from_secs(1), "{e:?} {took:?}");
    let (e, took) = interrupted(libc::SIGRTMIN() + 1, |s| s.wait(want, limit).unwrap_err());
    assert!(e == Errno::EINTR && took >= signals::PATIENCE, "{e:?} {took:?}");
    let (e, took) = interrupted(libc::SIGWINCH, |s| s.wait(want, limit).unwrap_err());
    assert!(e == Errno::ETIMEDOUT && took >= limit, "{e:?} {took:?}");
    // Asleep for somebody else's news.
    let monitor = crate::futex::Monitor::new(());
    let (e, took) = interrupted(libc::SIGRTMIN(), |_| {
        monitor.enter(limit, 1, |()| None::<()>, |()| crate::futex::News::default()).unwrap_err()
    });
    assert!(e == Errno::EINTR && took < Duration::from_secs(1), "{e:?} {took:?}");
}
