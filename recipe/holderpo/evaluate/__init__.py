"""``python -m recipe.holderpo.evaluate``: a model on benchmarks, and agents on panels of games."""
