"""Reading frames and sound from long videos: this project beside what else there is, on this machine.

    python benchmarks/decode.py                   # everything, 3 times over: about half an hour on 2 cores
    python benchmarks/decode.py --quick           # a 40 s video, once: does it all run?
    python benchmarks/decode.py --tasks sparse --readers ours torchcodec full --repeats 5

The videos are made on the first run with the ffmpeg command (1280x720, 30 fps, H.264 with a keyframe every 4 s, moving
noise, AAC) and kept in benchmarks/output/. Needs `pip install -e ".[benchmark]"`.

    sparse        50 frames of the 10-minute video
    sparse-hour   50 frames of the 1-hour video
    dense         1 frame per second of the 10-minute video

    ours          as the model gets it: frames scaled to 448 pixels across, and the sound where a row says so
    ours-full     the same frames at full size, for a fair comparison with the next two
    torchcodec    get_frames_at, exact seeking, at full size
    full          PyAV, decoding everything and keeping the frames wanted, at full size
    qwen          process_mm_info of qwen-omni-utils with its defaults (2 frames per second, at most 768), and the sound
    qwen-50       process_mm_info with nframes=50, and the sound

Every reading is done by a process of its own, readers taking turns. Time is that of the reading alone, without imports;
memory is the peak of the process above its size after the imports. Frames at full size are compared by their hash:
the script fails when two readers disagree.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

FPS = 30
MODEL_SIZE = (252, 448)  # height, width; multiples of 28, what 1280x720 becomes at 128 tokens a frame
VIDEOS = {"short": 40, "long": 600, "hour": 3600}  # s
TASKS = {"sparse": ("long", 50), "sparse-hour": ("hour", 50), "dense": ("long", 600), "quick": ("short", 50)}


@dataclass(frozen=True)
class Measurement:
    """One reading: seconds on the clock and of processors, peak MiB above the imports, a hash of full-size frames."""

    seconds: float
    cpu: float
    mebibytes: float
    frames: int
    digest: str | None


class Stopwatch:
    """Wall and processor time, and the peak of memory, from its creation on; hashing does not count."""

    def __init__(self) -> None:
        self.base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.hash = hashlib.sha256()
        self.frames = 0
        self.hashing = self.hashing_cpu = 0.0
        self.began, self.began_cpu = time.perf_counter(), time.process_time()

    def see(self, picture: memoryview) -> None:
        """Count and hash one frame: height x width x RGB."""
        began, began_cpu = time.perf_counter(), time.process_time()
        self.hash.update(picture)
        self.frames += 1
        self.hashing += time.perf_counter() - began
        self.hashing_cpu += time.process_time() - began_cpu

    def measurement(self, frames: int | None = None) -> Measurement:
        """What was used so far; `frames` for readers whose frames are not hashed."""
        return Measurement(
            seconds=time.perf_counter() - self.began - self.hashing,
            cpu=time.process_time() - self.began_cpu - self.hashing_cpu,
            mebibytes=(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.base) / 1024,
            frames=self.frames if frames is None else frames,
            digest=self.hash.hexdigest()[:12] if self.frames else None,
        )


def wanted(path: Path, count: int) -> list[int]:
    """Numbers of the frames nearest to `count` instants spread evenly; the earlier of two as near."""
    last = round(VIDEOS[path.stem] * FPS) - 1
    return [math.ceil(number * last / (count - 1) - 0.5) for number in range(count)]


def read_ours(path: Path, count: int, *, sound: bool = True) -> Measurement:
    from omni_timeline.media.video import load_clip

    watch = Stopwatch()
    clip = load_clip(path, frames=count, resize=lambda _height, _width: MODEL_SIZE, audio=sound)
    return watch.measurement(len(clip.frames))


def read_ours_silent(path: Path, count: int) -> Measurement:
    return read_ours(path, count, sound=False)


def read_ours_full(path: Path, count: int) -> Measurement:
    from omni_timeline.media.files import MediaFile
    from omni_timeline.media.frames import read_frames
    from omni_timeline.media.index import index_by_demuxing
    from omni_timeline.media.limits import DecodeLimits

    watch = Stopwatch()
    for _, frame, _ in read_frames(
        index_by_demuxing(MediaFile.open(path, DecodeLimits()), DecodeLimits()), wanted(path, count)
    ):
        watch.see(frame.to_ndarray(format="rgb24").data)
    return watch.measurement()


def read_torchcodec(path: Path, count: int) -> Measurement:
    from torchcodec.decoders import VideoDecoder

    watch = Stopwatch()
    decoder = VideoDecoder(str(path), seek_mode="exact", dimension_order="NHWC")
    numbers = wanted(path, count)
    for first in range(0, len(numbers), 10):  # a batch is one tensor: all 600 at once would be 1.7 GB
        for picture in decoder.get_frames_at(numbers[first : first + 10]).data:
            watch.see(picture.numpy().data)
    return watch.measurement()


def read_full(path: Path, count: int) -> Measurement:
    import av

    watch = Stopwatch()
    numbers = set(wanted(path, count))
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in numbers:
                watch.see(frame.to_ndarray(format="rgb24").data)
    return watch.measurement()


def read_qwen(path: Path, count: int, *, options: dict[str, int] | None = None) -> Measurement:
    from qwen_omni_utils import process_mm_info

    conversation = [{"role": "user", "content": [{"type": "video", "video": str(path), **(options or {})}]}]
    watch = Stopwatch()
    _, _, videos = process_mm_info(conversation, use_audio_in_video=True)
    return watch.measurement(len(videos[0]))


def read_qwen_count(path: Path, count: int) -> Measurement:
    return read_qwen(path, count, options={"nframes": count})


READERS: dict[str, Callable[[Path, int], Measurement]] = {
    "ours": read_ours,
    "ours-silent": read_ours_silent,
    "ours-full": read_ours_full,
    "torchcodec": read_torchcodec,
    "full": read_full,
    "qwen": read_qwen,
    "qwen-50": read_qwen_count,
}
NAMES = {
    "ours": "omni-timeline, 448 across, with sound",
    "ours-silent": "omni-timeline, 448 across",
    "ours-full": "omni-timeline, full size",
    "torchcodec": "torchcodec, full size",
    "full": "PyAV, everything decoded, full size",
    "qwen": "process_mm_info, default, with sound",
    "qwen-50": "process_mm_info, nframes=50, with sound",
}
MODULES = {
    "ours": ["omni_timeline.media.video"],
    "torchcodec": ["torchcodec.decoders"],
    "full": ["av", "numpy"],
    "qwen": ["qwen_omni_utils", "torchcodec.decoders", "librosa.core.audio", "librosa.util.utils", "soxr"],
}
ON_FRAMES_ALONE = ["ours-silent", "ours-full", "torchcodec", "full"]


def make_videos(folder: Path, names: Iterable[str]) -> None:
    """The test videos that are not there yet; the long ones are the short one over and over."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path, part = folder / f"{name}.mp4", folder / f"{name}.part.mp4"
        if path.exists():
            continue
        print(f"making {path} …", file=sys.stderr)
        if name != "short":
            make_videos(folder, ["short"])
            again = str(VIDEOS[name] // VIDEOS["short"] - 1)
            source = ["-stream_loop", again, "-i", str(folder / "short.mp4"), "-c", "copy"]
        else:
            picture = f"testsrc2=size=1280x720:rate={FPS}:duration={VIDEOS[name]},noise=alls=8:allf=t"
            tone = f"sine=frequency=440:beep_factor=3:duration={VIDEOS[name]}"
            coding = ["-c:v", "libx264", "-preset", "veryfast", "-g", "120", "-b:v", "3M", "-pix_fmt", "yuv420p"]
            source = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone, *coding, "-c:a", "aac", "-ar", "48000"]
        subprocess.run(["ffmpeg", "-v", "error", "-y", *source, "-movflags", "+faststart", str(part)], check=True)
        part.rename(path)


def measure(reader: str, path: Path, count: int) -> Measurement:
    """One reading in a process of its own."""
    command = [sys.executable, __file__, "--child", reader, str(path), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{reader} failed on {path.name}:\n{done.stderr}")
    return Measurement(**json.loads(done.stdout.splitlines()[-1]))


def rows(results: dict[str, list[Measurement]]) -> Iterator[list[str]]:
    """One row a reader; the factors are those of the first reader, "×3.0" for three times as much."""
    seconds = {reader: median(m.seconds for m in found) for reader, found in results.items()}
    memory = {reader: median(m.mebibytes for m in found) for reader, found in results.items()}
    first = next(iter(results))
    for reader, found in results.items():
        yield [
            NAMES[reader],
            str(found[0].frames),
            f"{seconds[reader]:.2f}",
            f"×{seconds[reader] / seconds[first]:.1f}",
            f"{median(m.cpu for m in found):.2f}",
            f"{memory[reader]:.0f}",
            f"×{memory[reader] / memory[first]:.1f}",
            found[0].digest or "",
        ]


def table(lines: Iterable[list[str]]) -> str:
    head = ["reader", "frames", "seconds", "", "CPU seconds", "peak MiB", "", "hash of the frames"]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a 40 s video instead of all tasks, once")
    parser.add_argument("--tasks", nargs="+", choices=sorted(TASKS), default=["sparse", "sparse-hour", "dense"])
    parser.add_argument("--readers", nargs="+", choices=list(READERS), default=list(READERS))
    parser.add_argument("--repeats", type=int, default=3, help="readings of each; the median is shown (default: 3)")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "output", help="where the videos are kept"
    )
    parser.add_argument("--child", nargs=3, metavar=("READER", "VIDEO", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        reader, path, count = options.child
        warm_up(reader)
        print(json.dumps(asdict(READERS[reader](Path(path), int(count)))))
        return
    tasks = ["quick"] if options.quick else options.tasks
    make_videos(options.output, [TASKS[task][0] for task in tasks])
    for task in tasks:
        video, count = TASKS[task]
        readers = [r for r in READERS if r in options.readers and (task != "dense" or r in ON_FRAMES_ALONE)]
        results: dict[str, list[Measurement]] = {reader: [] for reader in readers}
        for _ in range(1 if options.quick else options.repeats):
            for reader in readers:
                results[reader].append(measure(reader, options.output / f"{video}.mp4", count))
        print(
            f"\n**{task}**: {count} frames of {VIDEOS[video]} s, 1280x720 at {FPS} fps\n\n{table(rows(results))}",
            flush=True,
        )
        digests = {m.digest for found in results.values() for m in found if m.digest}
        if len(digests) > 1:
            raise SystemExit(f"the readers disagree about the frames: {sorted(digests)}")


def warm_up(reader: str) -> None:
    """Import what the reader needs, so that neither its time nor its memory is counted."""
    for module in MODULES[reader.partition("-")[0]]:
        importlib.import_module(module)


if __name__ == "__main__":
    main()
