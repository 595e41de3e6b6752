"""Forks of one process that has imported what takes long, for tests that need fresh ones."""

import importlib
import multiprocessing

# What verl and vLLM import themselves; none of it knows of either.
SHARED = ("torch", "transformers", "ray", "tensordict")
FORK = multiprocessing.get_context("fork")


def import_shared():
    for name in SHARED:
        importlib.import_module(name)


def forked(function):
    """What a function returns in a child; whatever it imports or changes is gone with that."""
    receiving, sending = FORK.Pipe(duplex=False)
    child = FORK.Process(target=lambda: sending.send(function()))
    child.start()
    sending.close()
    answer = receiving.recv()
    child.join()
    return answer
