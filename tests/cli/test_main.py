"""The command line on the bundled checkpoint and real files. What the checkpoint says is not judged here."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from omni_timeline import __version__
from omni_timeline.cli.main import main
from omni_timeline.media.video import load_clip

CONFIG = """
<View>
  <Video name="video" value="$clip"/>
  <TimelineLabels name="events" toName="video"><Label value="Event"/></TimelineLabels>
  <TextArea name="description" toName="video" perRegion="true"/>
</View>
"""


@pytest.fixture
def label_config(tmp_path: Path) -> Path:
    file = tmp_path / "label_config.xml"
    file.write_text(CONFIG)
    return file


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    try:
        code = main([str(argument) for argument in argv])
    except SystemExit as end:  # argparse
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_jsonl_is_one_object_a_line(capsys: pytest.CaptureFixture[str], silent_video: Path, sounding_video: Path):
    code, out, err = run(capsys, "predict", silent_video, sounding_video, "--format", "jsonl")
    first, second = map(json.loads, out.splitlines())
    assert (code, err) == (0, "")
    assert first["video"] == str(silent_video)
    for found in (first, second):
        assert list(found) == ["video", "duration", "model_version", "segments", "warnings"]
        assert found["duration"] == pytest.approx(8.0, abs=0.15)
        assert found["model_version"].startswith("demo-")
        for segment in found["segments"]:
            assert list(segment) == ["start", "end", "label", "text", "score"]
            assert 0 <= segment["start"] < segment["end"] <= found["duration"]


def test_a_video_that_fails_gets_an_error_and_the_rest_go_on(
    capsys: pytest.CaptureFixture[str], silent_video: Path, tmp_path: Path
):
    text = tmp_path / "notes.mp4"
    text.write_text("this is not a video")
    code, out, err = run(capsys, "predict", tmp_path / "missing.mp4", text, silent_video, "--format", "jsonl")
    missing, broken, fine = map(json.loads, out.splitlines())
    assert code == 1
    assert list(missing) == list(broken) == ["video", "error"]
    assert "segments" in fine
    complaints = err.splitlines()
    assert len(complaints) == 2
    assert all(line.startswith("omni-timeline: error: ") for line in complaints)
    assert "missing.mp4" in complaints[0]


def test_predict_prints_a_table(capsys: pytest.CaptureFixture[str], silent_video: Path):
    code, out, _ = run(capsys, "predict", silent_video)
    assert code == 0
    assert re.match(rf"{re.escape(str(silent_video))}  \d\.\d\d s  demo-", out)


def test_the_truth_beside_the_video_is_shown_beside_the_prediction(
    capsys: pytest.CaptureFixture[str], silent_video: Path
):
    truth = silent_video.with_suffix(".json")
    truth.write_text(json.dumps({"events": [{"start": 1.5, "end": 2.25, "label": "a swallow"}]}))
    code, out, _ = run(capsys, "predict", silent_video, "--truth")
    assert code == 0
    assert re.search(r"1\.50 +2\.25 +a swallow", out)


def test_predict_draws_the_timeline(capsys: pytest.CaptureFixture[str], silent_video: Path, tmp_path: Path):
    picture = tmp_path / "new folder" / "timeline.png"
    assert run(capsys, "predict", silent_video, "--timeline", picture)[0] == 0
    assert Image.open(picture).width == 1600


def test_predict_writes_what_label_studio_imports(
    capsys: pytest.CaptureFixture[str], samples: list[Path], label_config: Path, tmp_path: Path
):
    argv = ["predict", *samples, tmp_path / "no such.mp4", "--label-config", label_config]
    code, written, _ = run(capsys, *argv, "--format", "label-studio")
    _, out, _ = run(capsys, *argv, "--format", "json")
    tasks, printed = json.loads(written), json.loads(out)
    assert code == 1
    assert [task["data"] for task in tasks] == [{"clip": f"/data/local-files/?d={video.name}"} for video in samples]
    assert "error" in printed[-1]
    for task, found in zip(tasks, printed, strict=False):
        [prediction] = task["predictions"]
        assert prediction["model_version"] == found["model_version"]
        regions = [result for result in prediction["result"] if result["type"] == "timelinelabels"]
        assert len(regions) == len(found["segments"])
        assert {label for region in regions for label in region["value"]["timelinelabels"]} <= {"Event"}
        assert {segment["label"] for segment in found["segments"]} <= {"Event"}


def test_the_address_of_videos_can_be_anything(
    capsys: pytest.CaptureFixture[str], silent_video: Path, label_config: Path, tmp_path: Path
):
    spaced = tmp_path / "a clip & more.mp4"
    spaced.write_bytes(silent_video.read_bytes())
    file = tmp_path / "new folder" / "import.json"
    options = ["--label-config", label_config, "--video-url", "https://example.org/v/", "--output", file]
    assert run(capsys, "predict", spaced, "--format", "label-studio", *options) == (0, "", "")
    [task] = json.loads(file.read_text())
    assert task["data"]["clip"] == "https://example.org/v/a%20clip%20%26%20more.mp4"


@pytest.mark.parametrize("kind", ["vtt", "srt", "eaf"])
def test_formats_about_one_video_make_a_file_for_each(
    capsys: pytest.CaptureFixture[str], silent_video: Path, sounding_video: Path, tmp_path: Path, kind: str
):
    folder = tmp_path / "new" / "folder"
    argv = ["predict", silent_video, sounding_video, "--format", kind, "--output", folder]
    assert run(capsys, *argv) == (0, "", "")
    assert sorted(file.name for file in folder.iterdir()) == [f"silent.{kind}", f"sounding.{kind}"]
    code, out, _ = run(capsys, "predict", silent_video, "--format", kind)
    assert code == 0
    if kind != "eaf":  # has its date and its place in it
        assert out == (folder / f"silent.{kind}").read_text()


def test_nothing_but_the_format_comes_out(
    capsys: pytest.CaptureFixture[str], silent_video: Path, sounding_video: Path, tmp_path: Path
):
    page = tmp_path / "page.html"
    code, out, err = run(capsys, "predict", silent_video, sounding_video, "--format", "csv", "--view", page)
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(out.splitlines()))
    assert {row["video"] for row in rows} <= {str(silent_video), str(sounding_video)}
    assert all(0 <= float(row["start"]) < float(row["end"]) for row in rows)
    assert page.read_text().startswith("<!doctype html>")


def test_labels_and_prompt_change_the_version(capsys: pytest.CaptureFixture[str], silent_video: Path, tmp_path: Path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Which shapes are there, and when?")
    versions = set()
    for options in ([], ["--labels", "red square, low tone"], ["--prompt", prompt], ["--frames", 20]):
        code, out, _ = run(capsys, "predict", silent_video, "--format", "jsonl", *options)
        assert code == 0
        versions.add(json.loads(out)["model_version"])
    assert len(versions) == 4


def test_inspect_json_says_what_the_model_is_given(capsys: pytest.CaptureFixture[str], sounding_video: Path):
    code, out, _ = run(capsys, "inspect", sounding_video, "--json", "--frames", "12")
    report = json.loads(out)
    [window] = report["windows"]
    assert code == 0
    assert list(report) == [
        "video", "duration", "fps", "has_audio", "start_time", "frames_per_grid", "windows", "system_prompt", "prompt",
    ]  # fmt: skip
    assert list(window) == [
        "start", "end", "frame_seconds", "second_per_grid", "grid_seconds", "audio_tokens", "video_tokens",
        "prompt_tokens",
    ]  # fmt: skip
    assert window["frame_seconds"] == list(load_clip(sounding_video, frames=12).times.seconds)
    assert len(window["grid_seconds"]) == 6


def test_inspect_prints_a_line_for_every_grid(capsys: pytest.CaptureFixture[str], silent_video: Path):
    code, out, _ = run(capsys, "inspect", silent_video, "--frames", "12")
    assert code == 0
    assert len(re.findall(r"^ +\d+  \d+\.\d{3} \d+\.\d{3}  +\d+\.\d{3}$", out, re.MULTILINE)) == 6


def test_inspect_writes_exactly_the_frames_and_the_sound(
    capsys: pytest.CaptureFixture[str], sounding_video: Path, tmp_path: Path
):
    sheet, sound = tmp_path / "sheet.png", tmp_path / "sound.wav"
    assert run(capsys, "inspect", sounding_video, "--sheet", sheet, "--audio", sound)[0] == 0
    assert Image.open(sheet).width > 1000
    heard, rate = soundfile.read(sound, dtype="float32")
    clip = load_clip(sounding_video)
    assert rate == 16_000
    assert clip.audio is not None
    assert np.array_equal(heard, clip.audio)


def test_a_silent_video_has_no_sound_to_write(capsys: pytest.CaptureFixture[str], silent_video: Path, tmp_path: Path):
    code, _, err = run(capsys, "inspect", silent_video, "--audio", tmp_path / "sound.wav")
    assert code == 1
    assert err.startswith("omni-timeline: error: ")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["predict"],
        ["predict", "a.mp4", "--remap", "guess"],
        ["predict", "a.mp4", "--frames", "0"],
        ["predict", "a.mp4", "--frames", "some"],
        ["predict", "a.mp4", "--labels", " , "],
        ["predict", "a.mp4", "--prompt", "no such file.txt"],
        ["predict", "a.mp4", "--label-config", "no such file.xml"],
        ["predict", "a.mp4", "--format", "label-studio"],
        ["predict", "a.mp4", "--timeline", "timeline.jpg"],
        ["predict", "a.mp4", "--view", "page.mp4"],
        ["predict", "a.mp4", "--embed"],
        ["predict", "--output", "a.mp4", "b.mp4"],
        ["predict", "a.mp4", "b.mp4", "--format", "vtt"],
        ["predict", "a/clip.mp4", "b/clip.mp4", "--format", "srt", "--output", "captions"],
        ["predict", "a.mp4", "b.mp4", "--format", "eaf", "--output", __file__],
        ["predict", "no such video.mp4", "--truth"],
        ["inspect", "a.mp4", "b.mp4"],
    ],
    ids=" ".join,
)
def test_a_command_that_is_not_right_ends_with_2_and_a_reason(capsys: pytest.CaptureFixture[str], argv: list[str]):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert "omni-timeline" in err
    assert "Traceback" not in err


def test_a_labeling_config_without_a_timeline_is_refused_before_the_model_loads(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    file = tmp_path / "config.xml"
    file.write_text('<View><Video name="v" value="$v"/></View>')
    code, _, err = run(capsys, "predict", "a.mp4", "--label-config", file, "--model", "/no/such/checkpoint")
    assert code == 2
    assert "TimelineLabels" in err


def test_a_checkpoint_that_is_not_there_is_one_line_with_the_way_out(
    capsys: pytest.CaptureFixture[str], silent_video: Path
):
    code, out, err = run(capsys, "predict", silent_video, "--model", "/no/such/checkpoint")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "demo" in err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]):
    assert run(capsys, "--version") == (0, f"omni-timeline {__version__}\n", "")


def test_help_teaches_by_example_and_loads_nothing_heavy():
    script = (
        "import sys; from omni_timeline.cli.main import main\n"
        "try: main(['predict', '--help'])\n"
        "finally: print({'torch', 'transformers', 'av', 'flask', 'numpy', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "examples:" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_file_that_cannot_be_written_is_one_line(
    capsys: pytest.CaptureFixture[str], silent_video: Path, tmp_path: Path
):
    taken = tmp_path / "timeline.png"
    taken.mkdir()
    code, out, err = run(capsys, "predict", silent_video, "--format", "jsonl", "--timeline", taken)
    assert code == 1
    assert len(out.splitlines()) == 1  # what was predicted is not lost
    assert re.fullmatch(r"omni-timeline: error: .*timeline\.png.*\n", err)


def test_a_reader_that_leaves_early_causes_no_traceback(silent_video: Path):
    command = f"{sys.executable} -m omni_timeline inspect --json {silent_video} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
