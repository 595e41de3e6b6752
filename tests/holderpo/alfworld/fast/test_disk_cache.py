"""What is kept on disk is whole, its owner's, and never more than a saving of time."""

import json
import os
import shutil
import stat
import subprocess
import sys
import warnings

import pytest

from holderpo.alfworld.fast import disk_cache
from holderpo.alfworld.fast.disk_cache import DiskCache

VALUE = {"facts": [["at", ["tool"], [["t1"]]]], "name": "Hölder"}
KEY = ("game", "domain", "problem")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "above" / "cache"


@pytest.fixture
def file(folder):
    """The file of a value that was written."""
    DiskCache(folder, "1").write(VALUE, *KEY)
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def quiet():
    """Nothing warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_value_is_there_for_the_next_process(folder, file, quiet):
    code = (
        "import json, sys; from pathlib import Path;"
        "from holderpo.alfworld.fast.disk_cache import DiskCache;"
        "print(json.dumps(DiskCache(Path(sys.argv[1]), '1').read(*sys.argv[2:])))"
    )
    command = [sys.executable, "-c", code, str(folder), *KEY]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout) == VALUE


def test_a_value_is_found_by_all_it_follows_from(folder, file, quiet):
    cache = DiskCache(folder, "1")
    assert cache.read("grammar", *KEY[1:]) is None
    assert cache.read("game", "domain") is None
    assert cache.read("game", "domainproblem") is None
    assert cache.read("game", "problem", "domain") is None
    assert DiskCache(folder, "2").read(*KEY) is None


def test_a_folder_that_was_deleted_is_made_again(folder, file, quiet):
    cache = DiskCache(folder, "1")
    shutil.rmtree(folder.parent)
    assert cache.read(*KEY) is None
    cache.write(VALUE, *KEY)
    assert cache.read(*KEY) == VALUE
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_only_the_owner_may_look_whatever_the_mask(folder, quiet):
    before = os.umask(0)
    try:
        DiskCache(folder, "1").write(VALUE, *KEY)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


DAMAGE = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-7],
    "half": lambda content: content[: len(content) // 2],
    "one bit": lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
    "no text": lambda content: bytes(range(256)),
    "longer": lambda content: content + b"=",
    "another value's sum": lambda content: b"0" * 64 + content[64:],
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_counts_as_absent_and_is_written_again(folder, file, quiet, kind):
    file.write_bytes(DAMAGE[kind](file.read_bytes()))
    cache = DiskCache(folder, "1")
    assert cache.read(*KEY) is None
    cache.write(VALUE, *KEY)
    assert cache.read(*KEY) == VALUE


def test_another_users_file_a_link_and_one_that_others_may_write_are_not_read(
    folder, file, quiet, monkeypatch, tmp_path
):
    cache = DiskCache(folder, "1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert cache.read(*KEY) is None
    file.chmod(0o660)
    assert cache.read(*KEY) is None
    file.chmod(0o600)
    assert cache.read(*KEY) == VALUE
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert cache.read(*KEY) is None


def test_a_folder_that_others_may_write_or_own_is_not_used(folder, file, monkeypatch):
    folder.chmod(0o770)
    with pytest.warns(
        RuntimeWarning, match=f"cache_folder: {folder} .*written by others"
    ) as caught:
        cache = DiskCache(folder, "1")
    assert len(caught) == 1
    assert cache.read(*KEY) is None
    cache.write(VALUE, "game", "more")
    assert list(folder.iterdir()) == [file]
    folder.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.warns(RuntimeWarning, match="another user's"):
        DiskCache(folder, "1")


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.warns(RuntimeWarning, match=f"cache_folder: {folder} cannot be made"):
            cache = DiskCache(folder, "1")
        cache.write(VALUE, *KEY)
        assert cache.read(*KEY) is None


def test_a_folder_that_cannot_be_written_is_read_and_warned_of_once(folder, file, monkeypatch):
    cache = DiskCache(folder, "1")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_cache.os, "replace", full)
    with pytest.warns(RuntimeWarning, match="cannot be written .No space left"):
        cache.write(VALUE, "game", "more")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.write(VALUE, "game", "and more")
    # Nothing unfinished stays behind.
    assert list(folder.iterdir()) == [file]
    assert cache.read(*KEY) == VALUE


def test_without_a_folder_nothing_is_kept(quiet):
    cache = DiskCache(None, "1")
    cache.write(VALUE, *KEY)
    assert cache.read(*KEY) is None


def test_processes_that_write_at_once_leave_one_whole_file(folder, quiet):
    code = (
        "import sys; from pathlib import Path;"
        "from holderpo.alfworld.fast.disk_cache import DiskCache;"
        "cache = DiskCache(Path(sys.argv[1]), '1');"
        "[cache.write(['x' * 100_000], *sys.argv[2:]) for _ in range(200)]"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(folder), *KEY]
    writers = [subprocess.Popen(command) for _ in range(2)]
    cache = DiskCache(folder, "1")
    seen = 0
    while any(writer.poll() is None for writer in writers):
        # Never half a file: once there, it stays there.
        value = cache.read(*KEY)
        assert value == ["x" * 100_000] or (value is None and not seen)
        seen += value is not None
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen
    assert len(list(folder.iterdir())) == 1
