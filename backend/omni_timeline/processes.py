"""One of this package's modules in a process of its own: its socket, its environment, its end.

    process, connection = start("omni_timeline.model.worker", environment=environment_without_secrets())

The module is run as `python -m MODULE DESCRIPTOR`, with the number of its end of a socket pair as its only argument.
Knows nothing of what the two sides say to each other.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

# What a program needs to start where this one did. Nothing that is a setting or could be a secret.
HARMLESS = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ")
SECRETS = ("LABEL_STUDIO_API_KEY", "BASIC_AUTH_PASSWORD", "WEBHOOK_SECRET")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def start(
    module: str, *, environment: Mapping[str, str], silent: bool = False
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a module in a process of its own; returns the process and this side's end of the socket to it.

    Args:
        module: its dotted name; called with the number of its socket's descriptor.
        environment: all of the process's environment variables.
        silent: whether the module's output to stdout is discarded.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            # -P: modules are not imported from the current folder.
            [sys.executable, "-P", "-m", module, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if silent else None,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C and a closing terminal are for the parent to decide on
        )
    return process, ours


def end_connection(connection: socket.socket, reading: threading.Lock) -> None:
    """Close a connection that another thread may be reading from, or be about to; it finds the end of it.

    Closed under a reader, its descriptor could become that of the next connection, and the reader would wait there.

    Args:
        connection: to a process that has ended.
        reading: held by whoever reads.
    """
    with suppress(OSError):  # the other side has ended it
        connection.shutdown(socket.SHUT_RDWR)
    with reading:
        connection.close()


def end_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when the thread that started it ends.

    Args:
        parent: its process, where that is known: if it has ended already, so does this one.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(0)


def minimal_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a process that handles untrusted files: it has the path of this package and no setting."""
    harmless = {name: environ[name] for name in HARMLESS if name in environ}
    # One thread of linear algebra is enough, and a process with several must not fork.
    return {**harmless, "PYTHONPATH": _python_path(), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def environment_without_secrets(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """This process's environment (CUDA, hubs, threads) without the secrets."""
    kept = {name: value for name, value in environ.items() if name not in SECRETS}
    return {**kept, "PYTHONPATH": _python_path()}


def forget_secrets() -> None:
    """Take the secrets out of this process's environment, once they are read."""
    for name in SECRETS:
        os.environ.pop(name, None)


def are_threads_chosen(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody has said how many threads a program computes with."""
    return "OMP_NUM_THREADS" in environ


def threads_chosen(otherwise: int, environ: Mapping[str, str] = os.environ) -> int:
    """How many threads somebody has said that a program computes with; `otherwise` where nobody has."""
    first = environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # "4,2" for threads within threads
    return int(first) if first.isdecimal() else otherwise


def choose_threads(threads: int) -> None:
    """Have the processes that are started from here compute with so many threads, whoever chose another number."""
    os.environ["OMP_NUM_THREADS"] = str(threads)


def visible_gpus(environ: Mapping[str, str] = os.environ) -> int:
    """How many NVIDIA GPUs a process started here may use, without asking them."""
    if (listed := environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return sum(name.strip() not in ("", "-1") for name in listed.split(","))
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def set_defaults(variables: Mapping[str, str]) -> None:
    """Set those of these environment variables that are not set, for libraries that are told no other way."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def _python_path() -> str:
    """Where Python looks for modules here, and the folder that holds this package."""
    return os.pathsep.join([*(folder for folder in sys.path if folder), str(Path(__file__).parents[1])])
