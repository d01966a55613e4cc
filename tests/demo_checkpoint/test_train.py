"""The training of the demo checkpoint: its quick forward pass is the genuine model's."""

from __future__ import annotations

from pathlib import Path

from train import differences


def test_the_lean_forward_pass_gives_the_loss_of_the_genuine_one(tmp_path: Path):
    # Trained with other positions or another order of tokens than it is asked with, a model would learn other times.
    silent, sounding = differences(seed=0, folder=tmp_path)
    assert silent < 1e-4
    assert sounding < 1e-4
