"""A laboratory in one process: p on a small task, a run in seconds, many runs compared."""
