"""What learning from corrections is worth: `omni-timeline learn` on projects whose corrections are known.

    python benchmarks/learning.py                    all kinds of projects; an hour of one core, minutes when repeated
    python benchmarks/learning.py --kinds names      one kind of project
    python benchmarks/learning.py --choose           on the clips that the recipe was chosen with

Real video files, and for each project a JSON export as Label Studio writes it, with the corrections and no more: of
24 tasks a quarter is held out by the command itself. What was learned is measured on 40 other clips, which take no part
in any decision. Every number is a mean over draws of the corrected clips and of the project; the clips, and what a
project calls things, are none of those that the recipe was chosen with.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from corrected_clips import CorrectedClip, Project, clips, noisy, project
from demo_clips import OUTPUT, table
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.learning.asking import Model, way_to_ask
from omni_timeline.learning.learn import learn
from omni_timeline.learning.report.page import page
from omni_timeline.learning.sources import Source
from omni_timeline.metrics import Score, event_f1, pool
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.segments import Segment
from omni_timeline.synthetic import LABELS

CHOOSING, REPORTING = 7_000_000, 9_000_000  # first seeds; those from 8,000,000 on have been looked at, too
HELD_OUT = 40  # clips
MOST = 24  # corrected clips
KINDS = ("names", "sparse", "boundaries", "some names", "unchanged", "looks")
FRAME_RATE = 25
NOW = "2026-11-26T00:00:00+00:00"
GOALS = {("names", 24): 0.95, ("names", 12): 0.88, ("names", 6): 0.80, ("sparse", 12): 0.95}  # F1 at IoU .5


@dataclass(frozen=True)
class Row:
    """One project, measured on held-out clips.

    Attributes:
        before: asked with the project's labels, at IoU .5 and .75.
        after: likewise with what was learned.
        possible: at IoU .5, if exactly the objects were known that occur in the corrected clips.
        by_label: at IoU .5, for each label that the demo world has too: before, after, and asked with that world's
            labels, which is as good as it gets.
        seconds: processor time that learning took.
    """

    before: tuple[Score, Score]
    after: tuple[Score, Score]
    possible: Score
    by_label: dict[str, list[Score]]
    seconds: float


def export_of(
    project: Project, corrected: Sequence[CorrectedClip], model: Model, noise: int | None = None
) -> tuple[str, str]:
    """A project's export and labeling config, as Label Studio writes them.

    With `noise`, a seed, the corrections are what people make of them, and the first task has those of a second person.
    """
    xml = config_of(project)
    config = LabelConfig.from_xml(xml)
    options = config.options(PredictOptions())
    rows = []
    for number, clip in enumerate(corrected, 1):
        people: list[Callable[[Sequence[Segment], float], tuple[Segment, ...]]] = [project.marks]
        if noise is not None:
            seeds = (noise, noise + 1) if number == 1 else (noise,)
            people = [noisy(project.marks, project.labels, [seed, number]) for seed in seeds]
        data = {"video": f"/data/local-files/?d=videos/{clip.path.name}"}
        found = model.predict(clip.path, options)
        suggested = config.prediction(
            found.segments, duration=found.duration, task_data=data, model_version=options.version(model.version)
        )
        annotations = [
            {
                "id": 10 * number + person,
                "completed_by": person,
                "result": config.to_result(marks(clip.events, clip.duration), duration=clip.duration, task_data=data),
                "was_cancelled": False,
                "ground_truth": False,
                "lead_time": 60.0,
                "updated_at": "2026-11-26T00:00:00Z",
                "parent_prediction": number,
                "prediction": {"id": number, **suggested},
            }
            for person, marks in enumerate(people, 1)
        ]
        rows.append({"id": number, "project": 1, "data": data, "annotations": annotations, "predictions": [number]})
    return json.dumps(rows), xml


def config_of(project: Project) -> str:
    labels = "".join(f'<Label value="{label}"/>' for label in project.labels)
    video = f'<Video name="video" value="$video" frameRate="{FRAME_RATE}"/>'
    return f'<View>{video}<TimelineLabels name="events" toName="video">{labels}</TimelineLabels></View>'


def source_of(project: Project, corrected: Sequence[CorrectedClip], model: Model, noise: int | None = None) -> Source:
    """The project, read from its export."""
    with TemporaryDirectory() as name:
        export, config = Path(name) / "export.json", Path(name) / "config.xml"
        for file, text in zip((export, config), export_of(project, corrected, model, noise), strict=True):
            file.write_text(text, encoding="utf-8")
        return Source.from_export(export, corrected[0].path.parent, config)


def learn_from(
    project: Project, corrected: Sequence[CorrectedClip], held_out: Sequence[CorrectedClip], model: Model,
    noise: int | None = None,
) -> Row:  # fmt: skip
    """Learn from the corrections, and measure on the other clips as `predict --learned` would predict them."""
    source = source_of(project, corrected, model, noise)
    options = source.config.options(PredictOptions())
    began = time.process_time()
    made = learn(source, model, options, NOW, with_curve=False).version
    seconds = time.process_time() - began
    wanted = [project.marks(clip.events, clip.duration) for clip in held_out]
    before = [model.predict(clip.path, options).segments for clip in held_out]
    after = before
    if made.is_offered:
        asked = way_to_ask(options, made.calibration.asked)
        raw = [model.predict(clip.path, asked) for clip in held_out]
        found = [made.calibration.apply(each.segments, each.duration) for each in raw]
        after = [tuple(map(source.config.labeled, segments)) for segments in found]
    own = [model.predict(clip.path, PredictOptions(labels=LABELS, descriptions=False)).segments for clip in held_out]
    met = {event.label for clip in corrected for event in clip.events}

    def known(said: tuple[CorrectedClip, Sequence[Segment]]) -> tuple[Segment, ...]:
        clip, segments = said
        return project.marks([each for each in segments if each.label in {*met, *project.labels}], clip.duration)

    labels = {
        label: [scores(only(label, wanted), only(label, found)) for found in (before, after, own)]
        for label in project.labels
        if label in LABELS
    }
    return Row(
        before=(scores(wanted, before), scores(wanted, before, 0.75)),
        after=(scores(wanted, after), scores(wanted, after, 0.75)),
        possible=scores(wanted, [known(each) for each in zip(held_out, own, strict=True)]),
        by_label=labels,
        seconds=seconds,
    )


def scores(wanted: Sequence[Sequence[Segment]], found: Sequence[Sequence[Segment]], iou: float = 0.5) -> Score:
    return pool(event_f1(*pair, iou) for pair in zip(wanted, found, strict=True))


def only(label: str, clips: Sequence[Sequence[Segment]]) -> list[list[Segment]]:
    return [[segment for segment in segments if segment.label == label] for segments in clips]


def rows_of(
    kinds: Sequence[str], sizes: Sequence[int], draws: int, first_seed: int, model: Model
) -> Iterator[tuple[str, int, bool, list[Row]]]:
    for kind in kinds:
        looks = kind == "looks"
        start = first_seed + 500_000 * looks
        held_out = clips(HELD_OUT, start, looks=looks)
        corrected = [clips(MOST, start + 1000 * (draw + 1), looks=looks) for draw in range(draws)]
        for noise in (False, True):
            for size in sizes:
                found = []
                for draw in range(draws):
                    if sys.stderr.isatty():
                        print(f"\r\x1b[K{kind}, {size} clips, draw {draw + 1}", end="", file=sys.stderr)
                    of = project(kind, first_seed + draw)
                    noisy_by = 100 * draw if noise else None
                    found.append(learn_from(of, corrected[draw][:size], held_out, model, noisy_by))
                yield kind, size, noise, found


def cells(kind: str, size: int, noise: bool, found: Sequence[Row]) -> list[str]:
    f1 = [row.after[0].f1 for row in found]
    goal = GOALS.get((kind, size))
    return [
        f"{kind}, with noise" if noise else kind,
        str(size),
        f"{fmean(row.before[0].f1 for row in found):.3f}",
        f"**{fmean(f1):.3f}** ({min(f1):.3f} to {max(f1):.3f})",
        f"{fmean(row.possible.f1 for row in found):.3f}",
        f"{fmean(row.after[0].precision for row in found):.3f}",
        f"{fmean(row.after[0].recall for row in found):.3f}",
        f"{fmean(row.before[1].f1 for row in found):.3f}",
        f"{fmean(row.after[1].f1 for row in found):.3f}",
        f"{min(row.after[0].f1 - row.before[0].f1 for row in found):+.3f}",
        f"{fmean(row.seconds for row in found):.1f}",
        "" if goal is None or noise else f"{goal:.2f}",
    ]


def untouched(found: Sequence[Row]) -> list[str]:
    """Of the labels that keep their names, over all draws: the one whose F1 changes worst, and how far from the best.

    Returns:
        cells: the label and its change against before; the label that is worst beside the world's own labels.
    """
    by_label: dict[str, list[list[Score]]] = defaultdict(list)
    for row in found:
        for label, scores_of_label in row.by_label.items():
            by_label[label].append(scores_of_label)
    f1 = {label: [pool(each).f1 for each in zip(*rows, strict=True)] for label, rows in by_label.items()}
    cells = []
    for reference in (0, 2):
        changes = {label: numbers[1] - numbers[reference] for label, numbers in f1.items()}
        worst = min(changes, key=lambda label: changes[label])
        cells.append(f"{worst}: {changes[worst]:+.3f}")
    return cells


def timing(model: Model, first_seed: int, report: Path | None) -> str:
    """How long learning from 24 clips takes when nothing is remembered; writes the report where one is wanted."""
    source = source_of(project("names", first_seed), clips(MOST, first_seed + 1000), model, noise=1)
    wall, cpu = time.perf_counter(), time.process_time()
    made = learn(source, model, source.config.options(PredictOptions()), NOW)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if report:
        report.write_text(page(made.evaluation, made.version, made.parts), encoding="utf-8")
    return f"24 corrected clips, nothing remembered: {wall:.0f} s, {cpu:.0f} s of this process's processor time."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--sizes", nargs="+", type=int, default=(24, 12, 6), help="corrected clips, at most 24")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--choose", action="store_true", help="on the clips that the recipe was chosen with")
    parser.add_argument("--report", type=Path, metavar="HTML", help="write the report of one project with noise")
    arguments = parser.parse_args()
    first_seed = CHOOSING if arguments.choose else REPORTING
    loaded = OmniModel.load("demo")
    plain = Model(loaded.version, Pipeline(loaded).predict)
    model = plain.remembering(PredictionCache(OUTPUT / "predictions", 10**9))
    header = [
        "kind", "clips", "F1@.5 before", "after (least to most)", "possible", "precision", "recall", "F1@.75 before",
        "after", "worst change", "CPU s", "goal",
    ]  # fmt: skip
    losses = []
    print(f"{loaded.facts.description}; {arguments.draws} draws, {HELD_OUT} clips to measure on\n")
    print(table(header, []))
    for kind, size, noise, found in rows_of(arguments.kinds, arguments.sizes, arguments.draws, first_seed, model):
        row = cells(kind, size, noise, found)
        print(table(header, [row]).splitlines()[-1], flush=True)
        if kind in ("some names", "unchanged"):
            losses.append([row[0], str(size), *untouched(found)])
    if losses:
        print("\nLabels that keep their names, F1@.5 over all draws: the worst one\n")
        print(table(["kind", "clips", "after - before", "after - asked with the demo world's labels"], losses))
    print("\n" + timing(plain, first_seed, arguments.report))


if __name__ == "__main__":
    main()
