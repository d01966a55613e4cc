"""What it costs to hold an answer to its grammar, and what it saves: the same model with and without, turn by turn.

    python benchmarks/grammar.py               # about 5 minutes on 2 cores
    python benchmarks/grammar.py --clips 10    # a quick look

Two models: one of random weights with Qwen2.5-Omni's real vocabulary of 151,936 tokens, whose every token is timed; and
the demo checkpoint on held-out clips, whose answers are compared as well. One thread, and its processor time, which
other work on the machine disturbs less. Prints Markdown tables; docs/grammar.md shows them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from statistics import mean, median

import torch
from llguidance import LLMatcher, LLTokenizer

from demo_clips import clips, table
from omni_timeline.answers.grammar import Grammar
from omni_timeline.answers.parser import parse_segments
from omni_timeline.media.video import load_clip
from omni_timeline.metrics import Score, event_f1, pool
from omni_timeline.model import constrained
from omni_timeline.model.qwen2_5_omni.inputs import RealTimeInputs
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.synthetic import LABELS
from qwen_vocabulary import qwen_tokenizer, random_model

REPEATS = 9  # of which the fastest counts: what else runs on the machine only ever adds
WAYS = ("without", "a token a step", "with")  # a grammar
PROJECTS = {
    "10 labels": LABELS,
    "200 labels": tuple(f"behaviour {number}" for number in range(200)),
    "free words": (),
}


@contextmanager
def stopwatch(model: OmniModel) -> Iterator[list[float]]:
    """When the model was done with the scores of each token, in seconds."""
    moments: list[float] = []
    hook = model.model.lm_head.register_forward_hook(lambda *_: moments.append(time.thread_time()))
    try:
        yield moments
    finally:
        hook.remove()


@contextmanager
def a_token_a_step() -> Iterator[None]:
    """As if no more than one token were ever written at a time."""
    usual = constrained.MOST_AT_ONCE
    constrained.MOST_AT_ONCE = 1
    try:
        yield
    finally:
        constrained.MOST_AT_ONCE = usual


def step_times(model: OmniModel, inputs: object, grammar: Grammar) -> tuple[list[float], list[float]]:
    """Seconds from step to step without the grammar and with it, a token a step, each the fastest of its kind."""
    runs: tuple[list[list[float]], list[list[float]]] = [], []
    with a_token_a_step():
        for _ in range(REPEATS):
            for times, grammars in zip(runs, (None, [grammar.text]), strict=True):
                with stopwatch(model) as moments:
                    model.generate(inputs, max_new_tokens=120, grammars=grammars)  # type: ignore[arg-type]
                times.append([after - before for before, after in pairwise(moments)])
    free, held = ([min(steps) for steps in zip(*times, strict=True)] for times in runs)
    return free, held


def tokens_and_steps(model: OmniModel, inputs: object, grammar: Grammar) -> tuple[int, int]:
    """How many tokens an answer has, and in how many steps it is written."""
    with stopwatch(model) as moments:
        [answer] = model.generate(inputs, max_new_tokens=120, grammars=[grammar.text])  # type: ignore[arg-type]
    return len(answer.token_ids), len(moments)


def compiling(model: OmniModel, grammar: Grammar) -> float:
    """Seconds that the first use of a grammar takes."""
    begin = time.thread_time()
    model.grammars.matcher(grammar.text)
    return time.thread_time() - begin


def asking(tokenizer: LLTokenizer, grammar: Grammar) -> tuple[list[float], list[float]]:
    """Seconds to ask about the next token alone, and about all tokens, at each token of an answer."""
    label = next(iter(grammar.spoken), "somebody sits down and reads a newspaper")
    text = "\n".join(f"From {start}.2 to {start + 4}.8, {label}." for start in (3, 12, 31))
    runs: tuple[list[list[float]], list[list[float]]] = [], []
    for _ in range(REPEATS):
        matcher = LLMatcher(tokenizer, grammar.text)
        for times in runs:
            times.append([])
        for token in tokenizer.tokenize_str(text):
            begin = time.thread_time()
            assert matcher.validate_tokens([token])
            middle = time.thread_time()
            matcher.compute_logit_bias()
            runs[0][-1].append(middle - begin)
            runs[1][-1].append(time.thread_time() - middle)
            matcher.consume_token(token)
    one, all_tokens = ([min(steps) for steps in zip(*times, strict=True)] for times in runs)
    return one, all_tokens


def real_vocabulary(path: object) -> str:
    model = random_model(qwen_tokenizer())
    begin = time.thread_time()
    grammars = model.grammars
    print(f"Reading the vocabulary of {grammars.vocabulary:,}, once for a model: {time.thread_time() - begin:.1f} s\n")
    inputs = RealTimeInputs(model.processor, model.model)
    clip = load_clip(path, frames=50, resize=inputs.resize)  # type: ignore[arg-type]
    built = inputs.build([clip])
    rows, asked = [], []
    for name, labels in PROJECTS.items():
        grammar = Grammar(labels, 48.0, descriptions=not labels)
        first = compiling(model, grammar)
        free, held = step_times(model, built, grammar)
        tokens, steps = tokens_and_steps(model, built, grammar)
        added = (median(held) - median(free)) * 1e3
        rows.append([
            name, f"{first * 1e3:.0f}", f"{median(free) * 1e3:.2f}", f"{median(held) * 1e3:.2f}", f"**{added:.2f}**",
            f"{(max(held) - median(free)) * 1e3:.2f}", f"{tokens / steps:.2f}",
        ])  # fmt: skip
        one, all_tokens = asking(grammars.tokenizer, grammar)
        asked.append([name, *(f"{figure(steps) * 1e3:.3f}" for steps in (one, all_tokens) for figure in (mean, max))])
    header = [
        "48 s, real vocabulary", "first use, ms", "a token without, ms", "with, ms", "added, ms", "at most, ms",
        "tokens a step",
    ]  # fmt: skip
    parts = ["asking about", "one token, ms", "at most, ms", "all tokens, ms", "at most, ms"]
    return f"{table(header, rows)}\n\n{table(parts, asked)}"


def answers(model: OmniModel, built: object, grammar: Grammar) -> tuple[dict[str, str], dict[str, list[float]]]:
    """What is answered in each of WAYS, and in how many seconds each time."""
    texts: dict[str, str] = {}
    runs: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(REPEATS):
        for way in WAYS:
            grammars = None if way == "without" else [grammar.text]
            with a_token_a_step() if way == "a token a step" else nullcontext():
                begin = time.thread_time()
                [output] = model.generate(built, grammars=grammars)  # type: ignore[arg-type]
                runs[way].append(time.thread_time() - begin)
            texts[way] = output.text
    return texts, runs


def demo(count: int) -> str:
    model = OmniModel.load("demo")
    inputs = RealTimeInputs(model.processor, model.model)
    rows = []
    for kind, sound in (("silent", False), ("with sound", True)):
        seconds = dict.fromkeys((*WAYS, "first"), 0.0)
        scores: dict[str, list[Score]] = {way: [] for way in WAYS}
        same = tokens = steps = 0
        samples = list(clips(count, sound=sound))
        for sample in samples:
            clip = load_clip(sample.path, frames=50, resize=inputs.resize)
            built = inputs.build([clip])
            grammar = Grammar(LABELS, clip.duration)
            seconds["first"] += compiling(model, grammar)
            texts, runs = answers(model, built, grammar)
            counts = tokens_and_steps(model, built, grammar)
            tokens, steps = tokens + counts[0], steps + counts[1]
            for way, times in runs.items():
                seconds[way] += min(times)
            assert texts["with"] == texts["a token a step"]
            same += texts["with"] == texts["without"]
            scores["without"].append(event_f1(sample.events, parse_segments(texts["without"], clip.duration).segments))
            scores["with"].append(event_f1(sample.events, grammar.read(texts["with"]).segments))
        rows.append([
            f"{kind}, {len(samples)} clips", *(f"{seconds[way] / count * 1e3:.0f}" for way in WAYS),
            *(f"**{seconds[way] / seconds['without'] - 1:+.1%}**" for way in WAYS if way != "without"),
            f"{tokens / steps:.2f}", f"{seconds['first'] / count * 1e3:.0f}",
            f"{pool(scores['without']).f1:.3f}", f"{pool(scores['with']).f1:.3f}", f"{same} of {len(samples)}",
        ])  # fmt: skip
    header = [
        "demo checkpoint", "an answer without, ms", "with, a token a step, ms", "with, ms", "added, a token a step",
        "added", "tokens a step", "first use, ms", "F1 without", "F1 with", "same answer",
    ]  # fmt: skip
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=30, help="silent clips, and as many with sound (default 30)")
    count = parser.parse_args().clips
    torch.set_num_threads(1)
    [sample] = clips(1, sound=False)
    print(real_vocabulary(sample.path), end="\n\n")
    print(demo(count))


if __name__ == "__main__":
    main()
