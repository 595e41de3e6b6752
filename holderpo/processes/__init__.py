"""Processes that are handed one job at a time, and killed and replaced when they are stuck."""
