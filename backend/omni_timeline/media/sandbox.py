"""What the kernel forbids a process that decodes untrusted files: all but computing and its own socket.

    no new privileges   no program that it could execute would gain any
    Landlock            no file can be opened, made, changed or removed; no TCP; no signal, no socket beyond it
    seccomp             no open, no socket, no program, no process, no look into another one (x86-64 and arm64)
    RLIMIT_NPROC        no process even where seccomp is missing, for a user that has others

Each is tried separately: what a kernel lacks is named, and the rest holds. The file to decode and the socket are open
before. Knows Linux' numbers, from its headers (include/uapi/linux), and nothing of videos.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Callable, Sequence

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 4, 38, 22
SECCOMP_MODE_FILTER = 2

# --- Landlock: https://docs.kernel.org/userspace-api/landlock.html ----------------------------------------------------
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446  # the same on every architecture
LANDLOCK_VERSION = 1  # flag: tell the version of the interface, and nothing else
# What can be forbidden from which version of the interface on: bits of file access, of TCP, and of scopes.
FILE_ACCESS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
TCP_ACCESS = {1: 0, 4: 0b11}  # bind, connect
SCOPES = {1: 0, 6: 0b11}  # abstract UNIX sockets, signals

# --- seccomp: https://docs.kernel.org/userspace-api/seccomp_filter.html ---------------------------------------------
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ERRNO_EACCES, ERRNO_ENOSYS, ALLOW = 0x00050000 | 13, 0x00050000 | 38, 0x7FFF0000
CLONE_THREAD = 0x00010000
X32_BIT = 0x40000000  # x86-64's second set of system calls

# Numbers of system calls, from asm/unistd_64.h and asm-generic/unistd.h.
FORBIDDEN = {
    "x86_64": {
        # files
        "open": 2, "creat": 85, "openat": 257, "openat2": 437, "open_by_handle_at": 304, "truncate": 76, "rename": 82,
        "renameat": 264, "renameat2": 316, "mkdir": 83, "mkdirat": 258, "rmdir": 84, "link": 86, "linkat": 265,
        "unlink": 87, "unlinkat": 263, "symlink": 88, "symlinkat": 266, "mknod": 133, "mknodat": 259, "chmod": 90,
        "fchmod": 91, "fchmodat": 268, "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260, "utime": 132,
        "utimes": 235, "utimensat": 280, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "mount": 165,
        "umount2": 166, "chroot": 161, "pivot_root": 155,
        # networks, programs, processes
        "socket": 41, "connect": 42, "bind": 49, "listen": 50, "accept": 43, "accept4": 288, "socketpair": 53,
        "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "unshare": 272, "setns": 308,
        # other processes, and the kernel
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "process_madvise": 440, "pidfd_open": 434,
        "pidfd_getfd": 438, "pidfd_send_signal": 424, "tkill": 200, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297,
        "prlimit64": 302, "setpriority": 141, "sched_setscheduler": 144, "sched_setattr": 314, "sched_setparam": 142,
        "keyctl": 250, "add_key": 248, "request_key": 249, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "kexec_load": 246, "init_module": 175,
        "finit_module": 313,
    },
    "aarch64": {
        "openat": 56, "openat2": 437, "open_by_handle_at": 265, "truncate": 45, "renameat": 38, "renameat2": 276,
        "mkdirat": 34, "linkat": 37, "unlinkat": 35, "symlinkat": 36, "mknodat": 33, "fchmod": 52, "fchmodat": 53,
        "fchown": 55, "fchownat": 54, "utimensat": 88, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "mount": 40,
        "umount2": 39, "chroot": 51, "pivot_root": 41, "socket": 198, "connect": 203, "bind": 200, "listen": 201,
        "accept": 202, "accept4": 242, "socketpair": 199, "execve": 221, "execveat": 281, "unshare": 97, "setns": 268,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "process_madvise": 440, "pidfd_open": 434,
        "pidfd_getfd": 438, "pidfd_send_signal": 424, "tkill": 130, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240,
        "prlimit64": 261, "setpriority": 140, "sched_setscheduler": 119, "sched_setattr": 274, "sched_setparam": 118,
        "keyctl": 219, "add_key": 217, "request_key": 218, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "kexec_load": 104, "init_module": 105,
        "finit_module": 273,
    },
}  # fmt: skip
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435  # its flags lie in memory, where no filter can look: reported as missing, so that libc uses `clone`
KILL = {"x86_64": (62, 234), "aarch64": (129, 131)}  # kill, tgkill


def enter() -> list[str]:
    """Forbid this process all but computing, for good; returns what the kernel lacks, in words."""
    missing = []
    for name, step in (
        ("no new privileges", _no_new_privileges),
        ("Landlock", _landlock),
        ("RLIMIT_NPROC", _no_more_processes),
        ("seccomp", _seccomp),
    ):
        try:
            step()
        except OSError as error:
            missing.append(f"{name} ({error.strerror})")
    return missing


def hide() -> None:
    """Keep this process's memory, environment and descriptors from others of the same user, who are not root."""
    _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _no_new_privileges() -> None:
    _checked(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _no_more_processes() -> None:
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _landlock() -> None:
    version = _checked(_libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION))
    bits = [max(each for each in known if each <= version) for known in (FILE_ACCESS, TCP_ACCESS, SCOPES)]
    rules = struct.pack("QQQ", FILE_ACCESS[bits[0]], TCP_ACCESS[bits[1]], SCOPES[bits[2]])
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _checked(_libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.c_char_p(rules), size, 0))
    try:
        _checked(_libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0))  # without a rule nothing is allowed
    finally:
        os.close(ruleset)


def _seccomp() -> None:
    machine = platform.machine()
    if machine not in FORBIDDEN:
        raise OSError(0, f"not known on {machine}")
    instructions = _program(machine, os.getpid())
    code = b"".join(instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(buffer))
    _checked(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(program), 0, 0))


def _program(machine: str, process: int) -> list[bytes]:
    """The filter, in the kernel's classic BPF: each instruction is code, jump if true, jump if false, value."""
    load: Callable[[int], bytes] = lambda offset: struct.pack("HBBI", 0x20, 0, 0, offset)  # noqa: E731
    answer: Callable[[int], bytes] = lambda value: struct.pack("HBBI", 0x06, 0, 0, value)  # noqa: E731

    def unless_equal(value: int, skip: int) -> bytes:
        return struct.pack("HBBI", 0x15, 0, skip, value)

    number, architecture, first_argument = 0, 4, 16  # offsets in struct seccomp_data
    program = [load(architecture), struct.pack("HBBI", 0x15, 1, 0, AUDIT_ARCH[machine]), answer(ERRNO_EACCES)]
    program.append(load(number))
    if machine == "x86_64":
        program += [struct.pack("HBBI", 0x35, 0, 1, X32_BIT), answer(ERRNO_EACCES)]
    program += [unless_equal(CLONE3, 1), answer(ERRNO_ENOSYS)]
    for forbidden in FORBIDDEN[machine].values():
        program += [unless_equal(forbidden, 1), answer(ERRNO_EACCES)]
    # Threads, but no processes: a clone needs CLONE_THREAD.
    with_flag = struct.pack("HBBI", 0x45, 1, 0, CLONE_THREAD)
    program += [unless_equal(CLONE[machine], 4), load(first_argument), with_flag, answer(ERRNO_EACCES), answer(ALLOW)]
    for kill in KILL[machine]:  # signals to itself, as `abort` sends them, and to no other process
        own = struct.pack("HBBI", 0x15, 1, 0, process)
        program += [unless_equal(kill, 4), load(first_argument), own, answer(ERRNO_EACCES), answer(ALLOW)]
    return [*program, answer(ALLOW)]


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def describe(missing: Sequence[str]) -> str:
    """One line for the log about what the kernel lacks."""
    return f"This kernel does not confine the processes that decode videos by: {', '.join(missing)}."
