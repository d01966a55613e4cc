"""The server under gunicorn: its options, what happens when its worker starts and ends, and running it.

Knows gunicorn, signals and sockets. Knows no routes.
"""

from __future__ import annotations

import signal
import socket
import struct
import threading
from collections.abc import Mapping
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from omni_timeline import processes
from omni_timeline.media import sandbox
from omni_timeline.service.app import create_app
from omni_timeline.service.server import Server, options_of
from omni_timeline.service.settings import Settings

THREADS = 128  # requests at a time in the one worker; threads that wait cost next to nothing
SLOW_CLIENT_SECONDS = 10  # s without a byte of a request that has begun
SILENT_SECONDS = 120  # s without a sign of life of the worker, which a long prediction does not stop
STOP_SECONDS = 8  # s for what is running when asked to stop: those who wait are answered at once


def options(settings: Settings, host: str | None = None, port: int | None = None) -> dict[str, Any]:
    """Settings of gunicorn for this server, by their names in its manual.

    Args:
        settings: what the operator decided.
        host: the address to listen on, instead of that of the settings.
        port: the port to listen on, instead of that of the settings.

    Raises:
        RequestError: the prompt file cannot be read.
    """
    options_of(settings)  # an operator's mistake ends the arbiter, and not one worker after the other
    address = host or settings.bind
    if ":" in address and not address.startswith("["):
        address = f"[{address}]"  # IPv6
    return {
        "bind": f"{address}:{port or settings.port}",
        "workers": 1,  # one model; a second worker would be a second copy of it
        "worker_class": "gthread",
        "threads": THREADS,
        "preload_app": False,  # the threads of the queue would not survive the fork
        "timeout": SILENT_SECONDS,
        "graceful_timeout": STOP_SECONDS,
        "control_socket_disable": True,
        "on_starting": lambda arbiter: sandbox.hide(),  # it has the secrets in its environment, and so has the worker
        "post_worker_init": _worker_starts,
        "worker_exit": _worker_ends,
        "logconfig_dict": {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {
                "omni_timeline": {"level": settings.log_level},
                "gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True},
                "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
            },
        },
    }


def serve(settings: Settings, host: str | None = None, port: int | None = None) -> None:
    """Serve until told to stop (SIGTERM, SIGINT). `host` and `port` take the place of those of the settings.

    Raises:
        RequestError: the prompt file cannot be read.
    """
    _Gunicorn(settings, options(settings, host, port)).run()


class _Gunicorn(BaseApplication):  # type: ignore[misc]
    """gunicorn with options of ours in place of its files and command line."""

    def __init__(self, settings: Settings, options: Mapping[str, Any]) -> None:
        self._settings = settings
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return create_app(self._settings)


def _worker_starts(worker: Any) -> None:
    """Leave clients that stop in the middle of a request, and answer those who wait when the worker is to stop."""
    sandbox.hide()
    processes.forget_secrets()
    for listener in worker.sockets:  # inherited by the connections
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SLOW_CLIENT_SECONDS, 0))
    server: Server = worker.wsgi.extensions["omni_timeline"]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        before = signal.getsignal(number)

        def stop(number: int, frame: Any, before: Any = before) -> None:
            # In a thread of its own: this one may hold a lock at this moment.
            threading.Thread(target=server.stop, name="stop").start()
            if callable(before):
                before(number, frame)

        signal.signal(number, stop)


def _worker_ends(arbiter: Any, worker: Any) -> None:
    """End the model's process with the worker."""
    if getattr(worker, "wsgi", None) is not None:
        worker.wsgi.extensions["omni_timeline"].close()
