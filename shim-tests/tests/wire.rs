//! The rows of the acceptance list that are about what passes between client and server: a
//! proxy writes it down, and it is read here.

use privns_ninep::message::{Reply, Request};
use privns_ninep::{Dialect, NOTAG};
use privns_shim_tests::{Diod, Ending, Message, Recorder, Served, Site, needs};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Every dialect by its name, the first with the order that our servers promise.
const DIALECTS: [&str; 4] = ["best", "9P2000.L", "9P2000.u", "9P2000"];

/// The line that mounts what is behind a proxy.
fn mount(recorder: &Recorder, keys: &str, at: &str) -> String {
    format!("mount -o {keys} {} {at}", recorder.address())
}

/// Each request, and what was answered to it.
fn answers(trace: &[Message]) -> Vec<(&Message, Option<&Message>)> {
    let mut waiting = BTreeMap::new();
    let mut all: Vec<(&Message, Option<&Message>)> = Vec::new();
    for message in trace {
        let key = (message.connection, message.tag());
        if message.asks {
            waiting.insert(key, all.len());
            all.push((message, None));
        } else if let Some(at) = waiting.remove(&key) {
            all[at].1 = Some(message);
        }
    }
    all
}

/// Whether a walk came less far than it was to.
fn falls_short(request: &Request<'_>, reply: Option<&Message>) -> bool {
    let Request::Twalk(walk) = request else { return false };
    match reply.and_then(Message::reply) {
        Some(Reply::Rwalk(m)) => m.qids.as_slice().len() < walk.names.as_slice().len(),
        Some(_) => true,
        None => false,
    }
}

/// The fid that a request is about.
fn subject(request: &Request<'_>) -> Option<u32> {
    match request {
        Request::Twalk(m) => Some(m.fid),
        Request::Tgetattr(m) => Some(m.fid),
        Request::Tstat(m) => Some(m.fid),
        Request::Tclunk(m) => Some(m.fid),
        _ => None,
    }
}

/// A long walk that fails leaves the fid that it began at, which goes on to be used; and no walk
/// takes the root along.
#[test]
fn m11() {
    let site = Site::new();
    let deep: Vec<String> = (0..24).map(|n| format!("d{n}")).collect();
    let deep = deep.join("/");
    site.write(&format!("d/{deep}/f"), "deep\n");
    let served = Served::start(&site, "a", "dir $T/d");
    let recorder = Recorder::start(&site, "proxy", &served.address(), Duration::ZERO);
    // One process, and so one connection: the fid of which a walk fails goes on.
    let python = format!(
        "for name in '{deep}/none', 'd0/none/{deep}/f', '{deep}/f/x', '{deep}/f':
  try: print(open('/r/' + name).read(), end='')
  except OSError as e: print(e.errno)"
    );
    for dialect in DIALECTS {
        let line = mount(&recorder, &format!("dialect={dialect}"), "/r");
        let inside = site.ns_exec().args(["-e", &line, "--", "python3", "-c", &python]);
        inside.run().prints("2\n2\n20\ndeep");
        let trace = recorder.trace();
        let all = answers(&trace);
        let (mut failed, mut roots) = (0, Vec::new());
        for (at, (asked, reply)) in all.iter().enumerate() {
            let request = asked.request().expect("a request");
            let old = subject(&request);
            // One that goes on from where another has led takes that fid along.
            let in_place = matches!(&request, Request::Twalk(m) if m.fid == m.newfid);
            assert!(!in_place || !roots.contains(&old), "{dialect}: {request:?}");
            if let Request::Tattach(m) = &request {
                roots.push(Some(m.fid));
            }
            if in_place || !falls_short(&request, *reply) {
                continue;
            }
            failed += 1;
            let goes_on = |(later, reply): &(&Message, Option<&Message>)| {
                let request = later.request().expect("a request");
                let same = later.connection == asked.connection && subject(&request) == old;
                let refused = reply
                    .and_then(Message::reply)
                    .is_none_or(|reply| matches!(reply, Reply::Rlerror(_) | Reply::Rerror(_)));
                same && !refused && !falls_short(&request, *reply)
            };
            assert!(all[at + 1..].iter().any(goes_on), "{dialect}: nothing after {request:?}");
        }
        assert!(failed >= 1, "{dialect}: no walk fell short");
    }
}

/// Fails unless no tag is used again before its reply is there, and NOTAG is Tversion's alone.
/// The most that was under way at once.
fn assert_tags(trace: &[Message]) -> usize {
    // What is out on each connection, and what of it a flush gives up.
    let mut out: BTreeMap<usize, BTreeSet<u16>> = BTreeMap::new();
    let mut flushes = BTreeMap::new();
    let mut most = 0;
    for message in trace {
        let (tags, tag) = (out.entry(message.connection).or_default(), message.tag());
        if let Some(request) = message.request() {
            let version = matches!(request, Request::Tversion(_));
            assert_eq!(tag == NOTAG, version, "{request:?}");
            assert!(tags.insert(tag), "tag {tag} of {request:?} is under way");
            if let Request::Tflush(m) = request {
                flushes.insert((message.connection, tag), m.oldtag);
            }
            most = most.max(tags.len());
        } else {
            assert!(tags.remove(&tag), "a reply to {tag}, which nobody sent");
            if let Some(old) = flushes.remove(&(message.connection, tag)) {
                tags.remove(&old);
            }
        }
    }
    most
}

/// Tags are unique as long as they are under way: with many threads, many processes, and some
/// that are interrupted.
#[test]
fn m12() {
    let site = Site::new();
    site.mkdir("d");
    let served = Served::start(&site, "a", "dir $T/d");
    // Long enough for much to be under way at once.
    let recorder = Recorder::start(&site, "proxy", &served.address(), Duration::from_millis(1));
    let script = r#"cd /r && seq 1 60000 >big && mkdir many && (cd many && touch $(seq 1 60)) && ls -l many >/dev/null
        for i in 1 2 3; do (cp big copy$i; cmp big copy$i; find . -name 'x*'; rm copy$i) & done; wait
        for i in 1 2 3; do timeout -s INT .0$i cat big big big big >/dev/null; done
        python3 - <<'P'
import threading
def work(n):
    for i in range(3):
        with open(f't{n}', 'w+') as f:
            f.write(str(i) * 3000); f.flush(); f.seek(0); assert len(f.read()) >= 3000
        assert len(open('big').read()) > 300000
threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
[t.start() for t in threads]; [t.join() for t in threads]
P
        tar cf - many | tar tf - | wc -l"#;
    for (dialect, spoken) in
        DIALECTS.into_iter().zip([Dialect::Linux, Dialect::Linux, Dialect::Unix, Dialect::Base])
    {
        site.sh("rm -rf $T/d/*").run().ok();
        let line = mount(&recorder, &format!("dialect={dialect}"), "/r");
        site.inside(&["-e", &line], script).limit(60).run().prints("61");
        let trace = recorder.trace();
        assert!(trace.len() > 1000, "{dialect}: {} messages", trace.len());
        assert_eq!(trace.last().map(|m| m.dialect), Some(spoken));
        let most = assert_tags(&trace);
        assert!(most > 4, "{dialect}: {most} at once");
    }
}

/// How long a script takes, ms.
fn took(site: &Site, line: &str, script: &str) -> u64 {
    let script = format!(
        "from=$(date +%s%N); {script}; status=$?; to=$(date +%s%N)
         echo $(((to - from) / 1000000)); exit $status"
    );
    let told = site.inside(&["-e", line], &script).limit(60).run().ok();
    told.parse().unwrap_or_else(|_| panic!("{told}"))
}

/// Fails unless a script takes five times as long at least when one request is under way at a
/// time.
#[track_caller]
fn assert_together(site: &Site, recorder: &Recorder, keys: &str, script: &str) {
    let with = |more: &str| took(site, &mount(recorder, &format!("{keys}{more}"), "/r"), script);
    let one = with(",window=1");
    // Often enough for the machine to be quiet once.
    let mut many = with("");
    for _ in 0..4 {
        if one < many * 5 {
            many = many.min(with(""));
        }
    }
    println!("{script}: {many} ms, one by one {one} ms");
    assert!(one >= many * 5, "{script}: {many} ms, one by one {one} ms");
}

/// Each way, where a round trip takes 50 ms.
const FAR: Duration = Duration::from_millis(25);

/// Reads ahead and writes behind are many at a time.
#[test]
fn m13() {
    let site = Site::new();
    site.write("d/8M", vec![b'x'; 8 << 20]);
    let served = Served::start(&site, "a", "dir $T/d");
    let recorder = Recorder::start(&site, "proxy", &served.address(), FAR);
    assert_together(&site, &recorder, "msize=131072", "cat /r/8M >/dev/null");
    assert_together(&site, &recorder, "msize=131072", "cp $T/d/8M /r/copy");
    assert!(std::fs::read(site.path("d/copy")).unwrap() == vec![b'x'; 8 << 20]);
}

/// Whoever changes what he reads, piece by piece, is read nothing ahead: it would be void.
#[test]
fn changing_piece_by_piece_reads_nothing_twice() {
    let site = Site::new();
    site.write("d/f", vec![b'x'; 1 << 20]);
    let served = Served::start(&site, "a", "dir $T/d");
    let recorder = Recorder::start(&site, "proxy", &served.address(), Duration::ZERO);
    let python = "import os
file = os.open('/r/f', os.O_RDWR)
for at in range(0, 1 << 20, 4000): os.pwrite(file, os.pread(file, 4000, at).upper(), at)";
    for dialect in DIALECTS {
        let line = mount(&recorder, &format!("dialect={dialect}"), "/r");
        site.ns_exec().args(["-e", &line, "--", "python3", "-c", python]).run().ok();
        let asked = |message: &Message| match message.request() {
            Some(Request::Tread(read)) => read.count as usize,
            _ => 0,
        };
        let asked: usize = recorder.trace().iter().map(asked).sum();
        assert!(asked < 2 << 20, "{dialect}: {asked} bytes");
    }
    assert!(std::fs::read(site.path("d/f")).unwrap() == vec![b'X'; 1 << 20]);
}

/// Reading ahead on a server of others: what is written there is waited for, since it
/// promises no order.
#[test]
fn m13_diod() {
    needs!("m13_diod", "diod");
    let site = Site::new();
    let diod = Diod::start(&site, "d");
    site.write("d/8M", vec![b'x'; 8 << 20]);
    let recorder = Recorder::start(&site, "proxy", diod.address(), FAR);
    assert_together(&site, &recorder, &format!("aname={}", diod.aname), "cat /r/8M >/dev/null");
}

/// What there is no room for is not lost behind a write: cp fails, and the reason is told once.
#[test]
fn m13_full_disk() {
    let site = Site::new();
    site.write("8M", vec![b'x'; 8 << 20]);
    let served = Served::start(&site, "a", "mem --size 4M");
    let script = r#"cp $T/8M /r/f; echo $?; cat $T/8M >/r/g; echo $?; rm /r/*
        dd if=$T/8M of=/r/h bs=64k; echo $?; rm /r/h; exec python3 -c 'import os
fd = os.open("/r/i", os.O_WRONLY | os.O_CREAT)
try:
    while True: os.write(fd, bytes(65536))
except OSError as e: print(e.errno)
try: os.close(fd); print("closed")
except OSError as e: print("close", e.errno)
os.unlink("/r/i")'"#;
    for dialect in DIALECTS {
        let line = format!("mount -o dialect={dialect} {} /r", served.address());
        let outcome = site.inside(&["-e", &line], script).run();
        outcome.prints("1\n1\n1\n28\nclosed");
        let told = outcome.err().matches("No space left on device").count();
        assert_eq!(told, 3, "{dialect}: {outcome}");
    }
}

/// A call that a signal interrupts is taken back at the server, and nothing else is hindered.
#[test]
fn m14() {
    let site = Site::new();
    site.write("d/f", vec![b'f'; 100_000]);
    let served = Served::start(&site, "a", "dir $T/d");
    let slow = Recorder::start(&site, "slow", &served.address(), Duration::ZERO);
    let fast = Recorder::start(&site, "fast", &served.address(), Duration::ZERO);
    for dialect in DIALECTS {
        let keys = format!("dialect={dialect}");
        let lines = [mount(&slow, &keys, "/slow"), mount(&fast, &keys, "/r")];
        let stays = "touch $T/up; until test -e $T/stop; do sleep .05; done";
        let member = site.inside(&["-e", &lines[0], "-e", &lines[1]], stays).start();
        site.until("up");
        slow.mute(true);
        drop((slow.trace(), fast.trace()));
        let script = "j='ns-exec --join '$F' --'
            timeout -s INT 1 $j cat /slow/f; echo $?; $j cat /r/f | wc -c
            $j timeout -s INT 1 cat /slow/f; echo $?";
        site.sh(script).run().prints("124\n100000\n124");
        slow.mute(false);
        site.sh("ns-exec --join $F -- cat /slow/f | wc -c").run().prints("100000");
        let flushes = |recorder: &Recorder| {
            let flush = |m: &Message| matches!(m.request(), Some(Request::Tflush(_)));
            recorder.trace().iter().filter(|m| flush(m)).count()
        };
        assert!(flushes(&slow) >= 2, "{dialect}: no Tflush");
        assert_eq!(flushes(&fast), 0, "{dialect}");
        site.write("stop", "");
        assert_eq!(member.wait(10), Ending::Exit(0));
        site.sh("rm $T/stop $T/up").run().ok();
    }
}

/// A signal that comes while a server is asked ends the wait that would follow, as one that comes in
/// it, and a handler that is to let the call go on does.
#[test]
fn signals_before_a_wait() {
    let site = Site::new();
    site.write("d/f", vec![b'f'; 100_000]);
    let served = Served::start(&site, "a", "dir $T/d");
    let slow = Recorder::start(&site, "slow", &served.address(), Duration::from_millis(15));
    let python = "import ctypes, fcntl, os, signal, socket, time
# One that is lost is made up for by the next.
def each(name, act):
    late = 0
    for ms in range(3, 130, 7):
        file = os.open('/r/f', os.O_RDWR)
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, ms / 1000, 2)
        try: act(file); print(name, 'went on')
        except ZeroDivisionError: pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        late += time.monotonic() - began > 1
        os.close(file)
    print(name, late)
signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
os.mkfifo('/r/p'); other = os.open('/r/f', os.O_RDWR); fcntl.flock(other, fcntl.LOCK_EX)
each('pipe', lambda _: os.open('/r/p', os.O_RDONLY))
each('flock', lambda file: fcntl.flock(file, fcntl.LOCK_EX))
r, w = os.pipe(); os.write(w, bytes(65536))
each('sendfile', lambda file: os.sendfile(w, file, 50000, 9))
fcntl.flock(other, fcntl.LOCK_UN); child = os.fork()
if not child:
    fcntl.lockf(other, fcntl.LOCK_EX); os.write(w, b'x'); time.sleep(30); os._exit(0)
os.read(r, 65536); os.read(r, 1)
each('lockf', lambda file: fcntl.lockf(file, fcntl.LOCK_EX))
os.kill(child, 9); os.waitpid(child, 0); ran = []
U, S, D, open_ones = socket.AF_UNIX, socket.SOCK_STREAM, socket.SOCK_DGRAM, []
def listens(name):
    s = socket.socket(U, S); s.bind(name); s.listen(0); open_ones.append(s)
def joins(name):
    s = socket.socket(U, S); open_ones.append(s); s.connect(name)
listens('/r/full'); joins('/r/full'); each('connect', lambda _: joins('/r/full'))
mail = socket.socket(U, D); mail.bind('/r/mail'); sender = socket.socket(U, D); sender.setblocking(False)
try:
    while True: sender.sendto(b'x', '/r/mail')
except BlockingIOError: sender.setblocking(True)
each('sendto', lambda _: sender.sendto(b'x', '/r/mail'))
each('sendmsg', lambda _: sender.sendmsg([b'x'], [], 0, '/r/mail'))
one, two = socket.socketpair(U, S); one.setblocking(False)
try:
    while True: one.send(bytes(65536))
except BlockingIOError: one.setblocking(True)
each('descriptor', lambda file: socket.send_fds(one, [b'x'], [file]))
def joined(s):
    name = (1).to_bytes(2, 'little') + b'/r/room\\0'
    return libc.connect(s.fileno(), name, len(name)) == 0
libc = ctypes.CDLL(None); signal.signal(signal.SIGALRM, lambda *_: None); done = 0
for ms in range(3, 130, 7):
    listens('/r/room'); s = socket.socket(U, S)
    signal.setitimer(signal.ITIMER_REAL, ms / 1000); done += joined(s); signal.setitimer(signal.ITIMER_REAL, 0)
    os.unlink('/r/room')
print('room for all', done == 19)
signal.signal(signal.SIGALRM, lambda *_: ran.append(1)); signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, .01, .05)
if not os.fork():
    time.sleep(.5); os.write(os.open('/r/p', os.O_WRONLY), b'y'); os._exit(0)
print(os.read(os.open('/r/p', os.O_RDONLY), 1)); os.wait(); signal.setitimer(signal.ITIMER_REAL, 0); print(len(ran) > 0)";
    let line = mount(&slow, "dialect=best", "/r");
    let inside = site.ns_exec().args(["-e", &line, "--", "python3", "-c", python]).limit(60);
    inside.run().prints(
        "pipe 0\nflock 0\nsendfile 0\nlockf 0\nconnect 0\nsendto 0\nsendmsg 0\ndescriptor 0\n\
         room for all True\nb'y'\nTrue",
    );
}

/// What was written is on the server when its descriptor is gone, by whichever call it went: the next
/// program may be on another connection.
#[test]
fn whatever_closes_a_file_waits_for_its_writes() {
    let site = Site::new();
    site.sh("mkdir $T/d").run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let slow = Recorder::start(&site, "slow", &served.address(), Duration::from_millis(40));
    let python = "import ctypes, os
libc = ctypes.CDLL(None); libc.fdopen.restype = ctypes.c_void_p; libc.fputs.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
null = os.open('/dev/null', os.O_RDWR); told = os.environ['T'] + '/d/'
def written(name):
    file = os.open('/r/' + name, os.O_WRONLY | os.O_CREAT, 0o600); os.write(file, b'here'); return file
def look(name): print(name, open(told + name).read(), flush=True)
def by(name, act): act(written(name)); look(name)
by('close', os.close)
by('dup2', lambda file: libc.dup2(null, file))
by('dup3', lambda file: libc.dup3(null, file, os.O_CLOEXEC))
by('close_range', lambda file: libc.close_range(file, file, 0))
by('closefrom', lambda file: libc.closefrom(file))
def child(name, end):
    if not os.fork(): end(written(name))
    os.wait(); look(name)
child('_exit', lambda file: os._exit(0))
def stdio(file):
    libc.fputs(b' too', libc.fdopen(file, b'w')); libc.exit(0)
child('exit', stdio)
child('exec', lambda file: os.execv('/bin/true', ['true']))
def kept(file):
    os.set_inheritable(file, True); os.execv('/bin/true', ['true'])
child('kept over exec', kept)";
    for dialect in DIALECTS {
        let line = mount(&slow, &format!("dialect={dialect}"), "/r");
        let inside = site.ns_exec().args(["-e", &line, "--", "python3", "-c", python]).limit(60);
        inside.run().prints(
            "close here\ndup2 here\ndup3 here\nclose_range here\nclosefrom here\n_exit here\nexit here too\n\
             exec here\nkept over exec here",
        );
    }
}
