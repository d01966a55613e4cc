"""Server processes on this machine: started, waited for, and ended with everything they started.

Knows processes, ports and logs. Knows neither Label Studio nor the backend: the demo and the tests start both of them
with this.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

START_SECONDS = 600.0  # Label Studio's first start makes its database: 21 s on an idle machine, 48 s on a busy one
STOP_SECONDS = 15.0  # then it is killed: what a video in the model costs is not worth waiting for
POLL_SECONDS = 0.2
LAST_LINES = 15  # of a log, shown when its server ends
LISTENING = "0A"  # TCP_LISTEN, in /proc/net/tcp
SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


class ServerError(RuntimeError):
    """A server that does not start, or ends by itself; the message names its log."""


def free_port(first: int = 0) -> int:
    """A port of 127.0.0.1 that nobody listens on now: the first such from `first` on, any for 0."""
    if first == 0:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return int(listener.getsockname()[1])
    for port in range(first, first + 100):
        if is_free(port):
            return port
    raise ServerError(f"Ports {first} to {first + 99} are all in use.")


def is_free(port: int) -> bool:
    """Whether nobody listens on `port` of 127.0.0.1 now."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def local_environ(**variables: str) -> dict[str, str]:
    """This process's environment with `variables`, and no proxy in front of this machine's own servers."""
    direct = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), "127.0.0.1,localhost")))
    return {**os.environ, "NO_PROXY": direct, "no_proxy": direct, "PYTHONUNBUFFERED": "1", **variables}


@contextmanager
def running(
    name: str,
    command: Sequence[str | Path],
    environ: Mapping[str, str],
    log: Path,
    port: int,
    health: str,
    *,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server from when on it answers at `port` and the path `health`; ended, with its children, at the end.

    It is in a group of its own, so that Ctrl-C in a terminal reaches this process only, and ends when this process is
    killed. `waiting` is called now and then until it answers.

    Raises:
        ServerError: it ended, did not answer in time, or another program answers in its place.
    """
    url = f"http://127.0.0.1:{port}{health}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            check_running(name, process, log)
            if time.monotonic() > deadline:
                raise ServerError(f"{name} does not answer at {url} after {START_SECONDS:.0f} s; see {log}")
            waiting()
            time.sleep(POLL_SECONDS)
        if not _listens(process.pid, port):
            raise ServerError(f"another program has taken port {port} while {name} started; try again.")
        yield process
    finally:
        _end(process)


def check_running(name: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Raises ServerError, with the end of its log, once the process has ended."""
    if (code := process.poll()) is not None:
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        raise ServerError("\n".join([f"{name} ended with exit code {code}. The end of its log, {log}:", *lines]))


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL for what is left of its group, which start_new_session made."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _listens(session: int, port: int) -> bool:
    """Whether a process of `session` listens on `port`; see proc_pid_net(5)."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == LISTENING and int(columns[1].rsplit(":", 1)[1], 16) == port:
                sockets.add(f"socket:[{columns[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is somebody else's
            if os.getsid(int(process.name)) == session and any(
                str(descriptor.readlink()) in sockets for descriptor in (process / "fd").iterdir()
            ):
                return True
    return False


def _answers(url: str) -> bool:
    try:
        answer = requests.get(url, timeout=5)
        return answer.ok or answer.status_code == 401  # it is there, and wants a password
    except requests.RequestException:
        return False
