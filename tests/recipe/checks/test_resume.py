"""What a checkpoint must have for a run to go on from it."""

import json

import pytest

from recipe.holderpo.checks.resume import (
    CONTROLLER_FILE,
    check_steps_left,
    read_controller_state,
    write_controller_state,
)


def test_a_controllers_state_comes_back_from_its_checkpoint(tmp_path):
    folder = tmp_path / "global_step_3"
    write_controller_state(folder, 3, {"p": 0.5})
    assert read_controller_state(folder) == {"p": 0.5}
    assert json.loads((folder / CONTROLLER_FILE).read_text())["global_steps"] == 3
    assert [path.name for path in folder.iterdir()] == [CONTROLLER_FILE]


def test_a_checkpoint_of_another_trainer_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holderpo\.json is missing: .*resume_mode=disable"):
        read_controller_state(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"controller": 3}', '{"controller": null}'])
def test_a_damaged_state_is_refused(tmp_path, text):
    (tmp_path / CONTROLLER_FILE).write_text(text)
    with pytest.raises(ValueError, match=r"holderpo\.json is damaged .*resume_mode=resume_path"):
        read_controller_state(tmp_path)


def test_a_checkpoint_at_the_end_of_the_run_is_refused():
    check_steps_left(9, 10)
    with pytest.raises(ValueError, match=r"total_training_steps: 10, but .* at step 10: nothing"):
        check_steps_left(10, 10)
