"""Runs on disk, arms of a study, their differences and curves."""
