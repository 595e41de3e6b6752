"""One run: start, screen, log, summary."""
