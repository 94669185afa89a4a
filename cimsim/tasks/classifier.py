"""A sentence classifier: a BERT encoder, the mean over its tokens, and a linear head.

Shapes: B sequences, T tokens, H features, C labels.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertModel

HEAD_STD = 0.02
"""Spread of a new head's weights: initializer_range of BERT's published configuration."""


class SentenceClassifier(nn.Module):
    """Logits [B, C] from token ids [B, T] and a mask [B, T] that is 1 for tokens, 0 for padding.

    `head` is the only part without pretrained weights; `seed` fixes it.
    """

    def __init__(self, config: BertConfig, labels: int, *, seed: int = 0) -> None:
        super().__init__()
        self.config = copy.deepcopy(config)
        self.config.num_labels = labels
        # What the pretrained weights replace is drawn without touching the caller's generator.
        make: Any = BertModel._from_config
        with torch.random.fork_rng(devices=[]):
            self.encoder = make(config, attn_implementation="sdpa", add_pooling_layer=False)
            self.head = nn.Linear(config.hidden_size, labels)
        source = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.head.weight, std=HEAD_STD, generator=source)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits of each sequence."""
        states_BTH = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        weight_BT1 = attention_mask[..., None].to(states_BTH.dtype)
        mean_BH = (states_BTH * weight_BT1).sum(1) / weight_BT1.sum(1)
        logits: torch.Tensor = self.head(mean_BH)
        return logits
