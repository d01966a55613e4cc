"""A checkpoint laid out as the released ones are: it loads, is asked, and its frames have the documented sizes.

The weights are few and random; all else is as on the hub: config.json of the whole model with `thinker_config`, shards
with `thinker.`, `talker.` and `token2wav.` in their keys, one preprocessor_config.json for picture and sound, the chat
template in a JSON file, no processor_config.json, and Qwen's own vocabulary.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration, Qwen2_5OmniThinkerConfig

from benchmarks.qwen_vocabulary import CONFIGURED, FIRST_SPECIAL, SPECIAL, VOCABULARY, qwen_tokenizer
from model_inputs import make_clip
from omni_timeline.answers.grammar import Grammar
from omni_timeline.model.checkpoint import DEMO_FOLDER, Checkpoint
from omni_timeline.model.family import Row
from omni_timeline.model.prompts import Prompt
from omni_timeline.model.qwen2_5_omni.family import DEFAULT_MAX_PIXELS, QWEN2_5_OMNI
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from tiny_models import TINY_TALKER, TINY_VOICE

# As Qwen/Qwen2.5-Omni-3B has it.
PREPROCESSOR = {
    "chunk_length": 300, "dither": 0.0, "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128,
    "hop_length": 160, "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "Qwen2VLImageProcessor", "image_std": [0.26862954, 0.26130258, 0.27577711],
    "max_pixels": 12_845_056, "merge_size": 2, "min_pixels": 3136, "n_fft": 400, "n_samples": 4_800_000,
    "nb_max_frames": 30_000, "padding_side": "right", "padding_value": 0.0, "patch_size": 14,
    "processor_class": "Qwen2_5OmniProcessor", "return_attention_mask": True, "sampling_rate": 16_000,
    "temporal_patch_size": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "Qwen2.5-Omni-0B"
    torch.manual_seed(3)
    thinker = Qwen2_5OmniThinkerConfig.from_pretrained(DEMO_FOLDER)
    thinker.text_config.vocab_size = VOCABULARY
    thinker.text_config.max_position_embeddings = 32_768
    for name, token in CONFIGURED.items():
        setattr(thinker, name, FIRST_SPECIAL + SPECIAL.index(token))
    config = Qwen2_5OmniConfig(thinker_config=thinker.to_dict(), talker_config=TINY_TALKER, token2wav_config=TINY_VOICE)
    model = Qwen2_5OmniForConditionalGeneration(config)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="30MB")
    qwen_tokenizer().save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    template = (DEMO_FOLDER / "chat_template.jinja").read_text()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> OmniModel:
    return OmniModel.load(str(folder), device="cpu", dtype="float32")


def test_it_is_laid_out_like_the_released_ones(folder: Path):
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "preprocessor_config.json", "chat_template.json", "tokenizer.json"} <= names
    assert "processor_config.json" not in names
    shards = sorted(folder.glob("model-*-of-*.safetensors"))
    assert len(shards) > 1
    keys = set()
    for shard in shards:
        with safe_open(shard, "pt") as opened:
            keys |= {key.split(".")[0] for key in opened.keys()}  # noqa: SIM118  # no mapping, but it looks like one
    assert keys == {"thinker", "talker", "token2wav"}
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["thinker_config"]["model_type"]) == ("qwen2_5_omni", "qwen2_5_omni_thinker")


def test_its_version_and_family_are_known_without_torch(folder: Path):
    found = Checkpoint.find(str(folder))
    assert found.family is QWEN2_5_OMNI
    assert found.version.startswith("Qwen2.5-Omni-0B-")


@pytest.mark.parametrize("sound", [False, True], ids=["silent", "sounding"])
def test_it_is_asked_and_answers_within_the_grammar(model: OmniModel, sound: bool):
    clip = make_clip(12.0, 25, sound=sound)
    grammar = Grammar(("speech", "applause"), 12.0)
    row = Row(clip, Prompt(), QWEN2_5_OMNI.second_per_grid(clip), grammar.text, 40)
    [answer] = model.answer([row])
    assert grammar.read(answer.text).counts.unreadable == 0
    report = model.report(row)
    assert report.grid_seconds[-1] == pytest.approx(clip.times.seconds[48] - clip.times.seconds[0], abs=0.05)
    assert report.audio_tokens == (300 if sound else 0)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(1080, 1920, (336, 588)), (720, 1280, (336, 588)), (480, 640, (364, 504)), (240, 320, (252, 308))],
)
def test_frames_have_the_documented_sizes(model: OmniModel, height: int, width: int, size: tuple[int, int]):
    """docs/operations.md: MAX_PIXELS is 256 tokens' worth where the checkpoint allows more."""
    facts = model.facts
    assert (facts.min_pixels, facts.max_pixels) == (3136, DEFAULT_MAX_PIXELS)
    assert QWEN2_5_OMNI.frame_size(height, width, facts.min_pixels, facts.max_pixels) == size
    assert model.inputs.resize(height, width) == size
