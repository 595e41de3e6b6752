"""What the commands share: how they end, and the folder that they write to."""

import errno
import os

import pytest

from recipe.holderpo.evaluate.evaluation_folder import PlanError, exit_status, locked


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    wanted = r"--out: .*file/out cannot be used \(Not a directory\)"
    with pytest.raises(PlanError, match=wanted), locked(tmp_path / "file/out"):
        pass


def test_one_evaluation_writes_at_a_time(tmp_path):
    refused = pytest.raises(PlanError, match="another evaluation writes to")
    with locked(tmp_path), refused, locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_an_error_of_the_file_system_is_one_line(capsys):
    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/evaluation.json")

    assert exit_status(full) == 1
    shown = capsys.readouterr().err
    assert "out/evaluation.json" in shown
    assert len(shown.splitlines()) == 1
