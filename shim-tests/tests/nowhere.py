# Calls with pointers that lead nowhere, and what they answer.
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True); libc.syscall.restype = ctypes.c_long
fd = os.open('ef', os.O_RDWR | os.O_CREAT | os.O_TRUNC); os.write(fd, b'text'); os.lseek(fd, 0, 0)
def say(name, *args):
    ctypes.set_errno(0); got = getattr(libc, name)(*args); print(name, got, errno.errorcode.get(ctypes.get_errno()))
at = ctypes.c_void_p; room = ctypes.create_string_buffer(4096)
libc.mmap.restype = ctypes.c_size_t; libc.mmap.argtypes = [ctypes.c_size_t] * 6
unmapped = at(libc.mmap(0, 4096, 0, 0x22, -1, 0) + 8)
for bad in (at(1), at(4095), at((1 << 64) - 1), unmapped):
    for name in ('open', 'access', 'mkdir', 'chmod', 'creat'): say(name, bad, 0)
    for name in ('unlink', 'rmdir', 'chdir', 'chroot'): say(name, bad)
    for name in ('stat', 'lstat', 'statfs', 'readlink', 'rename', 'link'): say(name, bad, room, 9)
    say('symlink', bad, b'new'); say('rename', b'ef', bad); say('link', b'ef', bad); say('symlink', b'ef', bad); say('chown', bad, 0, 0); say('truncate', bad, 0)
    say('openat', -100, bad, 0); say('fstatat', -100, bad, room, 0); say('statx', -100, bad, 0, 0, room); say('execve', bad, None, None)
    if bad is unmapped: continue
    say('getcwd', bad, 4096); say('syscall', 79, bad, 4096)
    say('stat', b'ef', bad); say('fstat', fd, bad); say('readlink', b'nl', bad, 9); say('utimensat', -100, b'ef', bad, 0); say('setxattr', b'ef', b'user.x', bad, 1, 0)
    say('getxattr', bad, b'user.x', room, 9); say('utimensat', -100, bad, None, 0); say('syscall', 2, bad, 0)
    for name in ('read', 'write', 'pread', 'pwrite'): say(name, fd, bad, 4, 0)
    for name in ('readv', 'writev'): say(name, fd, bad, 1)
