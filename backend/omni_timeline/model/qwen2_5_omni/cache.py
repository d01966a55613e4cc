"""The keys and values of what the model has read and written, in tensors with room for the tokens to come.

transformers' own cache copies all of them at each token. For greedy decoding: rows may be left out, not repeated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

SPARE_TOKENS = 64  # room that is made at a time, about as many as an answer has


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """One layer's keys and values, rows × heads × tokens × width. They are views of larger tensors that are filled."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Begin with no token, and no room."""
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values = (states[..., :0, :] for states in (key_states, value_states))
        self._key_room, self._value_room = self.keys, self.values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Take the keys and values of new tokens; returns those of all tokens."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.keys.shape[-2]
        after = before + key_states.shape[-2]
        if after > self._key_room.shape[-2]:
            self._key_room, self._value_room = (_with_room(old, after) for old in (self.keys, self.values))
        self._key_room[..., before:after, :] = key_states
        self._value_room[..., before:after, :] = value_states
        self.keys, self.values = self._key_room[..., :after, :], self._value_room[..., :after, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows only."""
        tokens = self.keys.shape[-2]
        self._key_room, self._value_room = self._key_room[indices], self._value_room[indices]
        self.keys, self.values = self._key_room[..., :tokens, :], self._value_room[..., :tokens, :]


def roomy_cache(config: Any) -> DynamicCache:
    """An empty cache for a model with this config of its language model."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _with_room(old: Tensor, tokens: int) -> Tensor:
    """The same tokens in a tensor that has room for `tokens`, and for some more."""
    rows, heads, filled, width = old.shape
    room = torch.empty((rows, heads, tokens + SPARE_TOKENS, width), dtype=old.dtype, device=old.device)
    room[..., :filled, :] = old
    return room
