"""Where the output goes, and that a new format is one class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import run
from omni_timeline.cli.output import open_output
from omni_timeline.errors import MediaError, RequestError
from omni_timeline.export.formats import FORMATS, Writer, WriterOptions
from omni_timeline.pipeline.prediction import Failure, Prediction
from omni_timeline.segments import Segment

VIDEOS = [Path("clips/a.mp4"), Path("clips/b.mp4")]
PREDICTIONS = [Prediction(video, 10.0, (Segment(1.0, 2.0, "tone"),), "demo-1-2", "") for video in VIDEOS]


@pytest.fixture
def tsv() -> Iterator[type[Writer]]:
    """A format that is known during one test: columns, in a file for each video, with the place of that file."""

    class TsvWriter(Writer):
        name = "tsv"
        extension = ".tab"
        summary = "columns with tabs between them"
        is_file_per_video = True

        def begin(self) -> str:
            return f"{self.options.folder.name}\n"

        def add(self, prediction: Prediction) -> str:
            return "".join(f"{segment.start}\t{segment.label}\n" for segment in prediction.segments)

        def end(self) -> str:
            return "end\n"

    yield TsvWriter
    del FORMATS["tsv"]


def test_a_new_format_is_one_class(
    capsys: pytest.CaptureFixture[str], tsv: type[Writer], silent_video: Path, sounding_video: Path, tmp_path: Path
):
    code, out, _ = run(capsys, "predict", "--help")
    assert code == 0
    assert "tsv: columns with tabs between them" in " ".join(out.split())
    assert "srt, eaf, tsv)" in " ".join(out.split())
    folder = tmp_path / "tables"
    assert run(capsys, "predict", silent_video, sounding_video, "--format", "tsv", "--output", folder) == (0, "", "")
    assert sorted(file.name for file in folder.iterdir()) == ["silent.tab", "sounding.tab"]
    text = (folder / "silent.tab").read_text()
    assert text.startswith("tables\n")
    assert text.endswith("end\n")
    assert run(capsys, "predict", silent_video, "--format", "tsv") == (0, text.replace("tables\n", "\n"), "")
    code, _, err = run(capsys, "predict", silent_video, sounding_video, "--format", "tsv")
    assert code == 2
    assert "--format tsv writes a file for each video" in err


def test_a_folder_gets_the_files_of_the_videos_that_were_predicted(tsv: type[Writer], tmp_path: Path):
    folder = tmp_path / "new" / "folder"
    with open_output(str(folder), VIDEOS, tsv, WriterOptions()) as write:
        write([Failure(VIDEOS[0], MediaError("not a video")), PREDICTIONS[1]])
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"b.tab": "folder\n1.0\ttone\nend\n"}


def test_one_file_holds_all_videos_and_its_folder_is_made(tmp_path: Path):
    file = tmp_path / "new" / "events.csv"
    with open_output(str(file), VIDEOS, FORMATS["csv"], WriterOptions()) as write:
        write(PREDICTIONS)
    assert file.read_text().splitlines()[1:] == ["clips/a.mp4,1.0,2.0,tone,,,", "clips/b.mp4,1.0,2.0,tone,,,"]
    assert file.read_bytes().startswith(b"\xef\xbb\xbfvideo,start")  # else Excel takes it for another encoding


def test_a_file_grows_while_the_videos_are_worked_on(tmp_path: Path):
    file = tmp_path / "events.jsonl"
    lines = []

    def results() -> Iterator[Prediction]:
        for prediction in PREDICTIONS:
            lines.append(len(file.read_text().splitlines()))
            yield prediction

    with open_output(str(file), VIDEOS, FORMATS["jsonl"], WriterOptions()) as write:
        write(results())
    assert lines == [0, 1]


@pytest.mark.parametrize(
    ("name", "output", "videos", "reason"),
    [
        ("vtt", "-", ["a.mp4", "b.mp4"], "name a folder"),
        ("vtt", __file__, ["a.mp4", "b.mp4"], "name a folder"),
        ("srt", "captions", ["a/clip.mp4", "b/clip.mp4"], "a/clip.mp4 and b/clip.mp4 would both be written"),
        ("table", "a.mp4", ["b.mp4"], "is the name of a video"),
        ("label-studio", "-", ["a.mp4"], "--label-config"),
    ],
)
def test_an_impossible_output_is_refused_before_the_work_begins(
    name: str, output: str, videos: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(RequestError, match=reason),
        open_output(output, [Path(video) for video in videos], FORMATS[name], WriterOptions()),
    ):
        pytest.fail("the output was opened")
    assert list(tmp_path.iterdir()) == []
