"""A server that learns, in a process of its own: `python -m learner_process`.

Its settings are in the environment. Each line of its stdin is the number of a project that is to be learned, or
"answer": before that its model keeps silent. It ends when it is killed.
"""

from __future__ import annotations

import logging
import sys
from functools import partial

from learning_project import LIMITS
from omni_timeline.learning.versions import LearnedVersions
from omni_timeline.service.learner import Learner
from omni_timeline.service.server import assignment
from omni_timeline.service.settings import Settings
from scripted_model import ScriptedModel

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    settings, model = Settings.from_env(), ScriptedModel()
    model.gate.clear()
    versions = LearnedVersions.in_cache(settings.cache_dir)
    learner = Learner(versions, model, partial(assignment, settings), LIMITS, lambda *_: None)
    learner.start()
    for line in sys.stdin:
        if line == "answer\n":
            model.gate.set()
        else:
            learner.request(int(line))
