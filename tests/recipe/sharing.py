"""Results that take long, made once for all processes of a test run."""

import os
import pickle

from filelock import FileLock


def made_once(tmp_path_factory, name, make):
    """What ``make(folder)`` returns, from the process that comes first.

    Args:
        tmp_path_factory: pytest's fixture of that name.
        name: of the result, within the test run.
        make: gets an empty folder; what it returns can be pickled.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # The folder of the run, above that of this worker.
        folder = folder.parent
    result = folder / f"{name}.pickle"
    with FileLock(folder / f"{name}.lock"):
        if not result.exists():
            result.write_bytes(pickle.dumps(make(tmp_path_factory.mktemp(name))))
    return pickle.loads(result.read_bytes())
