"""Recorded answers of the demo checkpoint give what they gave, or the version of the results says that they do not.

`python tests/pipeline/test_results_version.py` records them anew, which is needed only when `Answer` itself changes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from omni_timeline.answers.answer import Answer
from omni_timeline.media.clip import Clip, VideoInfo
from omni_timeline.model.qwen2_5_omni.family import QWEN2_5_OMNI
from omni_timeline.pipeline.clock import Clock
from omni_timeline.pipeline.looks import look_at
from omni_timeline.pipeline.options import RESULTS_VERSION, PredictOptions
from omni_timeline.pipeline.reading import grammar_for, read_answer, row_for
from omni_timeline.segments import Segment
from omni_timeline.synthetic import LABELS
from omni_timeline.timebase import FrameTimes, sampling_instants

RECORDED = Path(__file__).parents[1] / "fixtures" / "recorded-answers.json"

# What the recorded answers give, by RESULTS_VERSION. A change of grammar, reading, scores or merging that changes it
# needs the next number: without one, Label Studio and the caches would keep old predictions under an unchanged version.
DIGESTS = {6: "3a85439f0da21d7d"}

CASES: dict[str, dict[str, Any]] = {
    "windows that adapt": {"labels": LABELS},
    "windows and a closer look": {"labels": LABELS, "window_seconds": 40.0, "refine": True},
    "free words": {"window_seconds": 40.0},
    "unconstrained": {"constrained": False, "window_seconds": 40.0},
    "rather sure": {"labels": LABELS, "window_seconds": 40.0, "score_threshold": 0.9},
}


def results(case: dict[str, Any]) -> Iterator[str]:
    """The grammar of each look of a case, and the segments that they add up to."""
    options = PredictOptions(**{**case["options"], "labels": tuple(case["options"].get("labels", ()))})
    clock = Clock(options.remap, QWEN2_5_OMNI)
    looks = iter(case["looks"])
    looking = look_at(case["duration"], options, has_audio=True)
    wanted = next(looking)
    while True:
        readings = []
        for window in wanted.windows:
            look = next(looks)
            assert (look["start"], look["end"]) == (window.start, window.end), (
                "other windows are looked at: record anew"
            )
            clip, answer = clip_of(look["clip"], case["duration"]), answer_of(look["answer"])
            yield grammar_for(clip, options, clock).text
            readings.append(read_answer(answer, clip, options, clock))
        try:
            wanted = looking.send(readings)
        except StopIteration as end:
            for segment in end.value.segments:
                yield shown(segment)
            return


def shown(segment: Segment) -> str:
    """Scores are sums of logarithms, whose last digits differ between machines."""
    score = None if segment.score is None else round(segment.score, 6)
    return json.dumps(
        [round(segment.start, 6), round(segment.end, 6), segment.label, segment.text, score, segment.looks]
    )


def clip_of(recorded: dict[str, Any], duration: float) -> Clip:
    count = len(recorded["shown"])
    return Clip(
        info=VideoInfo(Path("recorded.mp4"), duration, 10.0, round(10 * duration), 2, 2, 0.0, False),
        start=recorded["start"],
        end=recorded["end"],
        frames=np.zeros((count, 3, 2, 2), np.uint8),
        times=FrameTimes(tuple(sampling_instants(recorded["start"], recorded["end"], count))),
        shown=tuple(recorded["shown"]),
        audio=None,
    )


def answer_of(recorded: dict[str, Any]) -> Answer:
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in recorded.items()}
    return Answer(**{**plain, "numerals": tuple(map(tuple, recorded["numerals"]))})


def test_recorded_answers_give_what_this_version_of_the_results_gives():
    digest = hashlib.sha256()
    for case in json.loads(RECORDED.read_text()):
        for line in results(case):
            digest.update(line.encode() + b"\n")
    assert digest.hexdigest()[:16] == DIGESTS.get(RESULTS_VERSION), (
        "the same answers give other results: raise RESULTS_VERSION in pipeline/options.py and note its digest here"
    )


def test_the_version_of_the_results_is_a_part_of_the_model_version(monkeypatch):
    before = PredictOptions().version("demo-1")
    monkeypatch.setattr("omni_timeline.pipeline.options.RESULTS_VERSION", RESULTS_VERSION + 1)
    assert PredictOptions().version("demo-1") != before


def record() -> None:
    """Asks the demo checkpoint about a video of 100 s with sound, and writes down every look."""
    import tempfile

    from omni_timeline.media.video import Video
    from omni_timeline.model.qwen2_5_omni.model import OmniModel
    from omni_timeline.synthetic import draw_scene, write_video

    model = OmniModel.load("demo", device="cpu")
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        video = Video(
            write_video(draw_scene(np.random.default_rng(8), 100.0, sound=True), Path(folder) / "a.mp4", fps=10)
        )
        for chosen in CASES.values():
            options = PredictOptions(**chosen)
            clock = Clock(options.remap, model.family)
            looks: list[dict[str, Any]] = []
            looking = look_at(video.info.duration, options, has_audio=True)
            wanted = next(looking)
            while True:
                readings = []
                for window in wanted.windows:
                    end = window.end if window.end < video.info.duration else None
                    frames = min(options.frames, wanted.max_frames or options.frames)
                    clip = video.clip(frames=frames, start=window.start, end=end, resize=model.inputs.resize)
                    [answer] = model.answer([row_for(clip, options, clock)])
                    answer = answer_of(rounded(asdict(answer)))
                    readings.append(read_answer(answer, clip, options, clock))
                    shown = {"start": clip.start, "end": clip.end, "shown": clip.shown}
                    looks.append({"start": window.start, "end": window.end, "clip": shown, "answer": asdict(answer)})
                try:
                    wanted = looking.send(readings)
                except StopIteration:
                    break
            cases.append({"options": chosen, "duration": video.info.duration, "looks": looks})
    RECORDED.write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def rounded(value: Any) -> Any:
    """Log-probabilities to four decimals: a file that can be looked at."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    record()
    sys.exit()
