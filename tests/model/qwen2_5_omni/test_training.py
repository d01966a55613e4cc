"""An adapter learns what it is shown, is saved, swapped and refused; the demo checkpoint does the arithmetic."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_inputs import make_clip
from omni_timeline.errors import ModelError, RequestError
from omni_timeline.model.adapter import Adapter
from omni_timeline.model.family import Exercise, Rates, Row
from omni_timeline.model.lora import KEPT_ADAPTERS
from omni_timeline.model.prompts import with_labels
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.model.qwen2_5_omni.training import OmniTraining

LABELS = ("forklift", "machine hum")
RATES = Rates(matrices=2e-3, tokens=1e-2)
STEPS = 25


def exercise(seconds: float, answer: str, *, sound: bool = False, path: str = "a.mp4") -> Exercise:
    clip = make_clip(seconds, 10, sound=sound)
    clip = replace(clip, info=replace(clip.info, path=Path(path)))
    return Exercise(Row(clip, with_labels(LABELS), 2 * clip.times.second_per_frame), answer)


SILENT = [exercise(3.0, "From 0.0 to 2.0, forklift.", path="a.mp4"), exercise(5.0, "No events.", path="b.mp4")]
SOUNDING = [
    exercise(4.0, "From 0.5 to 1.5, machine hum.", sound=True, path="c.mp4"),
    exercise(6.0, "From 0.5 to 1.5, machine hum.\nFrom 2.0 to 3.0, forklift.", sound=True, path="d.mp4"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[OmniModel, OmniTraining, list[float], Path]:
    """A model in training, the losses of its steps, and the folder of its adapter."""
    model = OmniModel.load("demo", device="cpu")
    training = OmniTraining(model, LABELS, seed=1)
    losses = [training.step([*SILENT, *SOUNDING], RATES) for _ in range(STEPS)]
    folder = tmp_path_factory.mktemp("adapter") / "first"
    training.save(folder)
    return model, training, losses, folder


@pytest.mark.parametrize("exercises", [SILENT, SOUNDING], ids=["silent", "sounding"])
def test_the_loss_of_a_batch_is_that_of_transformers_one_by_one(exercises: list[Exercise]):
    """Remembered pictures, padding on the left and scores at the answers alone: each could go wrong silently."""
    model = OmniModel.load("demo", device="cpu")
    training = OmniTraining(model, LABELS)
    with torch.no_grad():
        ours = [training.loss(exercises).item(), training.loss(exercises).item()]  # looked at, then remembered
        theirs = 0.0
        for each in exercises:
            inputs = model.inputs.build([each.row.clip], each.row.prompt, [each.row.second_per_grid])
            answer = model.processor.tokenizer(each.answer + "<|im_end|>", add_special_tokens=False)["input_ids"]
            ids = torch.cat([inputs["input_ids"][0], torch.tensor(answer)])[None]
            labels = ids.clone()
            labels[0, : -len(answer)] = -100
            whole = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
            theirs += model.model(**whole, labels=labels).loss.item() * len(answer)
    assert ours == pytest.approx([theirs, theirs], rel=1e-5)


def test_what_is_computed_again_to_save_memory_is_the_same():
    trainings = [OmniTraining(OmniModel.load("demo", device="cpu"), LABELS, seed=2) for _ in "ab"]
    trainings[1]._save_memory()
    one, other = ([training.step([*SILENT, *SOUNDING], RATES) for _ in range(2)] for training in trainings)
    assert one == pytest.approx(other, abs=1e-5)


def test_a_full_disk_is_an_error_and_leaves_no_adapter_that_could_be_taken_for_one(trained, tmp_path: Path):
    _, training, _, _ = trained
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written|too large"):
            training.save(tmp_path / "adapter")
        with pytest.raises(OSError, match=r"cannot be written|too large"):
            training.save_state(tmp_path / "state.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(RequestError, match="cannot be read"):
        Adapter.find(tmp_path / "adapter")


def test_the_language_model_alone_is_trained_and_the_words_of_the_labels(trained):
    _, training, _, _ = trained
    names = {name for name, parameter in training._wrapped.named_parameters() if parameter.requires_grad}
    assert names
    assert all("language_model.layers" in name or "trainable_tokens" in name for name in names)
    assert any("trainable_tokens" in name for name in names)


def test_towers_are_trained_where_that_is_asked_for():
    """A silent batch leaves the one that hears as it is; one with sound reaches both."""
    training = OmniTraining(OmniModel.load("demo", device="cpu"), LABELS, with_towers=True)
    plain = OmniTraining(OmniModel.load("demo", device="cpu"), LABELS)
    with torch.no_grad():
        assert training.loss(SOUNDING).item() == pytest.approx(plain.loss(SOUNDING).item(), rel=1e-5)
    training.loss(SOUNDING).backward()
    reached = {name for name, each in training._wrapped.named_parameters() if each.grad is not None}
    for part in ("visual.blocks", "visual.merger.mlp.0", "audio_tower.layers", "audio_tower.proj", "language_model"):
        assert any(part in name for name in reached), part


def test_it_learns_and_answers_with_what_it_learned(trained):
    model, _, losses, _ = trained
    assert losses[-1] < 0.5 * losses[0]
    [now] = model.answer([SOUNDING[0].row])
    assert "machine hum" in now.text


def test_a_saved_adapter_answers_in_another_process_of_the_model_as_the_trained_one(trained, demo_model):
    model, _, _, folder = trained
    adapter = Adapter.find(folder)
    assert {file.name for file in folder.iterdir()} == {
        "adapter.json", "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    fresh = OmniModel.load("demo", device="cpu")
    rows = [each.row for each in SILENT]
    base = demo_model.answer(rows)
    learned = model.answer(rows)
    adapted = [replace(row, adapter=adapter) for row in rows]
    for wanted, asked in ((base, rows), (learned, adapted), (base, rows), (learned, adapted)):
        found = fresh.answer(asked)
        assert [answer.text for answer in found] == [answer.text for answer in wanted]
        for one, other in zip(found, wanted, strict=True):
            assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-5)
    assert [answer.text for answer in base] != [answer.text for answer in learned]


def test_training_goes_on_from_a_saved_state_as_if_nothing_had_happened(tmp_path: Path):
    exercises = [*SILENT, *SOUNDING]
    one = OmniTraining(OmniModel.load("demo", device="cpu"), LABELS, seed=3)
    one.step(exercises, RATES)
    one.save_state(tmp_path / "state.pt")
    wanted = [one.step(exercises, RATES) for _ in range(2)]
    other = OmniTraining(OmniModel.load("demo", device="cpu"), LABELS, seed=4)
    other.resume(tmp_path / "state.pt")
    assert [other.step(exercises, RATES) for _ in range(2)] == pytest.approx(wanted, abs=1e-6)
    (tmp_path / "state.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a state"):
        other.resume(tmp_path / "state.pt")


@pytest.mark.parametrize("name", ["nf4", "int8"])
def test_a_quantised_checkpoint_is_trained_on_and_its_adapter_belongs_to_it(name: str, tmp_path: Path, demo_model):
    model = OmniModel.load("demo", device="cpu", quantization=name)
    layers = model.model.model.language_model.layers
    before = [each.clone() for each in layers.parameters()]
    training = OmniTraining(model, LABELS, seed=1)
    losses = [training.step([*SILENT, *SOUNDING], RATES) for _ in range(8)]
    assert losses[-1] < 0.6 * losses[0]
    frozen = [each for key, each in layers.named_parameters() if "lora_" not in key]
    assert all(map(torch.equal, before, frozen))
    training.save(tmp_path / "adapter")
    row = replace(SOUNDING[0].row, adapter=Adapter.find(tmp_path / "adapter"))
    fresh = OmniModel.load("demo", device="cpu", quantization=name)
    assert fresh.answer([row])[0].text == model.answer([SOUNDING[0].row])[0].text
    with pytest.raises(RequestError, match=f"{name}.*train"):
        demo_model.answer([row])


def test_an_adapter_of_another_checkpoint_is_refused(trained, demo_model: OmniModel):
    *_, folder = trained
    adapter = replace(Adapter.find(folder), base="demo-00000000")
    with pytest.raises(RequestError, match=r"trained on the checkpoint demo-00000000, and the model is demo-"):
        OmniModel.load("demo", device="cpu").answer([replace(SILENT[0].row, adapter=adapter)])


def test_an_adapter_whose_weights_are_cut_off_is_an_error(trained, tmp_path: Path):
    *_, folder = trained
    copy = tmp_path / "damaged"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes()[: 5000 if file.suffix == ".safetensors" else None])
    assert Adapter.find(copy).version != Adapter.find(folder).version
    model = OmniModel.load("demo", device="cpu")
    with pytest.raises(ModelError, match="cannot be loaded"):
        model.answer([replace(SILENT[0].row, adapter=Adapter.find(copy))])
    with pytest.raises(ModelError, match="has changed"):
        model.answer([replace(SILENT[0].row, adapter=replace(Adapter.find(folder), folder=copy))])
    with pytest.raises(RequestError, match="cannot be read"):
        model.answer([replace(SILENT[0].row, adapter=replace(Adapter.find(folder), folder=tmp_path / "none"))])
    assert model.answer([SILENT[0].row])[0].complete, "it answers as before"


def test_many_adapters_take_turns(tmp_path: Path):
    """More than are kept: the first one was dropped meanwhile and answers as before."""
    training = OmniTraining(OmniModel.load("demo", device="cpu"), LABELS)
    adapters = []
    for number in range(KEPT_ADAPTERS + 1):
        training.step(SILENT, RATES)
        training.save(tmp_path / str(number))
        adapters.append(Adapter.find(tmp_path / str(number)))
    assert len({adapter.version for adapter in adapters}) == KEPT_ADAPTERS + 1
    fresh = OmniModel.load("demo", device="cpu")
    row = SILENT[0].row
    first = fresh.answer([replace(row, adapter=adapters[0])])
    for adapter in adapters[1:]:
        fresh.answer([replace(row, adapter=adapter)])
    assert fresh.answer([replace(row, adapter=adapters[0])]) == first


def test_what_is_in_a_folder_is_an_adapter_or_not(tmp_path: Path):
    with pytest.raises(RequestError, match="cannot be read"):
        Adapter.find(tmp_path)
    (tmp_path / "adapter.json").write_text("{}")
    with pytest.raises(RequestError, match="is not an adapter"):
        Adapter.find(tmp_path)
