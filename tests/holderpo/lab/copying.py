"""A task of a user's own, as small as one can be: say the letter that was shown."""

from pathlib import Path

import numpy as np
import torch

from holderpo.lab.sampler import log_probs_of
from holderpo.lab.task import Problems, exact_match

LETTERS, END = 6, 1


class Copying:
    """Prompts of a letter and a mark, answers of that letter and the end."""

    end_id = END

    def __init__(self, *, max_response_tokens=3):
        self.max_response_tokens = max_response_tokens

    def draw(self, split, count, rng):
        letters = torch.from_numpy(rng.integers(2, 2 + LETTERS, size=count))
        marks = torch.full((count, 1), {"train": 8, "heldout": 9}[split])
        ends = torch.full((count, 1), END)
        return Problems(
            torch.cat([letters[:, None], marks], 1), torch.cat([letters[:, None], ends], 1)
        )

    def score(self, problems, responses):
        return exact_match(problems.answers, responses, self.end_id)

    def ensure_model(self, folder: Path, seed: int) -> Path:
        path = folder / f"copying{seed}"
        if not path.exists():
            self._fit(seed).save_pretrained(path)
        return path

    def _fit(self, seed):
        """To a teacher who says the right letter half of the time."""
        from transformers import Qwen2Config, Qwen2ForCausalLM

        torch.manual_seed(seed)
        config = Qwen2Config(
            vocab_size=10,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=16,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=END,
        )
        model, rng = Qwen2ForCausalLM(config), np.random.default_rng(seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-2)
        for step in range(100):
            problems = self.draw(("train", "heldout")[step % 2], 64, rng)
            shown = problems.answers.clone()
            wrong = torch.from_numpy(rng.random(64) < 0.5)
            shown[wrong, 0] = torch.from_numpy(rng.integers(2, 2 + LETTERS, size=64))[wrong]
            loss = -log_probs_of(model, problems.prompts, shown).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return model
