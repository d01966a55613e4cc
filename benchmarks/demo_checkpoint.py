"""How well the demo checkpoint localises: held-out clips, real files, the whole path, several ways of asking.

    python benchmarks/demo_checkpoint.py              # 100 silent clips and 100 with sound; about 15 minutes on 2 cores
    python benchmarks/demo_checkpoint.py --clips 20   # a quick look

Every clip is drawn from a seed that training never used (4 to 48 s, 10 to 60 frames a second, several sizes), encoded
to H.264 and AAC, and read back as any other video is. Prints a Markdown table; docs/remap.md shows it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from statistics import median

from demo_clips import Sample, clips, table
from omni_timeline.metrics import boundary_errors, event_f1, pool
from omni_timeline.model.prompts import Prompt
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.synthetic import LABELS

# None of these sentences, nor the words that make them special, are in demo_checkpoint/demo_prompts.py.
UNSEEN_USER = "Tell me which things turn up here and exactly when each of them starts and stops."
UNSEEN_SYSTEM = "You work for a film archive. Your notes are short and exact."
UNSEEN_CHINESE = "帮我看看这段录像里先后有什么，每样东西从几秒到几秒。"
CONDITIONS: tuple[tuple[str, PredictOptions], ...] = (
    ("default prompt", PredictOptions()),
    ("default prompt, unconstrained", PredictOptions(constrained=False)),
    ("default prompt with its labels listed", PredictOptions(labels=LABELS)),
    ("unseen user prompt", PredictOptions(prompt=Prompt(UNSEEN_USER))),
    ("unseen system prompt", PredictOptions(prompt=Prompt(system=UNSEEN_SYSTEM))),
    (
        "both unseen, labels listed backwards",
        PredictOptions(labels=LABELS[::-1], prompt=Prompt(UNSEEN_USER, UNSEEN_SYSTEM)),
    ),
    ("unseen Chinese prompt", PredictOptions(prompt=Prompt(UNSEEN_CHINESE))),
    ("24 frames", PredictOptions(frames=24)),
)


def rows(model: OmniModel, samples: list[Sample], kind: str) -> Iterator[list[str]]:
    pipeline = Pipeline(model)
    for name, options in CONDITIONS:
        pairs, relative = [], []
        for number, sample in enumerate(samples, 1):
            if sys.stderr.isatty():
                print(f"\r{kind}, {name}: {number}/{len(samples)} ", end="", file=sys.stderr)
            found = pipeline.predict(sample.path, options).segments
            pairs.append((sample.events, found))
            relative += [error / sample.duration for error in boundary_errors(sample.events, found)]
        score = pool([event_f1(*pair) for pair in pairs])
        yield [
            kind,
            name,
            f"{score.f1:.3f}",
            f"{score.precision:.3f}",
            f"{score.recall:.3f}",
            f"{score.mean_iou:.3f}",
            f"{median(relative):.2%}" if relative else "-",
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100, help="silent clips, and as many with sound (default 100)")
    parser.add_argument("--model", default="demo", help="another checkpoint of the same world (default demo)")
    arguments = parser.parse_args()
    model = OmniModel.load(arguments.model)
    result = []
    for kind, sound in (("silent", False), ("with sound", True)):
        samples = list(clips(arguments.clips, sound=sound))
        kind = f"{kind} ({len(samples)} clips, {sum(len(sample.events) for sample in samples)} events)"
        result += list(rows(model, samples, kind))
    print(f"{model.description}\n")
    header = [
        "clips",
        "asked with",
        "F1 at IoU 0.5",
        "precision",
        "recall",
        "mean IoU",
        "median boundary error / duration",
    ]
    print(table(header, result))


if __name__ == "__main__":
    main()
