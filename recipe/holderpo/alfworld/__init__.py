"""ALFWorld's games in Ray actors of their own, apart from trainer and rollout workers."""
