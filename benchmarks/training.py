"""What training from corrections is worth: adapters of the demo checkpoint for projects whose corrections are known.

    python benchmarks/training.py                            the table of docs/learning.md; an hour of one core
    python benchmarks/training.py --kinds looks --seeds 0    one project
    python benchmarks/training.py --choose                   on the clips that the recipe was chosen with

Each project has 24 corrected clips and 8 starred ones; real video files and a JSON export as Label Studio writes it.
The base's answers about 24 clips of the demo world are replayed. Training ends by the starred clips; what is reported
is measured on 40 other clips of the project, and on 40 of the demo world ("old"), which take no part in any decision.
Of names an adapter is trained though calibration suffices: `omni-timeline learn` would not. For looks the towers are
adapted too, as with `--train-towers`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from corrected_clips import CorrectedClip, clips, project
from demo_clips import OUTPUT, table
from learning import CHOOSING, HELD_OUT, NOW, REPORTING, export_of, scores
from omni_timeline.learning.asking import Model
from omni_timeline.learning.improve import TrainingPlan, improve
from omni_timeline.learning.learn import Outcome, learn
from omni_timeline.learning.sources import Source
from omni_timeline.learning.training import WITH_TOWERS, Recipe
from omni_timeline.metrics import Score
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.segments import Segment
from omni_timeline.synthetic import LABELS

CORRECTED, STARRED, REPLAYED = 24, 8, 24  # clips
HEADER = [
    "kind", "seed", "before", "calibrated", "trained", "precision", "recall", "F1@.75", "old before", "old trained",
    "steps", "minutes", "CPU s",
]  # fmt: skip
Predict = Callable[[Path, PredictOptions], Sequence[Segment]]


def calibrated(kind: str, seed: int, first_seed: int, model: Model) -> Outcome:
    """The project after calibration, as `omni-timeline learn` makes it of an export."""
    looks = kind == "looks"
    start = first_seed + 500_000 * looks + 1000 * (seed + 1)
    corrected = clips(CORRECTED + STARRED, start, looks=looks)
    rows, xml = export_of(project(kind, first_seed + seed), corrected, model)
    tasks = json.loads(rows)
    for task in tasks[CORRECTED:]:
        task["annotations"][0]["ground_truth"] = True
    with TemporaryDirectory() as name:
        export, config = Path(name) / "export.json", Path(name) / "config.xml"
        export.write_text(json.dumps(tasks))
        config.write_text(xml)
        source = Source.from_export(export, corrected[0].path.parent, config)
    return learn(source, model, source.config.options(PredictOptions()), NOW, with_curve=False)


def measured(kind: str, seed: int, first_seed: int, recipe: Recipe, model: Model) -> tuple[list[str], float, float]:
    """A row of the table; F1 on the project's clips and on those of the demo world, with the adapter."""
    looks = kind == "looks"
    of = project(kind, first_seed + seed)
    held_out = clips(HELD_OUT, first_seed + 500_000 * looks, looks=looks)
    old = clips(HELD_OUT, first_seed + 200_000)
    replay = tuple(clip.path for clip in clips(REPLAYED, first_seed + 300_000 + 1000 * seed))
    outcome = calibrated(kind, seed, first_seed, model)
    options = outcome.material.options

    def f1(cases: Sequence[CorrectedClip], predict: Predict, asked: PredictOptions, iou: float = 0.5) -> Score:
        wanted = [clip.events if cases is old else of.marks(clip.events, clip.duration) for clip in cases]
        return scores(wanted, [predict(clip.path, asked) for clip in cases], iou)

    def base(path: Path, asked: PredictOptions) -> Sequence[Segment]:
        return model.predict(path, asked).segments

    before = f1(held_out, base, options)
    with_calibration = f1(held_out, base, outcome.version.options) if outcome.version.is_offered else before
    old_asked = PredictOptions(labels=LABELS, descriptions=False)
    old_before = f1(old, base, old_asked)
    alone = replace(outcome, version=replace(outcome.version, is_offered=False))  # nothing to compare with but the base
    with TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        plan = TrainingPlan(Path(folder) / "run", replace(recipe, seed=seed), replay)
        trained = improve(alone, OmniModel.load("demo", device="cpu"), plan).version
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        adapter = trained.options.adapter
        if adapter is None:
            return [kind, str(seed), f"{before.f1:.3f}", f"{with_calibration.f1:.3f}", trained.training], 0.0, 0.0
        pipeline = Pipeline(OmniModel.load("demo", device="cpu"))

        def predict(path: Path, asked: PredictOptions) -> Sequence[Segment]:
            return pipeline.predict(path, replace(asked, adapter=adapter)).segments

        after, closer = (f1(held_out, predict, options, iou) for iou in (0.5, 0.75))
        old_after = f1(old, predict, old_asked)
    steps = trained.training.split(" for ", 1)[1].split(" ", 1)[0]
    numbers = [before.f1, with_calibration.f1, after.f1, after.precision, after.recall, closer.f1]
    cells = [kind, str(seed), *(f"{number:.3f}" for number in (*numbers, old_before.f1, old_after.f1))]
    return [*cells, steps, f"{wall / 60:.1f}", f"{cpu:.0f}"], after.f1, old_after.f1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=("looks", "names"), default=("looks", "names"))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--steps", type=int, help="(default: those of the recipe)")
    parser.add_argument("--choose", action="store_true", help="on the clips that the recipe was chosen with")
    arguments = parser.parse_args()
    loaded = OmniModel.load("demo", device="cpu")
    model = Model(loaded.version, Pipeline(loaded).predict).remembering(PredictionCache(OUTPUT / "predictions", 10**9))
    print(f"{loaded.facts.description}\n\n{table(HEADER, [])}", flush=True)
    for kind in arguments.kinds:
        recipe = WITH_TOWERS if kind == "looks" else Recipe()
        recipe = replace(recipe, steps=arguments.steps or recipe.steps)
        found = []
        for seed in arguments.seeds:
            row, *f1 = measured(kind, seed, CHOOSING if arguments.choose else REPORTING, recipe, model)
            print(table(HEADER, [row]).splitlines()[-1], flush=True)
            found.append(f1)
        new, old = (fmean(values) for values in zip(*found, strict=True))
        print(f"| {kind} | mean | | | **{new:.3f}** | | | | | **{old:.3f}** | | | |", flush=True)


if __name__ == "__main__":
    main()
