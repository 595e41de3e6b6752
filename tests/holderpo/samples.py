"""Random inputs that several test modules draw."""

import torch


def gaussian(*size, seed=0, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(*size, generator=generator, dtype=torch.float64)
