"""Draws docs/images/remap-positions.png: when the model takes pictures and sounds to be, without the remap and with it.

    python benchmarks/remap_figure.py [--output docs/images/remap-positions.png]

Two clips of the demo world are encoded and read back. All times are those which the model's own `get_rope_index` gives
to the tokens; the stock tensors come from Qwen2_5OmniProcessor and an untouched model. Takes seconds and no GPU.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

from omni_timeline.media.clip import Clip
from omni_timeline.media.video import load_clip
from omni_timeline.model.checkpoint import DEMO_FOLDER
from omni_timeline.model.prompts import DEFAULT_PROMPT
from omni_timeline.model.qwen2_5_omni.family import (
    FRAMES_PER_GRID,
    NOMINAL_SECOND_PER_GRID,
    QWEN2_5_OMNI,
    SYSTEM_PROMPT,
)
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.synthetic import draw_scene, write_video

OUTPUT = Path(__file__).parent.parent / "docs" / "images" / "remap-positions.png"
MINUTE, LONG = 60.0, 120.0  # s
SHOWN = 29.6  # s of the long clip: few enough to tell its tokens apart
CHUNK = 2.0  # s; `seconds_per_chunk` of Qwen2.5-Omni
REAL, NOMINAL, SOUND, GREY = "#1b7f5c", "#d1495b", "#2274a5", "#8a8a8a"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    model = OmniModel.load(device="cpu")
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.4), layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        draw_clocks(left, model, read(MINUTE, Path(folder)))
        draw_order(right, model, read(LONG, Path(folder)))
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=140)
    print(f"wrote {output}")


def read(duration: float, folder: Path) -> Clip:
    scene = draw_scene(np.random.default_rng(int(duration)), duration, sound=True)
    return load_clip(write_video(scene, folder / f"{duration:.0f}.mp4", fps=30, height=56, width=56))


def draw_clocks(axes: Axes, model: OmniModel, clip: Clip) -> None:
    """For each grid and sound of a clip: when it is, and when the model is told that it is."""
    grids = clip.times.grid_seconds(FRAMES_PER_GRID)
    clocks = (
        ("nominal", NOMINAL, "pictures, 1.0 s per grid: the processor's default"),
        ("real", REAL, "pictures, real seconds per grid"),
    )
    for clock, colour, label in clocks:
        seconds = None if clock == "real" else [NOMINAL_SECOND_PER_GRID]
        [times] = model.token_reports(model.inputs.build([clip], second_per_grid=seconds))
        axes.plot(grids, times.grid_seconds, "o", color=colour, markersize=5, zorder=3, label=label)
    heard = np.arange(len(times.audio_seconds)) / 25
    axes.plot(
        heard, times.audio_seconds, color=SOUND, linewidth=6, alpha=0.35, solid_capstyle="butt",
        label="sound, 25 tokens a second",
    )  # fmt: skip
    axes.legend(loc="upper left", frameon=False, reverse=True)
    last, told = grids[-1], len(grids) - 1.0
    axes.annotate("", (last, told), (last, last), arrowprops={"arrowstyle": "<->", "color": GREY})
    axes.annotate(f"{last - told:.0f} s\nbetween picture\nand sound", (last - 1, 27), color=GREY, ha="right")
    axes.set(
        title=f"A clip of {clip.duration:.0f} s, {len(clip.times)} frames: which time is told",
        xlabel="true time of the frame or sound (s)", ylabel="time by the model's get_rope_index (s)",
        xlim=(0, 62), ylim=(0, 74), aspect="equal",
    )  # fmt: skip


def draw_order(axes: Axes, model: OmniModel, clip: Clip) -> None:
    """Beside which sound the tokens of each grid stand in the row, against when they are."""
    stock = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(DEMO_FOLDER)
    theirs = places(stock, stock_inputs(model.processor, clip))
    ours = places(model.model, model.inputs.build([clip]))
    for beside, own in theirs:
        if own - beside > CHUNK and beside < SHOWN:
            axes.plot([beside, own], [own, own], color=NOMINAL, linewidth=0.8, alpha=0.6)
    axes.plot(*zip(*theirs, strict=True), "o", color=NOMINAL, markersize=6, label="stock chunks: grids are torn")
    axes.plot(
        *zip(*ours, strict=True), "o", color=REAL, markersize=10, fillstyle="none", markeredgewidth=1.6,
        label="chunks that may be empty: grids stay whole",
    )  # fmt: skip
    along = np.array([0.0, SHOWN])
    axes.fill_between(along, along, along + CHUNK, color=SOUND, alpha=0.15, linewidth=0)
    axes.annotate("in the 2 s chunk of its own time", (16.0, 13.6), color=SOUND, rotation=45, rotation_mode="anchor")
    axes.annotate("before its time", (1.8, 14.3), color=NOMINAL)
    axes.legend(loc="upper left", frameon=False)
    spacing = QWEN2_5_OMNI.second_per_grid(clip)
    axes.set(
        title=f"A clip of {clip.duration:.0f} s, {spacing:.1f} s per grid: where its tokens stand",
        xlabel="sound that stands before the token in the row (s)", ylabel="the token's own time (s)",
        xlim=(-0.5, SHOWN), ylim=(-0.5, SHOWN + 6.5), aspect="equal",
    )  # fmt: skip


def places(model: Any, inputs: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Of each token of the video, in the order of the row: seconds of sound before it, and its own time in seconds."""
    positions, _ = model.get_rope_index(
        inputs["input_ids"],
        video_grid_thw=inputs["video_grid_thw"],
        attention_mask=inputs["attention_mask"],
        use_audio_in_video=True,
        audio_seqlens=inputs["feature_attention_mask"].sum(-1),
        second_per_grids=torch.as_tensor(inputs["video_second_per_grid"]),
    )
    token_ids, seconds = inputs["input_ids"][0], positions[0, 0] / model.config.position_id_per_seconds
    is_video = token_ids == model.config.video_token_id
    heard = (token_ids == model.config.audio_token_id).cumsum(0) / model.config.position_id_per_seconds
    own = seconds[is_video] - seconds[is_video][0]
    return list(zip(heard[is_video].tolist(), own.tolist(), strict=True))


def stock_inputs(processor: Any, clip: Clip) -> Mapping[str, Any]:
    """The tensors of the processor itself, told the true frame rate."""
    conversation = [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM_PROMPT}]},
        {"role": "user", "content": [{"type": "video", "video": ""}, {"type": "text", "text": DEFAULT_PROMPT.user}]},
    ]
    size = processor.video_processor.size
    inputs: Mapping[str, Any] = processor(
        text=[processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)],
        videos=[torch.from_numpy(clip.frames)],
        audio=[clip.audio],
        audio_from_video_indices=[0],
        load_audio_from_video=True,
        videos_kwargs={
            "do_sample_frames": False,
            "fps": 1 / clip.times.second_per_frame,
            "size": {"shortest_edge": size["shortest_edge"], "longest_edge": size["longest_edge"]},
            "cap_pixels_per_frame": False,
        },
        return_tensors="pt",
    )
    return inputs


if __name__ == "__main__":
    main()
