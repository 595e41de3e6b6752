"""Benchmarks of mathematics: plan, data, answers, command."""
