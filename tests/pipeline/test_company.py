"""Answers do not depend on the company that windows have in a batch: 200 mixed clips, alone and together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omni_timeline.model.isolated import IsolatedModel
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.pipeline.scheduler import Scheduler
from omni_timeline.segments import Segment
from omni_timeline.synthetic import LABELS, draw_scene, write_video

COUNT = 200
SCORES = 0.01  # that rounding in another order may move a score
OPTIONS = PredictOptions(labels=LABELS, frames=12)

pytestmark = pytest.mark.accuracy


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """From one second to eight, half of them with sound, of three sizes."""
    folder = tmp_path_factory.mktemp("mixed")
    chance = np.random.default_rng(12)
    return [
        write_video(
            draw_scene(np.random.default_rng(5000 + number), float(chance.uniform(1, 8)), sound=number % 2 == 1),
            folder / f"{number}.mp4",
            fps=8,
            height=56,
            width=int(chance.choice([56, 84, 112])),
        )
        for number in range(COUNT)
    ]


def spans(segments: tuple[Segment, ...]) -> list[tuple[float, float, str]]:
    return [(segment.start, segment.end, segment.label) for segment in segments]


def test_the_segments_of_200_mixed_clips_are_the_same_alone_and_in_batches(demo_model: OmniModel, videos: list[Path]):
    with Scheduler([IsolatedModel(Load("demo", device="cpu"))], decoders=2) as scheduler:
        together = list(scheduler.predict_all(videos, OPTIONS))
        windows, seconds = scheduler.statistics.windows, scheduler.statistics.generate_seconds
    alone = list(Pipeline(demo_model).predict_all(videos, OPTIONS))
    differing, furthest = [], 0.0
    for ours, theirs in zip(together, alone, strict=True):
        assert isinstance(ours, Prediction)
        assert isinstance(theirs, Prediction)
        if spans(ours.segments) != spans(theirs.segments):
            differing.append(ours.path.name)
            continue
        for mine, yours in zip(ours.segments, theirs.segments, strict=True):
            furthest = max(furthest, abs((mine.score or 0.0) - (yours.score or 0.0)))
    print(f"\n{COUNT} clips, {windows} windows in {seconds:.1f} s: {len(differing)} differ; scores by {furthest:.1e}")
    assert differing == []
    assert furthest < SCORES
