"""``python -m recipe.holderpo.evaluate``: a checkpoint on benchmarks."""
