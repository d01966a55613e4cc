"""What the operator's environment variables may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from omni_timeline.errors import RequestError
from omni_timeline.service.settings import Settings


def test_an_empty_environment_gives_the_bundled_demo_on_this_machine_only():
    settings = Settings.from_env({})
    assert (settings.model, settings.bind, settings.port, settings.frames) == ("demo", "127.0.0.1", 9090, 50)
    assert settings == Settings()


def test_an_empty_variable_counts_as_missing():
    """docker compose passes `MODEL=` for a variable that is not set on the host."""
    empty = dict.fromkeys(["MODEL", "LABEL_STUDIO_URL", "FRAMES", "LOCAL_FILES_ROOT", "CACHE_DIR", "MAX_PIXELS"], " ")
    assert Settings.from_env(empty) == Settings()


def test_every_variable_is_read(tmp_path: Path):
    settings = Settings.from_env(
        {
            "LABEL_STUDIO_URL": "http://label-studio:8080/",
            "LABEL_STUDIO_API_KEY": "secret",
            "MODEL": "Qwen/Qwen2.5-Omni-3B",
            "HUB": "modelscope",
            "DEVICE": "cuda:1",
            "DTYPE": "bfloat16",
            "FRAMES": "24",
            "MAX_PIXELS": "100352",
            "MAX_NEW_TOKENS": "64",
            "LOCAL_FILES_ROOT": str(tmp_path),
            "CACHE_DIR": "/var/cache/videos",
            "CACHE_BYTES": "1_000_000",
            "MAX_VIDEO_BYTES": "2000",
            "PREDICT_DEADLINE_SECONDS": "12.5",
            "BIND": "0.0.0.0",
            "PORT": "8000",
            "LOG_LEVEL": "debug",
        }
    )
    assert settings == Settings(
        label_studio_url="http://label-studio:8080",
        label_studio_api_key="secret",
        model="Qwen/Qwen2.5-Omni-3B",
        hub="modelscope",
        device="cuda:1",
        dtype="bfloat16",
        frames=24,
        max_pixels=100352,
        max_new_tokens=64,
        local_files_root=tmp_path,
        cache_dir=Path("/var/cache/videos"),
        cache_bytes=1_000_000,
        max_video_bytes=2000,
        predict_deadline_seconds=12.5,
        bind="0.0.0.0",
        port=8000,
        log_level="DEBUG",
    )


def test_every_variable_is_in_the_operators_manual(request: pytest.FixtureRequest):
    manual = (request.config.rootpath / "docs" / "operations.md").read_text()
    missing = [name.upper() for name in Settings.__dataclass_fields__ if f"`{name.upper()}`" not in manual]
    assert not missing


@pytest.mark.parametrize(
    ("written", "seconds"), [("whole", None), ("Whole", None), ("12.5", 12.5), ("", Settings().window_seconds)]
)
def test_a_window_is_a_number_of_seconds_or_the_whole_video(written: str, seconds: float | None):
    assert Settings.from_env({"WINDOW_SECONDS": written}).window_seconds == seconds


def test_switches_and_secrets():
    given = {
        "BASIC_AUTH_USER": "label-studio", "BASIC_AUTH_PASSWORD": "hush-1", "WEBHOOK_SECRET": "hush-2",
        "PRELABEL_NEW_TASKS": "1", "REFINE": "yes", "CONSTRAINED": "0",
    }  # fmt: skip
    settings = Settings.from_env(given)
    assert (settings.basic_auth_user, settings.basic_auth_password) == ("label-studio", "hush-1")
    assert (settings.prelabel_new_tasks, settings.refine, settings.constrained) == (True, True, False)
    assert "hush" not in repr(settings)


def test_label_studios_own_name_for_the_document_root_is_understood(tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    own_name = {"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(tmp_path)}
    assert Settings.from_env(own_name).local_files_root == tmp_path
    assert Settings.from_env({**own_name, "LOCAL_FILES_ROOT": str(other)}).local_files_root == other


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FRAMES", "many"),
        ("FRAMES", "0"),
        ("FRAMES", "2.5"),
        ("MAX_PIXELS", "-1"),
        ("MAX_NEW_TOKENS", "0"),
        ("WINDOW_SECONDS", "1"),
        ("WINDOW_SECONDS", "inf"),
        ("WINDOW_SECONDS", "all"),
        ("SCORE_THRESHOLD", "1.1"),
        ("SCORE_THRESHOLD", "nan"),
        ("REFINE", "maybe"),
        ("CONSTRAINED", "2"),
        ("PREDICTION_CACHE_BYTES", "-1"),
        ("BASIC_AUTH_USER", "alone"),
        ("BASIC_AUTH_PASSWORD", "alone"),
        ("WEBHOOK_SECRET", "geheim-ß"),
        ("CACHE_BYTES", "-1"),
        ("MAX_VIDEO_BYTES", "4 GB"),
        ("PREDICT_DEADLINE_SECONDS", "0"),
        ("PREDICT_DEADLINE_SECONDS", "nan"),
        ("PREDICT_DEADLINE_SECONDS", "inf"),
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("HUB", "github"),
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
    ],
)
def test_a_value_that_cannot_be_is_refused_by_the_variables_name(name: str, value: str):
    with pytest.raises(RequestError, match=name):
        Settings.from_env({name: value})


def test_the_token_shows_neither_in_the_settings_text_nor_in_the_error_about_it():
    assert "secret" not in repr(Settings(label_studio_api_key="secret"))
    with pytest.raises(RequestError) as refusal:
        Settings(label_studio_api_key="secret secret")
    assert "secret" not in str(refusal.value)
