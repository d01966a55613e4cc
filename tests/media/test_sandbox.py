"""Hostile code inside the sandbox: what it tries, and what the kernel says.

Each attempt is made in a process of its own that has entered the sandbox, with all the rights that the tests have.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import os
import signal
import socket
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from omni_timeline.media import sandbox

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE = 0x4206
PR_GET_DUMPABLE = 3
SYS_PROCESS_VM_READV = {"x86_64": 310, "aarch64": 270}[os.uname().machine]


@pytest.fixture(scope="module")
def stopped() -> Iterator[list[str]]:
    """What was tried and refused; printed at the end."""
    found: list[str] = []
    yield found
    print(f"\n{len(found)} hostile actions tried inside the decoder and stopped: {', '.join(found)}")


def inside(attempt: Callable[[], object]) -> str:
    """What becomes of an attempt: "done", or the name of the errno."""
    ours, theirs = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(ours)
        try:
            assert sandbox.enter() == []
            attempt()
            said = "done"
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, str(error))
        except BaseException:
            said = traceback.format_exc()
        os.write(theirs, said.encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as told:
        said = told.read()
    os.waitpid(process, 0)
    return said


def call(function: Callable[..., int], *arguments: object) -> None:
    """A function of libc; its errno as an OSError."""
    if function(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def test_the_kernel_of_this_machine_has_all_of_it():
    assert inside(lambda: None) == "done"


@pytest.mark.parametrize(
    ("what", "attempt"),
    [
        ("read another file", lambda folder: (folder / "other.mp4").read_bytes()),
        ("read the password file", lambda folder: Path("/etc/passwd").read_text()),
        ("write a new file", lambda folder: (folder / "new").write_text("x")),
        ("write into a file", lambda folder: (folder / "other.mp4").open("r+b")),
        ("truncate a file", lambda folder: os.truncate(folder / "other.mp4", 0)),
        ("remove a file", lambda folder: (folder / "other.mp4").unlink()),
        ("rename a file", lambda folder: (folder / "other.mp4").rename(folder / "renamed")),
        ("link a file", lambda folder: os.link(folder / "other.mp4", folder / "linked")),
        ("make a folder", lambda folder: (folder / "made").mkdir()),
        ("list a folder", lambda folder: list(folder.iterdir())),
        ("change a mode", lambda folder: (folder / "other.mp4").chmod(0o777)),
        ("change a time", lambda folder: os.utime(folder / "other.mp4")),
        ("a TCP socket", lambda folder: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
        ("a UDP socket", lambda folder: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
        ("a UNIX socket", lambda folder: socket.socket(socket.AF_UNIX)),
        ("a netlink socket", lambda folder: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
        ("a process", lambda folder: os.fork()),
        ("a program", lambda folder: os.execv("/bin/true", ["true"])),
        ("a program in a process", lambda folder: subprocess.run(["/bin/true"], check=True)),
        ("the parent's environment", lambda folder: Path(f"/proc/{os.getppid()}/environ").read_bytes()),
        ("the parent's memory", lambda folder: Path(f"/proc/{os.getppid()}/mem").open("rb")),  # noqa: SIM115
        ("the parent's descriptors", lambda folder: list(Path(f"/proc/{os.getppid()}/fd").iterdir())),
        ("to trace the parent", lambda folder: call(LIBC.ptrace, PTRACE_SEIZE, os.getppid(), 0, 0)),
        ("to read the parent", lambda folder: call(LIBC.syscall, SYS_PROCESS_VM_READV, os.getppid(), 0, 0, 0, 0, 0)),
        ("to signal the parent", lambda folder: os.kill(os.getppid(), signal.SIGUSR1)),
        ("to signal everybody", lambda folder: os.kill(-1, 0)),
        ("a descriptor of the parent", lambda folder: os.pidfd_open(os.getppid())),
        ("a namespace", lambda folder: call(LIBC.unshare, 0x10000000)),
        ("another root", lambda folder: os.chroot(folder)),
        ("the parent's priority", lambda folder: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)),
    ],
)  # fmt: skip
def test_what_a_decoder_has_no_business_with_is_refused(
    what: str, attempt: Callable[[Path], object], tmp_path: Path, stopped: list[str]
):
    (tmp_path / "other.mp4").write_bytes(b"somebody else's")
    assert inside(lambda: attempt(tmp_path)) in ("EACCES", "EPERM", "EAGAIN"), what
    assert (tmp_path / "other.mp4").read_bytes() == b"somebody else's"
    assert [path.name for path in tmp_path.iterdir()] == ["other.mp4"]
    stopped.append(what)


def test_what_is_open_already_stays_usable(tmp_path: Path):
    """The video and the socket are handed in before."""
    (tmp_path / "video.mp4").write_bytes(b"0123456789")
    ours, theirs = socket.socketpair()
    with (tmp_path / "video.mp4").open("rb") as video:
        assert inside(lambda: theirs.sendall(os.pread(video.fileno(), 4, 3))) == "done"
    assert ours.recv(10) == b"3456"


def test_it_can_compute_allocate_and_end_itself():
    def work() -> None:
        assert len(bytearray(50_000_000)) == 50_000_000
        ended = threading.Event()
        threading.Thread(target=ended.set).start()
        assert ended.wait(10)
        os.kill(os.getpid(), 0)

    assert inside(work) == "done"


def test_a_hidden_process_is_no_business_of_others():
    """The server's, which has the token: another process of the same user may neither read nor trace it."""

    def hidden() -> None:
        sandbox.hide()
        assert LIBC.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0

    assert inside(hidden) == "done"


def test_an_abort_is_still_an_abort():
    process = os.fork()
    if process == 0:
        faulthandler.disable()
        sandbox.enter()
        os.abort()
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGABRT


def test_what_a_kernel_lacks_is_named_and_the_rest_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sandbox, "LANDLOCK_CREATE_RULESET", 9999)  # as on a kernel that is older than it
    ours, theirs = os.pipe()
    process = os.fork()
    if process == 0:
        missing = sandbox.enter()
        try:
            (tmp_path / "new").write_text("x")
        except PermissionError:
            missing.append("refused")
        os.write(theirs, "; ".join(missing).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as told:
        assert told.read() == "Landlock (Function not implemented); refused"
    os.waitpid(process, 0)
