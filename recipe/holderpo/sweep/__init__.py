"""``python -m recipe.holderpo.sweep``: many runs, resumable."""
