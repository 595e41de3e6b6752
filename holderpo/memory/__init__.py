"""Whether a run fits: memory of its GPUs, main memory, disk."""
