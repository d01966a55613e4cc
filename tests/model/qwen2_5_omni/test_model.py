"""Checkpoints of every kind load or say in a sentence why not; answers are greedy, scored, and cut where they end."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
)

from model_inputs import Laid, make_clip
from omni_timeline.answers.answer import NUMERALS
from omni_timeline.answers.grammar import Grammar
from omni_timeline.errors import ModelError, RequestError
from omni_timeline.model.checkpoint import DEMO_FOLDER
from omni_timeline.model.family import Row
from omni_timeline.model.prompts import Prompt, with_labels
from omni_timeline.model.qwen2_5_omni.inputs import ClipInputs, RealTimeInputs
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from tiny_models import TINY_TALKER, TINY_VOICE

PROCESSOR_FILES = ("chat_template.jinja", "processor_config.json", "tokenizer.json", "tokenizer_config.json")


def with_processor(folder: Path) -> Path:
    for name in PROCESSOR_FILES:
        shutil.copy(DEMO_FOLDER / name, folder)
    return folder


@pytest.fixture(scope="module")
def thinker_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thinker-only checkpoint with random weights."""
    folder = tmp_path_factory.mktemp("checkpoints") / "Tiny-Omni"
    torch.manual_seed(1)
    config = Qwen2_5OmniThinkerConfig.from_pretrained(DEMO_FOLDER)
    Qwen2_5OmniThinkerForConditionalGeneration(config).save_pretrained(folder)
    return with_processor(folder)


@pytest.fixture(scope="module")
def full_model() -> Any:
    """Thinker, talker and voice, all tiny, with random weights."""
    torch.manual_seed(2)
    config = Qwen2_5OmniConfig(
        thinker_config=Qwen2_5OmniThinkerConfig.from_pretrained(DEMO_FOLDER).to_dict(),
        talker_config=TINY_TALKER,
        token2wav_config=TINY_VOICE,
    )
    return Qwen2_5OmniForConditionalGeneration(config).eval()


@pytest.fixture
def copied(thinker_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint to spoil."""
    return Path(shutil.copytree(thinker_folder, tmp_path / "Tiny-Omni"))


@pytest.fixture(scope="module")
def tiny(thinker_folder: Path) -> OmniModel:
    return OmniModel.load(str(thinker_folder), device="cpu")


@pytest.fixture(scope="module")
def inputs(tiny: OmniModel) -> ClipInputs:
    """Two clips of different durations, with sound."""
    real = RealTimeInputs(tiny.processor, tiny.model)
    return real.build([make_clip(3, sound=True), make_clip(8, sound=True)])


class TestLoading:
    def test_the_demo_says_that_it_is_one_wherever_a_person_looks(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, logger="omni_timeline"):
            demo = OmniModel.load(device="cpu")
        assert demo.checkpoint.is_demo
        assert re.fullmatch(r"demo-[0-9a-f]{8}", demo.version)
        [line] = caplog.messages
        assert line == f"Loaded {demo.description}"
        assert re.search(r"demo-\w{8}: cpu, float32, sdpa, \d\.\d million parameters \(DEMO: it knows nothing", line)

    def test_a_folder_is_a_checkpoint_under_its_own_name(self, tiny: OmniModel, thinker_folder: Path) -> None:
        assert re.fullmatch(r"Tiny-Omni-[0-9a-f]{8}", tiny.version)
        assert not tiny.checkpoint.is_demo
        assert "DEMO" not in tiny.description
        assert tiny.checkpoint.name == str(thinker_folder)
        assert not tiny.model.training

    def test_of_a_full_checkpoint_the_thinker_alone_is_loaded(self, full_model: Any, tmp_path: Path) -> None:
        full_model.save_pretrained(tmp_path)
        loaded = OmniModel.load(str(with_processor(tmp_path)), device="cpu").model
        assert type(loaded) is Qwen2_5OmniThinkerForConditionalGeneration
        ours, theirs = loaded.state_dict(), full_model.thinker.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    def test_the_version_stays_when_a_checkpoint_is_moved_and_changes_with_one_weight(
        self, tiny: OmniModel, copied: Path
    ) -> None:
        assert OmniModel.load(str(copied), device="cpu").version == tiny.version
        model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(copied)
        with torch.no_grad():
            model.model.language_model.layers[2].mlp.up_proj.weight[5, 7] += 1e-4
        model.save_pretrained(copied)
        changed = OmniModel.load(str(copied), device="cpu").version
        assert changed != tiny.version
        assert changed.startswith("Tiny-Omni-")

    def test_dtype_and_attention_are_taken_as_asked(self, thinker_folder: Path, inputs: ClipInputs) -> None:
        model = OmniModel.load(str(thinker_folder), device="cpu", dtype="bfloat16", attention="eager")
        assert model.model.dtype == torch.bfloat16
        assert "cpu, bfloat16, eager" in model.description
        RealTimeInputs(model.processor, model.model)
        assert len(model.generate(inputs, max_new_tokens=2)) == 2

    def test_a_cached_checkpoint_of_the_hub_needs_no_network(
        self, thinker_folder: Path, tiny: OmniModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out_of_reach(monkeypatch, tmp_path)
        cache = tmp_path / "models--someone--Tiny-Omni"
        (cache / "refs").mkdir(parents=True)
        (cache / "refs" / "main").write_text("c0ffee" * 6 + "c0ff")
        shutil.copytree(thinker_folder, cache / "snapshots" / ("c0ffee" * 6 + "c0ff"))
        assert OmniModel.load("someone/Tiny-Omni", device="cpu").version == tiny.version

    def test_modelscope_is_asked_when_it_is_the_hub(self, modelscope: None, tiny: OmniModel) -> None:
        assert OmniModel.load("someone/Tiny-Omni", hub="modelscope", device="cpu").version == tiny.version
        message = refusal("someone/else", hub="modelscope")
        assert "could not be fetched from ModelScope: [E404] Not found. Check" in message

    @pytest.fixture
    def modelscope(self, thinker_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """A stand-in for its package, which needs a network: a hub with one checkpoint."""
        package = tmp_path / "modelscope"
        (package / "hub").mkdir(parents=True)
        (package / "hub" / "__init__.py").touch()
        (package / "hub" / "errors.py").write_text("class HubError(Exception): pass\n")
        (package / "__init__.py").write_text(
            "from modelscope.hub.errors import HubError\n"
            "def snapshot_download(model_id, allow_patterns):\n"
            "    assert '*.safetensors' in allow_patterns\n"
            "    if model_id != 'someone/Tiny-Omni': raise HubError('[E404] Not found.\\nA second line')\n"
            f"    return {str(thinker_folder)!r}\n"
        )
        forget("modelscope")
        monkeypatch.syspath_prepend(tmp_path)
        yield
        forget("modelscope")


def forget(package: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


def out_of_reach(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Points Hugging Face's hub to a port where nobody listens, with a cache of its own."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))


def refusal(name: str, **options: str) -> str:
    """What a person is told, which is one line with the way out in it."""
    with pytest.raises(ModelError) as caught:
        OmniModel.load(name, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestRefusals:
    def test_no_network_is_said_in_a_sentence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        out_of_reach(monkeypatch, tmp_path)
        message = refusal("Qwen/Qwen2.5-Omni-3B")
        assert message.startswith(
            "There is no folder Qwen/Qwen2.5-Omni-3B, and it could not be fetched from Hugging Face:"
        )
        assert "Connection refused" in message
        assert "`--model demo` works" in message

    @pytest.mark.skipif(find_spec("modelscope") is not None, reason="modelscope is installed here")
    def test_modelscope_that_is_not_installed_is_named(self) -> None:
        assert "pip install modelscope" in refusal("Qwen/Qwen2.5-Omni-3B", hub="modelscope")

    @pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "qwen", "a/b/c", ""])
    def test_a_folder_that_does_not_exist(self, name: str) -> None:
        message = refusal(name) if name else refusal(" ")
        assert "There is no folder" in message
        assert "--model demo" in message

    def test_an_unknown_hub(self) -> None:
        assert "say huggingface or modelscope" in refusal("a/b", hub="github")

    def test_a_folder_without_a_checkpoint(self, tmp_path: Path) -> None:
        assert "is not a checkpoint: it has no config.json" in refusal(str(tmp_path))

    @pytest.mark.parametrize("text", ["{", "[]", '{"hidden_size": 8}', '{"model_type": "llama"}'])
    def test_a_checkpoint_of_something_else(self, copied: Path, text: str) -> None:
        (copied / "config.json").write_text(text)
        message = refusal(str(copied))
        assert re.search(r"is not a checkpoint|is a (nameless|llama) checkpoint, and only Qwen2\.5-Omni", message)
        assert "--model demo" in message

    def test_missing_weights(self, copied: Path) -> None:
        (copied / "model.safetensors").unlink()
        assert "cannot be loaded" in refusal(str(copied))

    def test_truncated_weights(self, copied: Path) -> None:
        weights = (copied / "model.safetensors").read_bytes()
        (copied / "model.safetensors").write_bytes(weights[: len(weights) // 2])
        assert "cannot be loaded" in refusal(str(copied))

    def test_weights_with_a_hole(self, copied: Path) -> None:
        """transformers fills it with random numbers, and says so in a table of the log."""
        from safetensors.torch import load_file, save_file

        weights = load_file(copied / "model.safetensors")
        gone = next(name for name in weights if name.endswith("layers.1.mlp.up_proj.weight"))
        del weights[gone]
        save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
        assert "lacks 1 weights" in refusal(str(copied))

    def test_a_checkpoint_without_a_processor(self, copied: Path) -> None:
        (copied / "processor_config.json").unlink()
        assert "cannot be loaded" in refusal(str(copied))

    def test_a_checkpoint_without_a_chat_template(self, copied: Path) -> None:
        (copied / "chat_template.jinja").unlink()
        assert "has no chat template" in refusal(str(copied))

    @pytest.mark.parametrize("device", ["gpu", "cuda:x", "meta", ""])
    def test_a_device_that_is_none(self, device: str) -> None:
        assert "say cpu, cuda, cuda:1 or mps" in refusal("demo", device=device)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
    @pytest.mark.parametrize("device", ["cuda", "cuda:1"])
    def test_a_gpu_that_is_not_there(self, device: str) -> None:
        assert "torch finds no NVIDIA GPU; `--device cpu` runs anywhere" in refusal("demo", device=device)

    def test_an_unknown_dtype_or_attention(self) -> None:
        assert "say bfloat16, float16, float32" in refusal("demo", dtype="int4")
        assert "say flash_attention_2, sdpa, eager" in refusal("demo", attention="flash")

    def test_flash_attention_where_it_cannot_run(self) -> None:
        message = refusal("demo", device="cpu", attention="flash_attention_2")
        assert "it needs an NVIDIA GPU, not cpu" in message


class TestAnswers:
    def test_tokens_are_the_likeliest_and_their_log_probabilities_the_models_own(
        self, tiny: OmniModel, inputs: ClipInputs
    ) -> None:
        """Checked against one forward pass over prompt and answer."""
        outputs = tiny.generate(inputs, max_new_tokens=7)
        answers = torch.tensor([output.token_ids for output in outputs])
        assert answers.shape == (2, 7)
        whole = dict(inputs)
        whole["input_ids"] = torch.cat([inputs["input_ids"], answers], dim=1)
        whole["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(answers)], dim=1)
        with torch.inference_mode():
            logits = tiny.model(**whole).logits
        scores = logits[:, -8:-1].log_softmax(-1)
        assert logits.shape[1] == whole["input_ids"].shape[1], "outside of generate all positions are score_segments"
        assert scores.argmax(-1).equal(answers)
        expected = scores.gather(-1, answers[..., None])[..., 0]
        torch.testing.assert_close(torch.tensor([output.log_probabilities for output in outputs]), expected)

    @pytest.mark.parametrize("sound", [False, True])
    def test_tokens_that_have_to_follow_are_scored_as_if_they_were_chosen(self, tiny: OmniModel, sound: bool) -> None:
        """Rows that write at different paces, checked against one forward pass over each row's prompt and answer."""
        real = RealTimeInputs(tiny.processor, tiny.model)
        clips = [make_clip(duration, sound=sound) for duration in (3, 8, 5)]
        grammars = [
            'start: "From 1.0 to 2.5, low tone.\\nFrom 2.0 to 2.9, red square."',
            'start: "From " /[0-7]/ ".0 to 8.0, " /[a-z]{3,5}/ "."',
            'start: "No events."',
        ]
        together = tiny.generate(real.build(clips), grammars=grammars)
        for clip, grammar, output in zip(clips, grammars, together, strict=True):
            [alone] = tiny.generate(real.build([clip]), grammars=[grammar])
            assert alone.text == output.text
            assert output.complete
            whole = dict(real.build([clip]))
            answer = torch.tensor([output.token_ids])
            whole["input_ids"] = torch.cat([whole["input_ids"], answer], dim=1)
            whole["attention_mask"] = torch.ones_like(whole["input_ids"])
            with torch.inference_mode():
                scores = tiny.model(**whole).logits[0, -answer.shape[1] - 1 : -1].log_softmax(-1)
            expected = scores.gather(-1, answer[0, :, None])[:, 0].tolist()
            numerals = scores[:, [tiny.processor.tokenizer(each)["input_ids"][0] for each in NUMERALS]].tolist()
            for found in (alone, output):
                assert found.log_probabilities == pytest.approx(expected, abs=1e-4)
                assert list(found.numerals) == [pytest.approx(each, abs=1e-4) for each in numerals]

    def test_a_batch_answers_as_each_clip_alone(self, tiny: OmniModel, inputs: ClipInputs) -> None:
        real = RealTimeInputs(tiny.processor, tiny.model)
        alone = [tiny.generate(real.build([make_clip(duration, sound=True)]), max_new_tokens=6) for duration in (3, 8)]
        together = tiny.generate(inputs, max_new_tokens=6)
        assert [output.token_ids for output in together] == [output.token_ids for [output] in alone]

    def test_the_vocabulary_is_scored_at_the_last_position_alone(self, tiny: OmniModel, inputs: ClipInputs) -> None:
        shapes: list[tuple[int, ...]] = []
        hook = tiny.model.lm_head.register_forward_hook(
            lambda _, arguments, logits: shapes.append((*arguments[0].shape, logits.shape[-1]))
        )
        tiny.generate(inputs, max_new_tokens=3)
        hook.remove()
        assert shapes == [(2, 1, 128, 1024)] * 3

    def test_an_answer_ends_at_its_own_end_token(self, tiny: OmniModel, inputs: ClipInputs) -> None:
        """Row 0 ends at once and is left out from then on, row 1 ends after a line, with <|endoftext|>."""
        tokenizer = tiny.processor.tokenizer
        line = tokenizer("From 1.0 to 2.5, low tone.")["input_ids"]
        ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
        steps = iter([[ends[0], line[0]], *([token] for token in line[1:]), [ends[1]]])

        def follow(_: Any, __: Any, logits: torch.Tensor) -> torch.Tensor:
            for of_row, token in zip(logits, next(steps), strict=True):
                of_row[-1, token] = 50.0
            return logits

        hook = tiny.model.lm_head.register_forward_hook(follow)
        first, second = tiny.generate(inputs, max_new_tokens=100)
        hook.remove()
        assert (first.text, first.token_ids, first.log_probabilities, first.complete) == ("", (), (), True)
        assert second.text == "From 1.0 to 2.5, low tone."
        assert second.token_ids == tuple(line)
        assert second.complete
        assert second.log_probabilities == pytest.approx([0.0] * len(line), abs=1e-6)

    def test_an_answer_that_is_cut_off_is_not_complete(self, tiny: OmniModel, inputs: ClipInputs) -> None:
        for output in tiny.generate(inputs, max_new_tokens=3):
            assert not output.complete
            assert len(output.token_ids) == len(output.log_probabilities) == 3

    def test_offsets_are_where_tokens_begin_in_the_text(self, tiny: OmniModel, inputs: ClipInputs) -> None:
        """A character of three tokens is decoded once it is whole; until then they all begin where it does."""
        tokenizer = tiny.processor.tokenizer
        script = [*tokenizer("From 1.0, a猫 é.")["input_ids"], tokenizer.convert_tokens_to_ids("<|im_end|>")]
        steps = iter(script)

        def follow(_: Any, __: Any, logits: torch.Tensor) -> torch.Tensor:
            logits[:, -1, next(steps)] = 50.0
            return logits

        hook = tiny.model.lm_head.register_forward_hook(follow)
        output, _ = tiny.generate(inputs, max_new_tokens=100)
        hook.remove()
        assert output.text == "From 1.0, a猫 é."
        assert len(output.token_ids) == len(output.numerals) == len(script) - 1
        begins = {token: at for token, at in zip(output.token_ids, output.offsets, strict=True)}
        for token in ("From", "1", ",", "Ġa"):
            piece = tokenizer.convert_tokens_to_string([token])
            assert output.text.index(piece) == begins[tokenizer.convert_tokens_to_ids(token)]
        assert output.offsets[-1] == len(output.text) - 1
        assert [at for at in output.offsets if at == 11] == [11] * 3

    def test_a_checkpoints_wish_to_sample_is_not_heard(
        self, copied: Path, tiny: OmniModel, inputs: ClipInputs, caplog: pytest.LogCaptureFixture
    ) -> None:
        wish = {"do_sample": True, "temperature": 3.0, "top_k": 40, "repetition_penalty": 1.5, "max_new_tokens": 2}
        (copied / "generation_config.json").write_text(json.dumps(wish))
        model = OmniModel.load(str(copied), device="cpu")
        RealTimeInputs(model.processor, model.model)
        with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
            warnings.simplefilter("error")
            outputs = model.generate(inputs, max_new_tokens=6)
        assert outputs == tiny.generate(inputs, max_new_tokens=6)
        assert not caplog.messages

    def test_threads_get_the_answers_to_their_own_clips(self, tiny: OmniModel) -> None:
        real = RealTimeInputs(tiny.processor, tiny.model)
        batches = [real.build([make_clip(duration, sound=False)]) for duration in (2, 5, 11, 30)]
        alone = [tiny.generate(batch, max_new_tokens=4) for batch in batches]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda batch: tiny.generate(batch, max_new_tokens=4), batches)) == alone

    @pytest.mark.parametrize("sound", [False, True], ids=["silent", "sounding"])
    def test_reported_token_times_are_those_of_get_rope_index(self, tiny: OmniModel, sound: bool) -> None:
        real = RealTimeInputs(tiny.processor, tiny.model)
        batch = real.build([make_clip(60, sound=sound), make_clip(3, 5, sound=sound)])
        for row, times in enumerate(tiny.token_reports(batch)):
            laid = Laid(tiny.model, batch, row)
            assert times.grid_seconds == tuple(laid.grid_tokens[:, 0])
            assert times.audio_seconds == tuple(laid.audio_seconds)
        assert times.grid_seconds == pytest.approx([3 * grid / 25 for grid in range(25)], abs=0.041)

    def test_rows_of_a_batch_have_prompts_grammars_and_lengths_of_their_own(self, tiny: OmniModel) -> None:
        """Each answer is what it is without the others; one that may write nothing more does not hold them up."""
        grammar = Grammar(("red square", "low tone"), 3.0).text
        rows = [
            Row(make_clip(3, 5, sound=True), Prompt("What is seen?"), 0.24, grammar, 40),
            Row(make_clip(9, 5, sound=True), Prompt("What is heard?", system=""), 0.72, None, 7),
            Row(make_clip(4, 5, sound=True), Prompt("What is seen?"), 0.32, grammar, 12),
        ]
        together = tiny.answer(rows)
        for answer, [alone] in zip(together, [tiny.answer([row]) for row in rows], strict=True):
            assert (answer.text, answer.token_ids, answer.complete) == (alone.text, alone.token_ids, alone.complete)
            assert answer.log_probabilities == pytest.approx(alone.log_probabilities, abs=1e-4)
        assert len(together[1].token_ids) <= 7

    @pytest.mark.parametrize("too_much", [with_labels([f"label {n}" for n in range(10_000)]), Prompt("word " * 40_000)])
    def test_more_than_the_context_holds_is_refused_before_anything_is_computed(
        self, tiny: OmniModel, too_much: Prompt
    ) -> None:
        def computed(*_: Any) -> None:
            raise AssertionError("the model was asked")

        hook = tiny.model.register_forward_pre_hook(computed)
        with pytest.raises(RequestError, match=r"context holds 32,768\. Use fewer or shorter labels"):
            tiny.answer([Row(make_clip(4, 5, sound=True), too_much, 0.32)])
        hook.remove()

    def test_the_answer_has_to_fit_into_the_context_too(self, tiny: OmniModel) -> None:
        row = Row(make_clip(4, 5, sound=True), Prompt("What is seen?"), 0.32, None, 32_700)
        with pytest.raises(RequestError, match="the answer up to 32,700"):
            tiny.answer([row])


class TestTheFullModel:
    """Library users who load thinker and talker together, as the usual script does."""

    def test_its_thinker_and_talker_are_mended_and_it_answers(self, full_model: Any, tiny: OmniModel) -> None:
        real = RealTimeInputs(tiny.processor, full_model)
        clip = make_clip(120, 5, sound=True)
        batch = real.build([clip])
        Laid(full_model.thinker, batch).check(clip, 0.1)
        assert "get_chunked_index" in vars(full_model.talker)
        full_model.speaker_map = {"Chelsie": {}}
        text_ids = full_model.generate(**batch.to("cpu"), generation_mode="text", thinker_max_new_tokens=3)
        assert text_ids.shape[1] == batch["input_ids"].shape[1] + 3
