"""Where the output of `predict` goes: stdout, one file, or a folder with a file for each video."""

from __future__ import annotations

import mimetypes
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from omni_timeline.cli.files import write_text
from omni_timeline.cli.terminal import shown_lines
from omni_timeline.errors import RequestError
from omni_timeline.export.formats import Writer, WriterOptions
from omni_timeline.pipeline.prediction import Failure, Prediction

STDOUT = "-"
WriteResults = Callable[[Iterable[Prediction | Failure]], None]


@contextmanager
def open_output(
    output: str, videos: Sequence[Path], writer: type[Writer], options: WriterOptions
) -> Iterator[WriteResults]:
    """A function that writes results as they come. Whether the output can be written is known before the work begins.

    Args:
        output: a file, a folder, or STDOUT.
        videos: the videos that results will come for.
        writer: the writer of the format.
        options: for the writer; the folder follows from `output`.

    Raises:
        RequestError: these videos cannot be written to this output, or the writer lacks an option.
    """
    if writer.is_file_per_video and (len(videos) > 1 or _is_folder(output)):
        folder = Path(output)
        files = _file_of_each(output, videos, writer)
        folder.mkdir(parents=True, exist_ok=True)

        def write_files(results: Iterable[Prediction | Failure]) -> None:
            for result in results:
                if isinstance(result, Prediction):
                    pieces = writer(replace(options, folder=folder)).write([result])
                    write_text(files[result.path], "".join(pieces))

        yield write_files
    elif output == STDOUT:
        one = writer(options)
        yield lambda results: _print_all(one.write(results))
    else:
        file = Path(output)
        one = writer(replace(options, folder=file.parent))
        if (mimetypes.guess_type(output)[0] or "").startswith("video/"):  # `--output a.mp4 b.mp4` would overwrite it
            raise RequestError(f"--output {output} is the name of a video: name the file to write")
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding=writer.encoding, errors="surrogateescape", newline="", buffering=1) as opened:
            yield lambda results: opened.writelines(one.write(results))


def _file_of_each(output: str, videos: Sequence[Path], writer: type[Writer]) -> dict[Path, Path]:
    """The file of each video in the folder `output`."""
    if output == STDOUT or (Path(output).exists() and not Path(output).is_dir()):
        raise RequestError(f"--format {writer.name} writes a file for each video: name a folder for them with --output")
    files = {video: Path(output) / f"{video.stem}{writer.extension}" for video in videos}
    for file in files.values():
        if (clashing := [str(video) for video in videos if files[video] == file])[1:]:
            raise RequestError(f"{' and '.join(clashing)} would both be written to {file}: predict them apart")
    return files


def _is_folder(output: str) -> bool:
    return output.endswith("/") or Path(output).is_dir()


def _print_all(pieces: Iterable[str]) -> None:
    shown = shown_lines if sys.stdout.isatty() else str  # a name with a control sequence must not reach a terminal
    for piece in pieces:
        print(shown(piece), end="", flush=True)
