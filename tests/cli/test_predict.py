"""`predict` on the bundled checkpoint and real files. What the checkpoint says is not judged here."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from command_line import run

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


def test_jsonl_is_one_object_a_line(capsys: pytest.CaptureFixture[str], silent_video: Path, sounding_video: Path):
    code, out, err = run(capsys, "predict", silent_video, sounding_video, "--format", "jsonl")
    first, second = map(json.loads, out.splitlines())
    assert (code, err) == (0, "")
    assert first["video"] == str(silent_video)
    for found in (first, second):
        assert list(found) == ["video", "duration", "model_version", "segments", "windows", "in_shorter", "warnings"]
        assert found["duration"] == pytest.approx(8.0, abs=0.15)
        assert found["model_version"].startswith("demo-")
        for segment in found["segments"]:
            assert list(segment) == ["start", "end", "label", "text", "score", "looks"]
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
    capsys: pytest.CaptureFixture[str], silent_video: Path, tmp_path: Path
):
    video = tmp_path / "clip.mp4"
    video.symlink_to(silent_video)
    truth = {"events": [{"start": 1.5, "end": 2.25, "label": "a swallow"}]}
    video.with_suffix(".json").write_text(json.dumps(truth))
    code, out, _ = run(capsys, "predict", video, "--truth")
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


@pytest.mark.parametrize("kind", ["csv", "srt", "jsonl"])
def test_a_choice_of_sound_tracks_is_said_in_every_format_once(
    capsys: pytest.CaptureFixture[str], two_sounds: Path, kind: str
):
    code, out, err = run(capsys, "predict", two_sounds, "--format", kind)
    assert code == 0
    assert (out + err).count("two.mkv has 2 audio tracks; number 1 is heard") == 1
    assert ("audio tracks" in out) == (kind == "jsonl")
    assert run(capsys, "predict", two_sounds, "--format", kind, "--audio-track", "2")[2] == ""


def test_videos_of_one_name_in_two_folders_are_two_addresses(
    capsys: pytest.CaptureFixture[str], silent_video: Path, label_config: Path, tmp_path: Path
):
    days = [tmp_path / "day 1" / "clip.mp4", tmp_path / "day2" / "clip.mp4"]
    for day in days:
        day.parent.mkdir()
        day.symlink_to(silent_video)
    code, out, _ = run(capsys, "predict", *days, "--format", "label-studio", "--label-config", label_config)
    assert code == 0
    assert [task["data"]["clip"] for task in json.loads(out)] == [
        "/data/local-files/?d=day%201/clip.mp4",
        "/data/local-files/?d=day2/clip.mp4",
    ]


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
