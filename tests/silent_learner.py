"""A server whose model never answers, as far as learning goes: `python -m silent_learner PROJECT`.

Its settings are in the environment. It ends when it is killed.
"""

from __future__ import annotations

import signal
import sys
from functools import partial

from omni_timeline.learning.versions import LearnedVersions
from omni_timeline.service.learner import Learner, Limits
from omni_timeline.service.server import assignment
from omni_timeline.service.settings import Settings
from scripted_model import ScriptedModel

if __name__ == "__main__":
    settings, model = Settings.from_env(), ScriptedModel()
    model.gate.clear()
    versions = LearnedVersions.in_cache(settings.cache_dir)
    limits = Limits(seconds=600.0, memory_bytes=1024**3, after=1, every=0.0)
    learner = Learner(versions, model, partial(assignment, settings), limits, lambda *_: None)
    learner.start()
    learner.request(int(sys.argv[1]))
    signal.pause()
