"""The parts of the full model that are never loaded, as small as they can be."""

from __future__ import annotations

TINY_TALKER = {
    "embedding_size": 128, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 64,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]},
}  # fmt: skip
TINY_VOICE = {
    "dit_config": {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "ff_mult": 1, "emb_dim": 16,
        "head_dim": 16, "enc_dim": 16, "enc_emb_dim": 16, "enc_channels": [16, 16, 16, 16, 48],
        "enc_attention_channels": 8, "enc_se_channels": 8, "look_ahead_layers": [0], "look_backward_layers": [0],
        "num_embeds": 64, "mel_dim": 80,
    },
    "bigvgan_config": {"upsample_initial_channel": 32},
}  # fmt: skip
