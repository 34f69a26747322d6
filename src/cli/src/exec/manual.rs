//! The words of ns-exec(1).

pub(super) const DESCRIPTION: &str = "\
ns-exec builds a namespace and becomes PROGRAM in it: same process, terminal, \
signals and exit status. PROGRAM and everything it starts, a family, see the \
namespace instead of the host's files: binds, unions, private directories. \
Nothing is mounted, no right is needed, and nobody else sees a change. \
PROGRAM is any dynamically linked program, as it is; a library that is loaded \
with it (LD_PRELOAD) looks its names up.

Without PROGRAM: the shell of SHELL, else of the password database, else \
/bin/sh.

With no namespace option, and none of --dump, --restore and --join: --private \
/tmp --private /dev/shm, keeping in view the sockets that the session lives by \
(those of DISPLAY, WAYLAND_DISPLAY, SSH_AUTH_SOCK, TMUX and \
DBUS_SESSION_BUS_ADDRESS, where they lie in /tmp).

Run inside a family, ns-exec begins from a copy of that family's namespace and \
makes a family of its own.

The table is live: a change by any member, or by ns(1) from outside, is seen by \
every member at its next lookup.

SRC is looked up in the namespace as built so far and, where that has no such \
name, in the global one, as after --clear for / too; host!/PATH always names the global \
one. DST need not exist on the host: its parents then appear too. A union is of the top directory \
only; new files go to the member that was marked for it (-c), else to the \
directory that stood there first, else they are refused with EPERM.";

pub(super) const SECTIONS: &[(&str, &str)] = &[
    (
        "NAMESPACE FILE",
        "A line is a verb with arguments; # begins a comment; '...' quotes anything, \
newlines too, with '' for one quote; $NAME and ${NAME} are environment variables, also \
$USER, $HOME, $JOB (the batch job, with how often it was restarted) and $NODE.

  bind [-bacrq] SRC DST
  mount [-bacrq] [-o KEY=VALUE,...] ADDR DST [ANAME]
  private [-i RULE] DIR
  poly [-o ARG,...] FILE
  dir DST
  symlink TARGET DST
  unmount [SRC] DST
  clear
  cd DIR
  . FILE

Flags: -b first in a union, -a last, -c new files go here, -r read-only, -q no \
error if it fails. SRC of unmount may be an address.",
    ),
    (
        "9P SERVERS",
        "mount shows the tree of a 9P server that no kernel has mounted. ADDR is one of

  tcp!HOST[!PORT]
  unix!PATH
  ssh![USER@]HOST!PATH
  exec!COMMAND
  tls!HOST[!PORT]
  @[tls!]HOST[!PORT]/NAME
  mem![OPTION,...]

PORT is 564 where none is given. ssh! runs ns-serve dir --stdio PATH on the other machine; \
exec! speaks 9P with the standard input and output of a command of sh(1); @HOST/NAME asks \
the directory of servers on HOST, port 4349, and @tls!HOST/NAME \
by TLS alone; mem! is a new tree in memory, of half the \
machine's memory at most, or as the options size=, nr_blocks=, mode=, uid= and gid= of tmpfs(5) say. \
PATH of unix! is looked up as SRC is. ANAME, or the key aname=, says which tree of the server is \
meant: of ns-serve dir and mem a directory below what they serve, out of which .. does not lead, and \
all of it where none is given; of others what they call it (diod: the directory that it exports).

A server is dialled and attached to before anything is run: one that cannot be reached, or \
does not let the user in, is an error (status 125) unless -q is given. Programs then dial \
tcp! and unix! themselves; a memory tree and every other transport have a process of the \
family's, ns-attendant, which is gone with the last member. It has no terminal, so that ssh \
cannot ask for a password. Root's memory trees serve whoever a member becomes (su, setpriv, sudo -u), \
each as himself; what root has mounted otherwise is for those whom its server lets in, and a member \
that changes its user is asked anew who it is.

The keys of -o are aname=, uname= (the user), msize= (largest message, bytes, 1048576), \
dialect= (9P2000, 9P2000.u, 9P2000.L or best), cache= (none, close or loose: every question is \
the server's to answer, and nothing is kept, or until the file is opened again, or for as long as there is room; close), timeout= (seconds \
that a request may take, 30), window= (requests in flight at most; as many as delay and rate \
need, 8 MiB at most), owner= (served, or me: the files of the user that attached are shown as \
the program's own) and ro. Mounts of the same tree with the same keys share connections.

Names below a mount may be mounted on, and bound elsewhere, like any other. df, findmnt and \
/proc/self/mounts show the address as the source and 9p as the type.",
    ),
    (
        "LIMITS OF 9P SERVERS",
        "What a program finds in a server's tree is as on a local file system, but for this. There \
are no devices (EPERM) and no files without a name (O_TMPFILE: \
EOPNOTSUPP); of renameat2(2) there is only RENAME_NOREPLACE (EINVAL), and of fallocate(2) only that \
which lengthens a file. Sockets and pipes that have their names there are met by the members of the family, \
on this machine: to all others a socket is one that nobody listens on (ECONNREFUSED), and a pipe has no \
other end. Nor can descriptors be sent to anybody but members, or those that are open for their names only \
(SCM_RIGHTS: EOPNOTSUPP). Nothing can be watched \
(inotify_add_watch(2): ENOSPC, so that programs poll; F_NOTIFY of fcntl(2): EINVAL). A mapping is a copy in memory, of 1 GiB at most \
(ENODEV), and shared ones are written back when they are unmapped or synchronised. Where a server is mounted \
no rings are made (io_uring_setup(2): ENOSYS; nor are any with --clear and --strict), and what io_submit(2) \
is given is done before it returns; elsewhere names that a ring is given are the host's. Modules that libc \
loads by itself (iconv's, NSS's) are the host's where their place was mounted since the program was started.

Servers that are not ns-serve promise no order: what is written there is waited for at once. They end record locks (fcntl(2)) at exec, and let two processes that \
wait for each other wait; what is open is opened anew by its name in a child, and is lost there (ESTALE) when \
another process has removed that; the process that has opened it reads and writes on, but cannot \
change its mode, owner, times and length. What the only process that has it open removes is from then on a file \
in memory, of 1 GiB at most, which its children inherit: temporary files and here-documents.

9P2000.u cannot make pipes and sockets (EPERM; bind(2): EOPNOTSUPP), nor say that a file is appended to: what several processes append at once may overwrite \
each other. It has no locks (ENOLCK), no extended attributes (EOPNOTSUPP) and no hard links (EPERM), times in \
whole seconds, and renames in one directory only (EXDEV, so that mv(1) copies); a rename over another \
file is two steps. 9P2000 has no symbolic links, owners and special bits of a mode besides (EPERM).",
    ),
    (
        "RULES FOR PRIVATE DIRECTORIES",
        "--poly FILE reads rules as pam_namespace does, so that a site's namespace.conf(5) \
works as it is: polydir, instance prefix, method with flags, and the users that a line is not \
for, or with ~ in front is only for. Beside FILE (NAME.conf) its drop-ins NAME.d/*.conf are \
read; a file of /etc/security hides that of the same name in /usr/etc/security and \
/usr/share/security. Arguments of the module that mean something here are given by -o: \
ignore_config_error, require_selinux, gen_hash. Each rule that applies to the user becomes a \
line private -i 'PREFIX METHOD[:FLAG...]' POLYDIR, which is how it is printed and dumped.

Methods are user, level and context (without SELinux: user), tmpdir, tmpfs, and beside \
these job, one for each user and batch job, and family, one for each family. The prefix \
may hold $HOME, $USER, $JOB and $NODE. $JOB is SLURM_JOB_ID with SLURM_RESTART_COUNT, else \
PRIVNS_JOB. A prefix of method job that does not name $JOB gets job and node put before the \
user's name. Flags are create=MODE,OWNER,GROUP, iscript=, noinit, shared and mntopts=. With \
create a polydir that is not there is shown, and not made on the host. One flag is beside \
these: keep, with which an instance of any method stays until ns reap --job or --user.

The instance lies in PREFIX with the name, a directory of the user's own with mode 0700, as \
dir; it has the mode of what it stands for and, made by root, the owner and group. All families \
of the user, or of the job, on this node share it. Nobody else may be able to exchange it: every \
directory on the way is root's or the user's, and sticky where others may write; else, and where \
somebody has taken the name, nothing is run. Where the parent is closed to users, as \
pam_namespace wants it, an administrator opens it (chmod 1777), or makes each user's directory in \
it. An instance is removed when the last member that uses it is gone; those of method user, level \
and context stay until ns reap --user.

tmpfs mounts nothing: its instance is a directory in /dev/shm, removed with the family, in \
which everything works that does in a /tmp. With a size in mntopts (size= or nr_blocks= of tmpfs(5), \
not 0) it is a tree in memory, as --tmpfs makes: writing beyond the size fails with ENOSPC, and the \
limits of 9P SERVERS hold, so that sockets cannot have their names in it. mode, uid and gid hold \
for both; nosuid, noexec, nodev and others are passed over.

--instance-fd N has instances, those of --private too, in the directory that is open as descriptor N: \
a launcher of root's opens the user's own directory where the user cannot, below a parent of \
mode 000 say, and runs ns-exec as the user. The directory is the user's, and nobody else may write it; \
or it is root's and sticky. Rules then say only which instances are shared. Where the path to it is \
open to the user too (parents of mode 711) instances are as elsewhere; where it is closed they are \
served by a process of the family's, as servers are, and the limits of 9P SERVERS hold: sockets \
cannot have their names there, for one. ns instances does not know these, and what a crash leaves \
goes when the directory is given the next time. PROGRAM does not have the descriptor.

namespace.init beside FILE, or the iscript, is run as a member of the family with the arguments \
polydir, instance (tmpfs), 1 for a new one, user, and for either path whether only root could \
exchange it; its environment is empty but for what the library needs, and its status is ignored. \
What unmnt_remnt and unmnt_only are for needs no word: who becomes another user leaves the \
namespace.",
    ),
    (
        "CONFINEMENT",
        "The library serves programs; it does not jail them. A program that makes system \
calls of its own sees the host's files, and so do static programs, setuid programs and \
those of another architecture or C library: they are run outside and counted (see ns \
stat), or refused with EACCES under --strict and after --clear.

--enforce, with --clear, asks the kernel too: opening, creating, removing, renaming or \
running anything outside the namespace is refused to every member, whatever way it calls, \
and to all that join. It does not hide metadata, chdir or unix sockets. It sets \
no_new_privs, so sudo fails inside. What the kernel cannot express (a read-only bind \
inside a writable one) or does not have is an error, and nothing is run.",
    ),
    (
        "ON ANOTHER MACHINE",
        "--on ssh!HOST becomes ssh(1), which runs ns-exec there, so ns-exec has to be on the \
PATH that a command gets there. Its configuration, keys and exit status 255 for a connection \
that fails are ssh's; a host that does not answer is given up after 30 seconds, and one that stops \
later, after 60. Where standard input and output are a terminal the program has one; \
otherwise all three streams carry any bytes. The status is the program's, and 128+N when signal \
N ended it. Whatever ends ns-exec here ends the connection, and then the program and its process \
group there get SIGHUP and SIGCONT, with a terminal or without.

What is bound has to be on that machine under its name. With --export, directories and files \
that are bound here are served to it instead, over ssh's own connection and for as long as it \
lasts, by one process more, ns-export; sshd has to allow AllowStreamLocalForwarding. Nobody but \
the user gets to them on either machine. Where the user has another number there, files are \
shown as the user's own.",
    ),
    (
        "EXIT STATUS",
        "The program's own; 125 when ns-exec could not build the namespace, and nothing \
was run; 126 when PROGRAM cannot be executed; 127 when it was not found. Errors are one \
line on standard error, with the file and line or the option that they come from.",
    ),
    (
        "ENVIRONMENT",
        "PATH finds PROGRAM, in the namespace. SHELL and HOME are used without one. \
XDG_RUNTIME_DIR holds the runtime directory, else /run/user/UID (of root last), /dev/shm or /tmp.

By hand, without ns-exec: LD_PRELOAD=/path/to/libprivns.so PROGRAM. The namespace is the first of PRIVNS_IMAGE, a dump as a token, or @FILE with one; PRIVNS_NAMESPACE, a namespace file; $XDG_CONFIG_HOME/privns/namespace; /etc/privns/namespace. There being none, PROGRAM runs unchanged; one that cannot be built stops it with status 125. With PRIVNS_FAMILY, PROGRAM joins the family of that name, or makes it.

PRIVNS_IMAGE is kept current in what members run: a launcher that takes the environment to another machine (srun, sbatch, mpirun) takes the namespace as it is then. Private directories go as rules and are made there; what is bound must be there under its name, else status 125. Programs that come to a machine with one image are one family there. Above 96 kB the image is in a file below $XDG_CACHE_HOME/privns, else ~/.cache/privns.

PRIVNS is the library's own. PRIVNS_NAMES and PRIVNS_TRACE stand for --names and --trace. \
PRIVNS_LOG=off|error|info|debug[:FILE] makes the library talk.",
    ),
    (
        "FILES",
        "libprivns.so is sought beside ns-exec, in ../lib/privns and in ../lib.

Programs and libraries that are run or loaded from 9P servers' trees are copied into the \
family's part of the runtime directory, into shelf/UID, and stay there until the family ends: \
once each, and again when they have changed. Where the runtime directory is mounted noexec they \
are in /dev/shm/privns-UID or /tmp/privns-UID. When there is no room for one, running it fails \
with ENOSPC.

One process, the keeper, is left behind for each family; it removes private directories \
and is gone 2 seconds after the last member at the latest. Where ns-exec is process 1 of a \
container it is killed with that; ns reap removes what it leaves.",
    ),
];

pub(super) const EXAMPLES: &[(&str, &str)] = &[
    ("ns-exec", "A shell with a /tmp and a /dev/shm of its own."),
    ("ns-exec --bind ~/data /data -- make", "make finds ~/data under /data."),
    (
        "ns-exec --bind-before ~/conf /etc --ro-bind /srv/db /db -- prog",
        "Files of ~/conf come before those of /etc; /db cannot be changed.",
    ),
    (
        "ns-exec --clear --bind /usr /usr --symlink usr/bin /bin --symlink usr/lib64 /lib64 -- sh",
        "Nothing but /usr is there.",
    ),
    (
        "ns-exec --clear --enforce --ro-bind / / --private /tmp -- prog",
        "All is there, and only /tmp can be written, by static programs too.",
    ),
    (
        "ns-exec --mount tcp!fs!564 /n/fs --chdir /n/fs/src -- make",
        "make works in a tree that a 9P server has.",
    ),
    (
        "ns-exec --mount ssh!host!/srv/data /data --tmpfs /scratch -- prog",
        "/data is another machine's, /scratch is in memory.",
    ),
    ("ns-exec --family work -n ~/lib/namespace", "A named family, by a namespace file."),
    ("ns-exec --join work -- ps", "Another program in it."),
    (
        "ns-exec --poly /etc/security/namespace.conf",
        "A shell with the private directories that this site gives its users.",
    ),
    (
        "ns-exec --instance-fd 9 --private /scratch -- prog",
        "/scratch is in a directory that a launcher of root's has opened as descriptor 9.",
    ),
    ("ns-exec -n FILE --dump", "Prints the namespace, runs nothing."),
];
