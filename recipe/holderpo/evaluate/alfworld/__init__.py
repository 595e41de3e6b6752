"""Whole panels of ALFWorld: plan, policies, episodes, command."""
