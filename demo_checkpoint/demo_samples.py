"""Draws the sample clips that are bundled with the demo checkpoint, and the truth about them: `make demo-samples`."""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path

import numpy as np

from omni_timeline.synthetic import draw_scene, write_video

# name, seed, duration in seconds, sound, frames per second, height, width
SAMPLES = (
    ("silent-12s", 26, 12.0, False, Fraction(25), 144, 144),
    ("sound-20s", 32, 20.0, True, Fraction(30_000, 1001), 144, 192),
    ("wide-30s", 29, 30.0, True, Fraction(24_000, 1001), 144, 256),
    ("tall-45s", 24, 45.0, False, Fraction(15), 240, 136),
)


def main() -> None:
    """Reads the command line and writes the clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("backend/omni_timeline/demo/samples"))
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed, duration, sound, fps, height, width in SAMPLES:
        scene = draw_scene(np.random.default_rng(seed), duration, sound=sound)
        path = write_video(scene, folder / f"{name}.mp4", fps=fps, height=height, width=width)
        events = [
            {"start": round(event.start, 3), "end": round(event.end, 3), "label": event.label} for event in scene.events
        ]
        truth = {"video": path.name, "duration": duration, "events": events}
        path.with_suffix(".json").write_text(json.dumps(truth, indent=2) + "\n")
        print(f"{path}: {len(events)} events, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
