"""Trains the demo checkpoint from scratch: `make demo-checkpoint`, about three hours on two CPU cores.

The model is the genuine `Qwen2_5OmniThinkerForConditionalGeneration`; only the way its parts are called is rearranged
for speed (`LeanThinker`): one batched attention over all grids and all audio chunks instead of a Python loop, and
logits for the answers alone. `differences` compares it with the genuine forward pass. Helper heads on a middle layer
are asked what each frame and sound shows and what time it is; they are thrown away at the end, and they make the model
learn in minutes what otherwise takes hours.

A run can be interrupted at any time; the same command goes on from its last saved step.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from transformers import Qwen2_5OmniProcessor, Qwen2_5OmniThinkerForConditionalGeneration
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import apply_rotary_pos_emb_vision

from demo_data import Batch, BatchSource, audio_tokens
from demo_model import untrained
from omni_timeline.model.qwen2_5_omni.family import FRAMES_PER_GRID, NOMINAL_SECOND_PER_GRID
from omni_timeline.synthetic import SHAPE_LABELS, TONES
from omni_timeline.timebase import FrameTimes

log = logging.getLogger("demo-checkpoint")

WARM_UP = 60  # steps, of every stage
HELPER_WARM_UP = 300  # steps until the helpers' loss has its whole weight; their heads learn from the first one
MATRIX_RATE = 0.02  # Muon's learning rate, for all matrices
OTHER_RATE = 2e-3  # AdamW's, for embeddings, norms and convolutions
FINAL_RATE = 0.02  # of both at the end of the cosine
MAX_COUNTED = 11  # events; more are counted as this many
HELPER_LAYER = 1  # the decoder layer whose output they read; layers count from 0
SAVE_EVERY = 200  # steps
IGNORED = -100


@dataclass(frozen=True)
class Stage:
    """A part of the training, with optimizers of its own.

    Attributes:
        steps: how many.
        rate: where the cosine of the learning rates begins, as a factor on them.
        first: the number that its first step has among the batches of its source.
        helper_weight: of the helper heads' loss.
        sounding: the share of batches with sound, which is learnt more slowly.
        polish: asks under thousands of system prompts.
        windows: most clips are windows over longer videos.
        even: the share of clips whose durations are uniform, so that more of them are long.
    """

    steps: int
    rate: float
    first: int = 0
    helper_weight: float = 0.0
    sounding: float = 0.4
    polish: bool = False
    windows: bool = False
    even: float = 0.4


STAGES = (
    Stage(steps=5200, rate=1.0, helper_weight=0.5),
    Stage(steps=1040, rate=0.25, first=5200, helper_weight=0.5, sounding=0.55, polish=True),
    Stage(steps=1600, rate=0.35, sounding=0.55, polish=True, windows=True),
    Stage(steps=900, rate=0.3, first=1600, sounding=0.8, polish=True, windows=True, even=0.8),
    Stage(steps=4200, rate=0.6, first=2500, helper_weight=0.4, sounding=0.7, polish=True, windows=True, even=0.75),
)


class HelperHeads(nn.Module):
    """Linear questions to the hidden state of a video or audio token: what is here, how many so far, what time."""

    def __init__(self, hidden: int):
        super().__init__()
        self.frames = nn.Linear(hidden, 2 * (1 + len(SHAPE_LABELS)))
        self.sounds = nn.Linear(hidden, 1 + len(TONES))
        self.so_far = nn.Linear(hidden, MAX_COUNTED + 1)
        self.begun = nn.Linear(hidden, MAX_COUNTED + 1)
        self.digits = nn.Linear(hidden, 7 + 10 + 10)

    def loss(
        self, states: torch.Tensor, seconds: torch.Tensor, classes: list[torch.Tensor], questions: list[torch.Tensor]
    ) -> torch.Tensor:
        """Mean cross-entropy of all questions for tokens (T, H) at `seconds` (T,).

        The last two of `classes` are the counts: of events of the token's kind so far, and of events of both kinds.
        """
        tenths = (seconds * 10).round().long().clamp(0, 699)
        onsets, begun = classes[-2:]
        logits = self.digits(states)
        total = (
            F.cross_entropy(logits[:, :7], tenths // 100)
            + F.cross_entropy(logits[:, 7:17], tenths // 10 % 10)
            + F.cross_entropy(logits[:, 17:], tenths % 10)
            + F.cross_entropy(self.so_far(states), onsets)
            + F.cross_entropy(self.begun(states), begun)
        )
        for question, answer in zip(questions, classes[:-2], strict=True):
            total = total + F.cross_entropy(question, answer)
        return total


def _onsets(classes: torch.Tensor) -> torch.Tensor:
    """How many events have begun up to each place of (B, N) classes."""
    begins = (classes != 0) & (F.pad(classes[:, :-1], (1, 0)) != classes)
    return begins.long().cumsum(1).clamp(max=MAX_COUNTED)


def _begun(starts: list[NDArray[np.float64]], seconds: NDArray[np.float64]) -> torch.Tensor:
    """How many events of each clip have begun at each of `seconds` (B, N)."""
    counts = [np.searchsorted(begun, instants, side="right") for begun, instants in zip(starts, seconds, strict=True)]
    return torch.from_numpy(np.stack(counts)).long().clamp(max=MAX_COUNTED)


def second_per_grid(seconds: Sequence[float]) -> float:
    """Seconds from one temporal grid to the next of frames at these times."""
    return FrameTimes(tuple(seconds)).second_per_grid(FRAMES_PER_GRID) or NOMINAL_SECOND_PER_GRID


class LeanThinker:
    """The thinker's forward pass over one batch, arranged for training on a CPU."""

    def __init__(self, model: Qwen2_5OmniThinkerForConditionalGeneration, processor: Qwen2_5OmniProcessor):
        self.model = model
        self.processor = processor
        self.mean = torch.tensor(processor.video_processor.image_mean).view(1, 1, 3, 1, 1)
        self.std = torch.tensor(processor.video_processor.image_std).view(1, 1, 3, 1, 1)
        self.middle: torch.Tensor | None = None
        model.model.language_model.layers[HELPER_LAYER].register_forward_hook(self._keep_middle)

    def _keep_middle(self, _layer: nn.Module, _inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        self.middle = output[0] if isinstance(output, tuple) else output

    def patches(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames uint8 (B, N, 3, H, W) -> (B, grids, patches, values), in the video processor's order."""
        if frames.shape[1] % 2:
            frames = torch.cat([frames, frames[:, -1:]], 1)
        batch, count, _, height, width = frames.shape
        pixels = (frames.float() / 255 - self.mean) / self.std
        pixels = pixels.view(batch, count // 2, 2, 3, height // 28, 2, 14, width // 28, 2, 14)
        pixels = pixels.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9)
        return pixels.reshape(batch, count // 2, (height // 14) * (width // 14), -1)

    def watch(self, frames: torch.Tensor) -> torch.Tensor:
        """Video embeddings (B, grids, tokens, hidden); attention stays within a grid, all grids at once."""
        tower = self.model.model.visual
        patches = self.patches(frames)
        batch, grids, count, _ = patches.shape
        states = patches.flatten(0, 1) @ tower.patch_embed.proj.weight.flatten(1).T
        height, width = frames.shape[3] // 14, frames.shape[4] // 14
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places = [axis.view(height // 2, 2, width // 2, 2).permute(0, 2, 1, 3).flatten() for axis in (rows, columns)]
        cos, sin = tower.rotary_pos_emb(states, torch.stack(places, -1))
        for block in tower.blocks:
            attention = block.attn
            normed = block.norm1(states)
            query, key, value = (
                layer(normed).view(batch * grids, count, attention.num_heads, -1)
                for layer in (attention.q, attention.k, attention.v)
            )
            query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
            seen = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (query, key, value)))
            states = states + attention.proj(seen.transpose(1, 2).flatten(2))
            states = states + block.mlp(block.norm2(states))
        embeddings: torch.Tensor = tower.merger(states.flatten(0, 1))
        return embeddings.view(batch, grids, count // 4, -1)

    def listen(self, waves: NDArray[np.float32]) -> torch.Tensor:
        """Audio embeddings (B, tokens, hidden) of waves (B, S); attention stays within chunks of two seconds."""
        tower = self.model.model.audio_tower
        mel = torch.from_numpy(self.processor.feature_extractor._torch_extract_fbank_features(waves))
        chunk = 2 * tower.n_window
        whole = mel.shape[2] // chunk * chunk
        parts = []
        if whole:
            chunks = mel[:, :, :whole].unflatten(2, (-1, chunk)).transpose(1, 2)
            parts.append(self._encode(chunks.flatten(0, 1)).unflatten(0, chunks.shape[:2]).flatten(1, 2))
        if mel.shape[2] > whole:
            parts.append(self._encode(mel[:, :, whole:]))
        states = torch.cat(parts, 1)
        tokens = audio_tokens(waves.shape[1])
        pooled = states[:, : 2 * tokens].unflatten(1, (tokens, 2)).mean(2)
        embeddings: torch.Tensor = tower.proj(tower.ln_post(pooled))
        return embeddings

    def _encode(self, mel: torch.Tensor) -> torch.Tensor:
        tower = self.model.model.audio_tower
        states: torch.Tensor = F.gelu(tower.conv2(F.gelu(tower.conv1(mel)))).transpose(1, 2)
        states = states + tower.positional_embedding(states.shape[1])
        for layer in tower.layers:
            attention = layer.self_attn
            normed = layer.self_attn_layer_norm(states)
            heads = (
                part(normed).unflatten(2, (attention.num_heads, -1)).transpose(1, 2)
                for part in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            states = states + attention.out_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
            states = states + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(states))))
        return states

    def words(self, batch: Batch) -> tuple[list[int], list[int], list[list[int]]]:
        """Token ids before the media, after them, and of each answer with its end."""
        item = [{"type": "video", "video": ""}, {"type": "text", "text": batch.prompt.user}]
        turns = [{"role": "system", "content": [{"type": "text", "text": batch.prompt.system}]}] * bool(
            batch.prompt.system
        ) + [{"role": "user", "content": item}]
        text = self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        before, after = text.split(self.processor.video_token)
        if batch.waves is not None:
            before += self.processor.audio_bos_token
            after = self.processor.audio_eos_token + after
        tokenizer = self.processor.tokenizer
        answers = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(batch.answers)["input_ids"]]
        return tokenizer(before)["input_ids"], tokenizer(after)["input_ids"], answers

    def layout(self, batch: Batch, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Order (M,) of the concatenated video and audio tokens, and their positions (B, 3, M) from the clip's start.

        With sound, each chunk of two seconds holds its video tokens, then its audio tokens.
        """
        config = self.model.config
        seconds = torch.tensor([second_per_grid(times) for times in batch.seconds.tolist()])
        grids = math.ceil(batch.frames.shape[1] / 2)
        times = (torch.arange(grids) * seconds[:, None].float() * config.position_id_per_seconds).long()
        times = times[:, :, None, None].expand(-1, -1, rows, columns)
        video = torch.stack(
            [times, torch.arange(rows).view(1, 1, -1, 1).expand_as(times), torch.arange(columns).expand_as(times)], 1
        ).flatten(2)
        if batch.waves is None:
            return torch.arange(video.shape[2]), video
        audio = torch.arange(audio_tokens(batch.waves.shape[1])).expand(len(video), 3, -1)
        chunk = config.position_id_per_seconds * config.seconds_per_chunk
        place = torch.cat([video[0, 0] // chunk * 2, audio[0, 0] // chunk * 2 + 1])
        order = torch.argsort(place, stable=True)
        return order, torch.cat([video, audio], 2)[:, :, order]

    def forward(self, batch: Batch, helpers: HelperHeads) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Loss of the answers, loss of the helpers, and the share of answer tokens guessed right."""
        before, after, answers = self.words(batch)
        seen = self.watch(batch.frames)
        count, grids, per_grid, _ = seen.shape
        rows, columns = batch.frames.shape[3] // 28, batch.frames.shape[4] // 28
        order, media_positions = self.layout(batch, rows, columns)
        media = seen.flatten(1, 2)
        if batch.waves is not None:
            media = torch.cat([media, self.listen(batch.waves).to(media.dtype)], 1)

        longest = max(map(len, answers))
        pad = self.processor.tokenizer.pad_token_id
        padded = torch.tensor([ids + [pad] * (longest - len(ids)) for ids in answers])
        embed = self.model.get_input_embeddings()
        text_before = embed(torch.tensor(before)).expand(count, -1, -1)
        text_after = embed(torch.tensor(after)).expand(count, -1, -1)
        embeddings = torch.cat([text_before, media[:, order].to(text_before.dtype), text_after, embed(padded)], 1)

        # A begin token of the sound shares its position with that of the picture, and so do the end tokens.
        shared = int(batch.waves is not None)
        start = len(before) - shared
        positions_before = torch.arange(len(before)).clamp(max=start - 1).expand(count, 3, -1)
        if shared:
            end = start + media_positions[:, :, order >= grids * per_grid].amax((1, 2)) + 1
        else:
            end = start + media_positions.amax((1, 2)) + 1
        tail = torch.arange(len(after) + longest)
        tail = (tail - shared).clamp(min=0) + end[:, None]
        positions = torch.cat([positions_before, media_positions + start, tail[:, None].expand(-1, 3, -1)], 2)

        output = self.model.model.language_model(
            inputs_embeds=embeddings, position_ids=positions.transpose(0, 1), use_cache=False
        ).last_hidden_state
        first = len(before) + len(order) + len(after) - 1
        logits = self.model.lm_head(output[:, first : first + longest])
        wanted = padded.clone()
        for row, ids in enumerate(answers):
            wanted[row, len(ids) :] = IGNORED
        loss = F.cross_entropy(logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=IGNORED)
        answered = wanted != IGNORED
        right = float((logits.argmax(-1) == wanted)[answered].float().mean())

        assert self.middle is not None  # the forward hook has kept it
        states = torch.empty_like(media)
        states[:, order] = self.middle[:, len(before) : len(before) + len(order)].to(media.dtype)
        return loss, self._ask(helpers, batch, states, grids, per_grid), right

    def _ask(self, helpers: HelperHeads, batch: Batch, states: torch.Tensor, grids: int, per_grid: int) -> torch.Tensor:
        """The helpers' loss on the middle states (B, M, H), video tokens first."""
        classes = batch.frame_classes
        counts = [_onsets(classes), _begun(batch.starts, batch.seconds)]
        if classes.shape[1] % 2:
            classes, *counts = (torch.cat([part, part[:, -1:]], 1) for part in (classes, *counts))
        pairs = classes.view(len(classes), grids, 1, 2).expand(-1, -1, per_grid, -1).flatten(0, 2)
        counts = [part[:, 1::2, None].expand(-1, -1, per_grid).flatten() for part in counts]
        seconds = torch.from_numpy(batch.seconds[:, ::2].copy()).float()[:, :, None].expand(-1, -1, per_grid).flatten()
        video = states[:, : grids * per_grid].flatten(0, 1)
        first, second = helpers.frames(video).chunk(2, 1)
        loss = helpers.loss(video, seconds, [pairs[:, 0], pairs[:, 1], *counts], [first, second])
        if batch.sound_classes is not None:
            heard = batch.sound_classes
            audio = states[:, grids * per_grid :].flatten(0, 1)
            times = np.broadcast_to(np.arange(heard.shape[1]) / 25, heard.shape)
            counts = [_onsets(heard).flatten(), _begun(batch.starts, times).flatten()]
            seconds = torch.from_numpy(times.copy()).float().flatten()
            loss = loss + helpers.loss(audio, seconds, [heard.flatten(), *counts], [helpers.sounds(audio)])
        return loss


def rate_at(step: int, stage: Stage) -> float:
    """The learning rates' factor: a short warm-up and a cosine. The gain comes late; the cosine must finish."""
    if step < WARM_UP:
        return stage.rate * (step + 1) / WARM_UP
    progress = (step - WARM_UP) / max(1, stage.steps - WARM_UP)
    return stage.rate * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress)))


def make_optimizers(
    model: Qwen2_5OmniThinkerForConditionalGeneration, helpers: HelperHeads
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for all the rest."""
    matrices: list[nn.Parameter] = []
    others = list(helpers.parameters())
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
        (matrices if is_matrix else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=MATRIX_RATE, momentum=0.95, weight_decay=0.02),
        torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(folder: Path, run: Path, seed: int) -> None:
    """Trains in STAGES, from the run's last saved step on; writes the checkpoint to `folder`."""
    torch.manual_seed(seed)
    run.mkdir(parents=True, exist_ok=True)
    untrained(run / "untrained", seed)
    processor = Qwen2_5OmniProcessor.from_pretrained(run / "untrained")
    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(run / "untrained", dtype=torch.float32)
    model.train()
    lean = LeanThinker(model, processor)
    helpers = HelperHeads(model.config.text_config.hidden_size)
    state_file = run / "state.pt"
    reached, done, saved = 0, 0, None
    if state_file.exists():
        state = torch.load(state_file)
        if state["seed"] != seed:
            sys.exit(f"{run} holds a run of seed {state['seed']}; choose another --run.")
        model.load_state_dict(state["model"])
        helpers.load_state_dict(state["helpers"])
        reached, done, saved = state["stage"], state["done"], state["optimizers"]
    for number, stage in enumerate(STAGES[reached:], reached):
        optimizers = make_optimizers(model, helpers)
        for optimizer, earlier in zip(optimizers, saved or (), strict=bool(saved)):
            optimizer.load_state_dict(earlier)
        log.info("stage %d of %d, from step %d on: %s", number + 1, len(STAGES), done, stage)
        for step in _train_stage(lean, helpers, optimizers, stage, seed, done):
            if step % SAVE_EVERY == 0 or step == stage.steps:
                state = {
                    "seed": seed, "stage": number, "done": step,
                    "model": model.state_dict(), "helpers": helpers.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                }  # fmt: skip
                torch.save(state, state_file.with_suffix(".new"))
                state_file.with_suffix(".new").replace(state_file)
        done, saved = 0, None
    processor.save_pretrained(folder)
    model.save_pretrained(folder)
    log.info("the checkpoint is in %s", folder)


def _train_stage(
    lean: LeanThinker, helpers: HelperHeads, optimizers: list[torch.optim.Optimizer], stage: Stage, seed: int, done: int
) -> Iterator[int]:
    """Trains one stage after its first `done` steps; after each step, how many are done."""
    source = BatchSource(seed, done + stage.first, windows=stage.windows)
    base_rates = [optimizer.param_groups[0]["lr"] for optimizer in make_optimizers(lean.model, helpers)]
    parameters = [*lean.model.parameters(), *helpers.parameters()]
    since, figures = time.perf_counter(), []
    for step in range(done, stage.steps):
        batch = source.batch(step + stage.first, sounding=stage.sounding, polish=stage.polish, even=stage.even)
        for optimizer, base in zip(optimizers, base_rates, strict=True):
            optimizer.param_groups[0]["lr"] = base * rate_at(step, stage)
        loss, helper_loss, right = lean.forward(batch, helpers)
        (loss + stage.helper_weight * min(1, step / HELPER_WARM_UP) * helper_loss).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        figures.append((batch.waves is not None, loss.item(), right))
        if (step + 1) % 50 == 0:
            _report(step + 1, stage.steps, figures, time.perf_counter() - since)
            since, figures = time.perf_counter(), []
        yield step + 1


def _report(step: int, steps: int, figures: list[tuple[bool, float, float]], seconds: float) -> None:
    parts = []
    for name, sounding in (("silent", False), ("with sound", True)):
        rows = [(loss, right) for sounds, loss, right in figures if sounds == sounding]
        if rows:
            loss, right = np.mean(rows, 0)
            parts.append(f"{name}: loss {loss:.3f}, tokens right {right:.3f}")
    log.info("step %d/%d  %s  (%.2f s a step)", step, steps, "; ".join(parts), seconds / len(figures))


@torch.no_grad()
def differences(seed: int, folder: Path) -> tuple[float, float]:
    """How far the lean forward pass is from the genuine one: the answers' loss of a silent and of a sounding batch."""
    untrained(folder, seed)
    processor = Qwen2_5OmniProcessor.from_pretrained(folder)
    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    lean = LeanThinker(model, processor)
    helpers = HelperHeads(model.config.text_config.hidden_size)
    source = BatchSource(seed)
    found: dict[bool, float] = {}
    for step in itertools.count():
        batch = source.batch(step)
        sounding = batch.waves is not None
        spacing = second_per_grid(batch.seconds[0])
        if sounding in found or (sounding and spacing > 2):  # the genuine order is torn above two seconds a grid
            continue
        found[sounding] = abs(_genuine_loss(lean, batch) - lean.forward(batch, helpers)[0].item())
        if len(found) == 2:
            break
    return found[False], found[True]


@torch.no_grad()
def _genuine_loss(lean: LeanThinker, batch: Batch) -> float:
    """The answers' loss by the model's own forward pass, clip by clip."""
    before, after, answers = lean.words(batch)
    model, processor = lean.model, lean.processor
    losses, weights = [], []
    for row, answer in enumerate(answers):
        patches = lean.patches(batch.frames[row : row + 1])
        grids = patches.shape[1]
        height, width = batch.frames.shape[3] // 14, batch.frames.shape[4] // 14
        order, _ = lean.layout(batch, height // 2, width // 2)
        video_count = grids * height * width // 4
        kinds = [processor.video_token_id if place < video_count else processor.audio_token_id for place in order]
        ids = torch.tensor([[*before, *kinds, *after, *answer]])
        inputs: dict[str, torch.Tensor | bool] = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "pixel_values_videos": patches.flatten(0, 2),
            "video_grid_thw": torch.tensor([[grids, height, width]]),
            "video_second_per_grid": torch.tensor([second_per_grid(batch.seconds[row])]),
        }
        if batch.waves is not None:
            features = lean.processor.feature_extractor._torch_extract_fbank_features(batch.waves[row : row + 1])
            inputs["input_features"] = torch.from_numpy(features)
            inputs["feature_attention_mask"] = torch.ones(1, features.shape[2], dtype=torch.long)
            inputs["use_audio_in_video"] = True
        logits = model(**inputs).logits[0, -len(answer) - 1 : -1]
        losses.append(F.cross_entropy(logits, torch.tensor(answer)).item())
        weights.append(len(answer))
    return float(np.average(losses, weights=weights))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("backend/omni_timeline/demo/checkpoint"))
    parser.add_argument("--run", type=Path, default=Path("runs/demo-checkpoint"), help="where to save and resume")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("transformers").setLevel(logging.WARNING)
    train(arguments.output, arguments.run, arguments.seed)


if __name__ == "__main__":
    main()
