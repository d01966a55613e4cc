"""What the operator's environment variables may say."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from omni_timeline.errors import RequestError
from omni_timeline.model import devices
from omni_timeline.processes import SECRETS
from omni_timeline.service import settings as module
from omni_timeline.service.settings import Row, Settings, rows
from omni_timeline.service.settings_docs import TEXTS, with_text
from places import ROOT

BY_VARIABLE = {row.variable: row for row in rows()}
HERE = str(Path(__file__).parent)

# Of each variable: a text, and what it means.
MEANT: dict[str, tuple[str, Any]] = {
    "LABEL_STUDIO_URL": ("http://label-studio:8080/", "http://label-studio:8080"),
    "LABEL_STUDIO_API_KEY": ("secret", "secret"),
    "LABEL_STUDIO_HOST": ("https://example.org/labelstudio/", "https://example.org/labelstudio"),
    "PREDICT_DEADLINE_SECONDS": ("12.5", 12.5),
    "PRELABEL_NEW_TASKS": ("1", True),
    "BASIC_AUTH_USER": ("label-studio", "label-studio"),
    "BASIC_AUTH_PASSWORD": ("a: b", "a: b"),
    "WEBHOOK_SECRET": ("s3cret", "s3cret"),
    "MODEL": ("Qwen/Qwen2.5-Omni-3B", "Qwen/Qwen2.5-Omni-3B"),
    "HUB": ("modelscope", "modelscope"),
    "DEVICE": ("cuda:0, cuda:1", ("cuda:0", "cuda:1")),
    "QUANTIZATION": ("nf4", "nf4"),
    "MODEL_SILENCE_SECONDS": ("90", 90.0),
    "DECODERS": ("3", 3),
    "CLIP_MEMORY_BYTES": ("134217728", 128 * 1024**2),
    "DTYPE": ("bfloat16", "bfloat16"),
    "FRAMES": ("24", 24),
    "WINDOW_SECONDS": ("30", 30.0),
    "MAX_LOOKS": ("2.5", 2.5),
    "REFINE": ("yes", True),
    "CONSTRAINED": ("off", False),
    "SCORE_THRESHOLD": ("0.25", 0.25),
    "PROMPT_FILE": ("/prompt.txt", Path("/prompt.txt")),
    "MAX_PIXELS": ("100352", 100_352),
    "AUDIO_TRACK": ("2", 2),
    "MAX_NEW_TOKENS": ("64", 64),
    "LEARN_AFTER": ("25", 25),
    "LEARN_EVERY_SECONDS": ("60", 60.0),
    "LEARNING_DEVICE": ("cuda:1", "cuda:1"),
    "LEARNING_MAX_SECONDS": ("600", 600.0),
    "LEARNING_MEMORY_BYTES": ("1073741824", 1024**3),
    "LOCAL_FILES_ROOT": (HERE, Path(HERE)),
    "ALLOWED_VIDEO_HOSTS": ("minio:9000, *.example.org,", ("minio:9000", "*.example.org")),
    "ALLOW_PUBLIC_VIDEO_HOSTS": ("TRUE", True),
    "MAX_VIDEO_BYTES": ("2000", 2000),
    "MAX_VIDEO_PIXELS": ("1_000_000", 1_000_000),
    "MAX_VIDEO_FRAMES": ("100", 100),
    "MAX_VIDEO_SECONDS": ("0.5", 0.5),
    "MAX_VIDEO_STREAMS": ("2", 2),
    "DECODE_SECONDS": ("7", 7.0),
    "DECODE_MEMORY_BYTES": ("1073741824", 1024**3),
    "VIDEOS_PER_DECODER": ("1", 1),
    "CACHE_DIR": ("/var/cache/videos", Path("/var/cache/videos")),
    "CACHE_BYTES": ("0", 0),
    "PREDICTION_CACHE_BYTES": ("0", 0),
    "BIND": ("0.0.0.0", "0.0.0.0"),
    "PORT": (" 8000 ", 8000),
    "LOG_LEVEL": ("debug", "DEBUG"),
}


def test_an_empty_environment_gives_the_bundled_demo_on_this_machine_only():
    settings = Settings.from_env({})
    assert (settings.model, settings.bind, settings.port, settings.frames) == ("demo", "127.0.0.1", 9090, 50)
    assert settings == Settings()


def test_an_empty_variable_counts_as_missing():
    """docker compose passes `MODEL=` for a variable that is not set on the host."""
    assert Settings.from_env(dict.fromkeys(BY_VARIABLE, " ")) == Settings()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.variable)
def test_every_variable_is_read(row: Row):
    value = MEANT[row.variable][1]
    together = ("BASIC_AUTH_USER", "BASIC_AUTH_PASSWORD")  # one of them alone is refused
    environ = {name: MEANT[name][0] for name in (together if row.variable in together else (row.variable,))}
    assert getattr(Settings.from_env(environ), row.name) == value != row.default


@pytest.mark.parametrize(
    "row", [row for row in rows() if isinstance(MEANT[row.variable][1], int | float)], ids=lambda row: row.variable
)
def test_every_number_is_bounded(row: Row):
    if isinstance(row.default, bool):
        assert row.kind.words == "1 or 0"
        return
    for value in (1e12, math.inf, -1.0, -math.inf, math.nan) if "." in str(row.default) else (10**18, -1):
        with pytest.raises(RequestError, match=row.variable):
            Settings.from_env({row.variable: str(value)})
        with pytest.raises(RequestError, match=row.variable):
            Settings(**{row.name: value})


@pytest.mark.parametrize(
    ("written", "seconds"), [("whole", None), ("Whole", None), ("12.5", 12.5), ("Auto", "auto"), ("", "auto")]
)
def test_a_window_is_auto_or_a_number_of_seconds_or_the_whole_video(written: str, seconds: float | str | None):
    assert Settings.from_env({"WINDOW_SECONDS": written}).window_seconds == seconds


def test_zero_pixels_leave_the_size_of_frames_to_the_checkpoint():
    assert Settings.from_env({"MAX_PIXELS": "0"}).max_pixels is None


@pytest.mark.parametrize(("written", "track"), [("1", 1), ("All", "all"), ("", None)])
def test_a_sound_track_is_a_number_or_all_together(written: str, track: int | str | None):
    assert Settings.from_env({"AUDIO_TRACK": written}).audio_track == track


def test_label_studios_own_name_for_the_document_root_is_understood(tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    own_name = {"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(tmp_path)}
    assert Settings.from_env(own_name).local_files_root == tmp_path
    assert Settings.from_env({**own_name, "LOCAL_FILES_ROOT": str(other)}).local_files_root == other
    assert Settings.from_env({**own_name, "LOCAL_FILES_ROOT": " "}).local_files_root == tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEVICE", "cuda:0,,cuda:1"),
        ("DEVICE", "the big one"),
        ("QUANTIZATION", "4"),
        ("FRAMES", "many"),
        ("FRAMES", "0"),
        ("FRAMES", "2.5"),
        ("FRAMES", "769"),
        ("MAX_PIXELS", "-1"),
        ("AUDIO_TRACK", "0"),
        ("AUDIO_TRACK", "second"),
        ("MAX_NEW_TOKENS", "0"),
        ("WINDOW_SECONDS", "1"),
        ("WINDOW_SECONDS", "inf"),
        ("WINDOW_SECONDS", "all"),
        ("MAX_LOOKS", "0.5"),
        ("SCORE_THRESHOLD", "1.1"),
        ("SCORE_THRESHOLD", "nan"),
        ("REFINE", "maybe"),
        ("CONSTRAINED", "2"),
        ("PREDICTION_CACHE_BYTES", "-1"),
        ("BASIC_AUTH_USER", "alone"),
        ("BASIC_AUTH_USER", "with:colon"),
        ("BASIC_AUTH_PASSWORD", "alone"),
        ("WEBHOOK_SECRET", "geheim-ß"),
        ("CACHE_BYTES", "-1"),
        ("MAX_VIDEO_BYTES", "4 GB"),
        ("PREDICT_DEADLINE_SECONDS", "0"),
        ("PREDICT_DEADLINE_SECONDS", "nan"),
        ("PREDICT_DEADLINE_SECONDS", "inf"),
        ("PREDICT_DEADLINE_SECONDS", "1e12"),  # Python cannot wait so long: each /predict was a 500
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("HUB", "github"),
        ("DTYPE", "int8"),
        ("LOG_LEVEL", "loud"),
        ("LABEL_STUDIO_URL", "label-studio:8080"),
        ("LABEL_STUDIO_URL", "ftp://label-studio"),
        ("LABEL_STUDIO_URL", "http://"),
        ("LABEL_STUDIO_URL", "http://user:word@label-studio"),
        ("LABEL_STUDIO_URL", "http://[::1"),
        ("LABEL_STUDIO_URL", "http://label-studio:99999"),
        ("LABEL_STUDIO_API_KEY", "two words"),
        ("LABEL_STUDIO_API_KEY", "two\nlines"),
        ("LOCAL_FILES_ROOT", "/does/not/exist"),
        ("LOCAL_FILES_ROOT", "relative"),
        ("LOCAL_FILES_ROOT", "/"),
        ("LOCAL_FILES_ROOT", "//"),
        ("ALLOWED_VIDEO_HOSTS", "https://example.org"),
        ("ALLOWED_VIDEO_HOSTS", "*"),
    ],
)
def test_an_invalid_value_is_refused_by_the_variables_name(name: str, value: str):
    with pytest.raises(RequestError, match=name):
        Settings.from_env({name: value})


def test_a_refusal_shows_the_value_and_what_it_must_be():
    with pytest.raises(RequestError) as refusal:
        Settings.from_env({"FRAMES": "x"})
    assert str(refusal.value) == 'FRAMES="x" is invalid: must be a whole number from 1 to 768.'


# --- secrets ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("row", [row for row in rows() if row.secret], ids=lambda row: row.variable)
def test_a_secret_shows_neither_in_the_settings_text_nor_in_the_error_about_it(row: Row):
    user = {"basic_auth_user": "label-studio"} if row.name == "basic_auth_password" else {}
    assert "hush" not in repr(Settings(**{row.name: "hush", **user}))
    if row.name != "basic_auth_password":  # which may be anything
        with pytest.raises(RequestError) as refusal:
            Settings(**{row.name: "hush ß"})
        assert "hush" not in str(refusal.value)


def test_a_password_in_an_address_is_not_shown():
    with pytest.raises(RequestError) as refusal:
        Settings.from_env({"LABEL_STUDIO_URL": "http://user:hush@label-studio"})
    assert "hush" not in str(refusal.value)


def test_the_models_process_is_not_given_the_secrets():
    assert {row.variable for row in rows() if row.secret} == set(SECRETS)


# --- what is said elsewhere as well ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", TEXTS)
def test_the_texts_for_people_are_those_of_the_table(name: str):
    """`python -m omni_timeline.service.settings_docs` rewrites them."""
    page = (ROOT / name).read_text(encoding="utf-8")
    assert page.splitlines() == with_text(page, TEXTS[name]()).splitlines()


def test_a_text_is_replaced_between_its_markers_only():
    page = "before\n<!-- written by `python -m omni_timeline.service.settings_docs` -->\nold\n" + (
        "<!-- end of what is written by it -->\nafter\n"
    )
    assert with_text(page, "new") == page.replace("old", "new")
    with pytest.raises(ValueError, match="markers"):
        with_text("before\nafter\n", "new")


def test_each_setting_says_what_it_does_in_whole_sentences():
    for row in rows():
        assert re.fullmatch(r"[A-Z`].*\.", row.about), row.variable
        assert "|" not in row.about + row.kind.words, "it would end the cell of the table"


def test_the_precisions_are_those_that_the_model_can_have():
    assert tuple(devices.DTYPES) == module.DTYPES
