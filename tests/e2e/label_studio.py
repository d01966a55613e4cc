"""The Label Studio of the tests: the demo's, each in a folder of its own."""

from __future__ import annotations

from demo.label_studio import EMAIL, PASSWORD, LabelStudio, LabelStudioError, label_studio
from demo.servers import free_port, local_environ, running

__all__ = [
    "EMAIL",
    "PASSWORD",
    "LabelStudio",
    "LabelStudioError",
    "free_port",
    "label_studio",
    "local_environ",
    "running",
]
