"""Benchmarks of mathematics: panels, sampling, records of answers, scores."""
