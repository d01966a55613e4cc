"""`omni-timeline prelabel`: predicts all tasks of a project, on one machine or on a cluster."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni_timeline import processes
from omni_timeline.cli.arguments import add_command, add_model_arguments, devices_from, positive
from omni_timeline.cli.files import prepare, write_text
from omni_timeline.cli.terminal import print_lines
from omni_timeline.errors import RequestError
from omni_timeline.text_files import read_text

if TYPE_CHECKING:
    from omni_timeline.batch.job import Job
    from omni_timeline.batch.machines import Machines
    from omni_timeline.batch.outcomes import Plan
    from omni_timeline.batch.report import Report
    from omni_timeline.batch.sources import Opened, Source
    from omni_timeline.service.settings import Settings

OK, SOME_FAILED, INTERRUPTED = 0, 1, 130  # exit codes
ENGINES = ("auto", "local", "ray")
LOCAL_FILES_URL = "/data/local-files/?d="  # how Label Studio names a file of its local storage
MAX_REASONS = 20  # shown at the end; the report has all
MAX_SHOWN = 10  # tasks that --dry-run names
REPORT_SECONDS = 1.0  # s for the report when everything is to stop at once
MORE = (
    "omni-timeline: on this machine alone. pip install 'omni-timeline[ray]' spreads the work over several machines, "
    "see docs/prelabel.md"
)

DESCRIPTION = """\
Predicts every task of a project that has no prediction of this model version yet, and stores the predictions in Label
Studio. Stop it at any moment and run it again: it goes on. Settings are those of the server, as environment variables:
LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY, FRAMES, ...; see docs/operations.md. docs/prelabel.md has more on this command.

examples:
  omni-timeline prelabel --project 12 --dry-run
  omni-timeline prelabel --project 12 --model Qwen/Qwen2.5-Omni-3B --report report.json
  omni-timeline prelabel --project 12 --view 34 --limit 100
  omni-timeline prelabel --project 12 --follow
  omni-timeline prelabel --project 12 --address auto --num-gpus 16          on a Ray cluster
  omni-timeline prelabel --export out.jsonl --videos clips/ --label-config label_config.xml

exit codes: 0 nothing failed, 1 some tasks failed or the run broke off, 2 the command line is invalid, 130 stopped
before the end
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the others."""
    parser = add_command(commands, "prelabel", "predict all tasks of a project", DESCRIPTION, run)
    group = parser.add_argument_group("what is predicted")
    group.add_argument("--url", help="the address of Label Studio (default: $LABEL_STUDIO_URL)")
    group.add_argument("--project", type=positive, metavar="N", help="the project's number")
    some = group.add_mutually_exclusive_group()
    some.add_argument("--view", type=positive, metavar="N", help="only the tasks of this tab of the data manager")
    some.add_argument("--task-ids", type=_numbers, metavar="N,N", help="only these tasks")
    group.add_argument("--limit", type=positive, metavar="N", help="predict so many tasks at most")
    group.add_argument("--follow", action="store_true", help="wait for new tasks until it is stopped")
    group.add_argument(
        "--replace-versions", nargs="+", default=[], metavar="VERSION",
        help="remove the predictions of these model versions from tasks that have one of the new version",
    )  # fmt: skip
    group.add_argument("--dry-run", action="store_true", help="only say what would be predicted")
    group.add_argument("--report", type=Path, metavar="JSON", help="write what became of the tasks into this file")
    _add_export_arguments(parser)
    _add_machine_arguments(parser)
    add_model_arguments(parser)


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("without access to Label Studio")
    group.add_argument(
        "--export", type=Path, metavar="JSONL",
        help="write the predictions into this file, a line for each task, instead of storing them; at the end also as "
        "a .json list beside it, which Label Studio imports",
    )  # fmt: skip
    group.add_argument("--tasks", type=Path, metavar="JSON", help="the tasks: a project that was exported as JSON")
    group.add_argument(
        "--videos", type=Path, metavar="FOLDER",
        help="where the videos are, by their names; without --tasks, each of them becomes a task",
    )  # fmt: skip
    group.add_argument("--label-config", type=Path, metavar="FILE", help="the project's labeling config")
    group.add_argument(
        "--video-url", default=LOCAL_FILES_URL, metavar="PREFIX",
        help="what stands before the file name in the tasks that are made of --videos (default: %(default)s)",
    )  # fmt: skip


def _add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where it runs")
    group.add_argument(
        "--engine", choices=ENGINES, default="auto",
        help="local: this machine alone; ray: a Ray cluster, or Ray on this machine, with the extra "
        "omni-timeline[ray]; auto: ray where it is installed (default)",
    )  # fmt: skip
    group.add_argument("--address", help="of a running Ray cluster; auto for the one this machine belongs to")
    copies = group.add_mutually_exclusive_group()
    copies.add_argument("--num-gpus", type=_count, metavar="N", help="copies of the model, a GPU each (default: all)")
    copies.add_argument(
        "--num-workers", type=positive, metavar="N",
        help="copies of the model on the CPU instead; without GPUs, one on each machine (default)",
    )  # fmt: skip
    group.add_argument(
        "--num-decoders", type=positive, metavar="N",
        help="videos that are decoded at a time, a core each (default: by the cores there are)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Predicts what is to be predicted, and says what became of it.

    Raises:
        OmniTimelineError: the command line or a setting is invalid, or nothing can be predicted.
        OSError: a file cannot be written.
    """
    from omni_timeline.batch.outcomes import Plan
    from omni_timeline.label_studio.labeling_config import LabelConfig
    from omni_timeline.service.server import options_of

    _check(arguments)
    settings = _settings(arguments)
    source = _source(arguments, settings)
    config = LabelConfig.from_xml(source.xml)
    options = config.options(options_of(settings))
    with _machines(arguments, settings) as machines:
        version = options.version(machines.checkpoint)
        plan = Plan(str(arguments.project or ""), source.xml, config, options, version)
        opened = source.open(plan)
        if not arguments.dry_run:
            report, job = _run(arguments, opened, plan, machines)
    if arguments.dry_run:
        _print_what_would_be(opened, plan, arguments)
        return OK
    opened.finish()
    _print_summary(report, arguments.report)
    if job.is_stopped and not arguments.follow:
        return INTERRUPTED
    return SOME_FAILED if report.failures else OK


def _run(arguments: argparse.Namespace, opened: Opened, plan: Plan, machines: Machines) -> tuple[Report, Job]:
    """The job, done or stopped, and what became of its tasks; the report's file is written whatever happens."""
    from omni_timeline.batch.job import Job
    from omni_timeline.batch.report import Report

    with _progress(opened, arguments.limit) as show:
        report = Report(plan.video, lambda: show(report))
        report.there = opened.done
        job = Job(
            opened.tasks(), machines.engine(plan), report, limit=arguments.limit, follow=arguments.follow,
            between_passes=partial(opened.tidy, report),
        )  # fmt: skip

        def write_report() -> None:
            if arguments.report is not None:
                about = {"project": arguments.project, "model_version": plan.version, "engine": machines.name}
                _write_report(arguments.report, {**about, "stopped": job.is_stopped, **report.as_object()})

        try:
            with opened.sink(job.settle) as sink, _stopping(job, write_report):
                job.run(sink)
        finally:
            write_report()
    return report, job


def _check(arguments: argparse.Namespace) -> None:
    """Refuses arguments that contradict each other, before anything takes its time."""
    prepare(arguments.report, ".json")
    prepare(arguments.export, ".jsonl")
    if None not in (arguments.report, arguments.export) and arguments.report == arguments.export.with_suffix(".json"):
        raise RequestError(f"{arguments.report} gets the list of predictions: name another file for --report")
    if arguments.export is None:
        for name in ("tasks", "videos", "label_config"):
            if getattr(arguments, name) is not None:
                raise RequestError(f"--{name.replace('_', '-')} is for --export")
        if arguments.project is None:
            raise RequestError("--project N says which project is predicted; or --export a file of predictions")
        return
    for name in ("project", "view", "task_ids", "follow", "replace_versions"):
        if getattr(arguments, name):
            raise RequestError(f"--{name.replace('_', '-')} needs Label Studio, and --export does without it")
    if arguments.label_config is None:
        raise RequestError("--export needs --label-config, the project's labeling config")


def _settings(arguments: argparse.Namespace) -> Settings:
    """The settings of this machine, with those that the command line states in their place."""
    from omni_timeline.service.settings import Settings

    stated = {
        "label_studio_url": arguments.url,
        "model": arguments.model,
        "hub": arguments.hub,
        "device": tuple(devices_from(arguments.device)) if arguments.device else None,
        "quantization": arguments.quantization,
        "decoders": arguments.num_decoders,
    }
    return replace(Settings.from_env(), **{name: value for name, value in stated.items() if value is not None})


def _source(arguments: argparse.Namespace, settings: Settings) -> Source:
    from omni_timeline.batch.sources import Files, Project
    from omni_timeline.label_studio.client import LabelStudioApi

    if arguments.export is not None:
        return Files(
            arguments.export, read_text(arguments.label_config), tasks=arguments.tasks, videos=arguments.videos,
            video_url=arguments.video_url,
        )  # fmt: skip
    url, key = settings.label_studio_url, settings.label_studio_api_key
    if url is None or key is None:
        raise RequestError("LABEL_STUDIO_URL (or --url) and LABEL_STUDIO_API_KEY say where Label Studio is: set both")
    return Project(
        LabelStudioApi(url, key), arguments.project, view=arguments.view, tasks=arguments.task_ids,
        replace_versions=arguments.replace_versions,
    )  # fmt: skip


def _machines(arguments: argparse.Namespace, settings: Settings) -> AbstractContextManager[Machines]:
    """This machine, or a cluster."""
    from omni_timeline.batch.machines import Wanted, ray_cluster, this_machine
    from omni_timeline.cli.machine import ThisMachine
    from omni_timeline.model.wire import Load

    load = Load(settings.model, settings.hub, dtype=settings.dtype, quantization=settings.quantization)
    make_parts = ThisMachine(settings.label_studio_url, settings.label_studio_api_key, arguments.videos)
    devices = _devices(arguments, settings)
    has_ray = find_spec("ray") is not None
    if arguments.engine == "ray" or arguments.address or (arguments.engine == "auto" and has_ray):
        if not has_ray:
            raise RequestError("Ray is not installed: pip install 'omni-timeline[ray]'")
        if arguments.engine == "local":
            raise RequestError("--address names a Ray cluster: leave it out, or --engine local")
        on_cpu = arguments.num_workers or (len(devices) if all(name == "cpu" for name in devices) else None)
        gpus = 0 if on_cpu else arguments.num_gpus or (len(devices) if settings.device else None)
        return ray_cluster(arguments.address, load, Wanted(gpus, on_cpu, settings.decoders), make_parts)
    if not has_ray:
        print(MORE, file=sys.stderr)
    return this_machine(load, devices, make_parts, settings.decoders)


def _devices(arguments: argparse.Namespace, settings: Settings) -> list[str | None]:
    """The devices of this machine that the model runs on."""
    if arguments.num_workers:
        return ["cpu"] * arguments.num_workers
    if arguments.num_gpus is not None:
        return [f"cuda:{number}" for number in range(arguments.num_gpus)] or ["cpu"]
    if settings.device is not None:
        return list(settings.device)
    return [f"cuda:{number}" for number in range(processes.visible_gpus())] or [None]


@contextmanager
def _progress(opened: Opened, limit: int | None) -> Iterator[Callable[[Report], None]]:
    """A bar with the rate and the time that is left, where stderr is a terminal."""
    from tqdm import tqdm

    def total(found_there: int = 0) -> int:
        left = opened.count - found_there
        return left if limit is None else min(left, limit)

    with tqdm(total=total(), unit="task", disable=not sys.stderr.isatty(), dynamic_ncols=True, smoothing=0.05) as bar:

        def show(report: Report) -> None:
            bar.total = max(total(report.there - opened.done), report.done)
            bar.n = report.done
            bar.set_postfix_str(f"{len(report.failures)} failed" if report.failures else "", refresh=False)
            bar.update(0)

        yield show


@contextmanager
def _stopping(job: Job, write_report: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the job once what is worked on is finished; the second time at once."""

    def stop(*_: object) -> None:
        if job.is_stopped:
            last = threading.Thread(target=write_report, daemon=True)  # whoever is interrupted may hold its lock
            last.start()
            last.join(REPORT_SECONDS)
            os._exit(INTERRUPTED)  # all other processes end with this one
        print("\nFinishing what is worked on; once more stops at once.", file=sys.stderr)
        threading.Thread(target=job.stop).start()  # whoever is interrupted may hold the job's lock

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_what_would_be(opened: Opened, plan: Plan, arguments: argparse.Namespace) -> None:
    from omni_timeline.batch.outcomes import AlreadyThere, Failed, Task

    count, done = opened.count, opened.done
    shown: list[Task] = []
    failed: list[Failed] = []
    for each in opened.tasks():
        if isinstance(each, AlreadyThere):
            count, done = count - 1, done + 1
        elif isinstance(each, Failed):
            count -= 1
            if len(failed) < MAX_REASONS:
                failed.append(each)
        elif len(shown) < MAX_SHOWN:
            shown.append(each)
        elif arguments.view is None and arguments.task_ids is None:
            break  # the rest is as the database has counted it
    count = count if arguments.limit is None else min(count, arguments.limit)
    print_lines(f"{plan.version}: {count} tasks would be predicted; {done} have a prediction already")
    for task in shown[:count]:
        print_lines(f"  {task.key}: {plan.video(task)}")
    for failure in failed:
        print_lines(f"  {failure.task.key}: {failure.reason}")


def _print_summary(report: Report, file: Path | None) -> None:
    minutes = report.seconds / 60
    print_lines(
        f"{report.predicted} predicted, {report.there} already there, {len(report.failures)} failed, in "
        f"{minutes:.1f} minutes ({report.predicted / minutes:.1f} tasks a minute)"
    )
    if report.removed:
        print_lines(f"{report.removed} predictions of old versions removed")
    reasons = report.reasons()
    for reason, count in reasons[:MAX_REASONS]:
        print_lines(f"  {count} x {reason}")
    if len(reasons) > MAX_REASONS:
        print_lines(f"  and {len(reasons) - MAX_REASONS} other reasons" + (f", in {file}" if file else ""))


def _write_report(file: Path, content: dict[str, Any]) -> None:
    partial_file = file.with_name(f"{file.name}.part")
    write_text(partial_file, json.dumps(content, indent=2) + "\n")
    partial_file.replace(file)


def _numbers(text: str) -> list[int]:
    return [positive(number.strip()) for number in text.split(",")]


def _count(text: str) -> int:
    return 0 if text == "0" else positive(text)
