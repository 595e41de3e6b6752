"""The trainer's checkpoints, written and read by verl's own code, without what Ray starts."""

import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import transfer_queue as tq
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback
from verl.utils.checkpoint.checkpoint_manager import BaseCheckpointManager

from holderpo.studies.run_files import read_rows
from recipe.holderpo.checks.checkpoints import (
    UNDER_WAY,
    checkpoints_in,
    find_faults,
    is_complete,
    needed_files,
    read_tracker,
    step_of,
)
from recipe.holderpo.checks.resume import Start, plan_start
from recipe.holderpo.checks.settings import make_controller
from recipe.holderpo.checks.which_checkpoint import find_checkpoint
from recipe.holderpo.run.progress import Progress
from recipe.holderpo.run.recorder import MetricsFile
from recipe.holderpo.run.run_folder import prepare_run_folder
from recipe.holderpo.trainer import TRAINERS
from tests.recipe.checkpoint_files import run_config, write_checkpoint, write_run


class Actor(BaseCheckpointManager):
    """One rank that writes small files, and removes older ones as verl's ranks do."""

    def __init__(self):
        self.previous_saved_paths = []
        self.loaded = []

    def save_checkpoint(self, local_path, hdfs_path, global_step, max_ckpt_to_keep):
        self.ensure_checkpoint_capacity(max_ckpt_to_keep)
        folder = Path(local_path)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("model", "optim", "extra_state"):
            # An archive of no files.
            content = b"PK\5\6" + bytes(18)
            (folder / f"{name}_world_size_1_rank_0.pt").write_bytes(content)
        self.register_checkpoint(local_path, max_ckpt_to_keep)

    def load_checkpoint(self, local_path, del_local_after_load):
        self.loaded.append(local_path)


class Loader:
    """A data loader with a position."""

    def __init__(self):
        self.position = 0

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


class Queue:
    """TransferQueue, with one prompt under way and the rows of the round that is being saved."""

    def __init__(self, monkeypatch):
        self.tags = {}
        for name in ("save_checkpoint", "load_checkpoint", "kv_list", "kv_clear"):
            monkeypatch.setattr(tq, name, getattr(self, name))

    def save_checkpoint(self, folder, metadata):
        first = Path(f"{folder}.tmp")
        first.mkdir()
        for name in ("controller_state.pkl", "metadata.json"):
            (first / name).write_text(str(metadata["global_steps"]))
        first.rename(folder)

    def load_checkpoint(self, folder):
        step = int((Path(folder) / "metadata.json").read_text())
        prompt = {"is_prompt": True, "status": "finished", "global_steps": step}
        rows = ("a_0_0", "a_1_0", f"used{step}_0_0", f"pad{step}_0_0")
        self.tags = {"a": prompt} | {name: {"status": "success"} for name in rows}

    def kv_list(self, partition_id=None):
        return {"train": dict(self.tags)} if self.tags else {}

    def kv_clear(self, keys, partition_id):
        for key in keys:
            del self.tags[key]


@pytest.fixture(params=TRAINERS)
def mode(request, monkeypatch):
    """An override that chooses each of verl's trainers."""
    Queue(monkeypatch)
    return f"trainer.v1.trainer_mode={request.param}"


class Tracking:
    """verl's logger."""

    def log(self, data, step):
        """Nothing is shown."""


class Told(CheckpointCallback):
    """A user's callback, and what it finds."""

    def __init__(self):
        self.calls = []

    def on_save(self, trainer, global_step, checkpoint_dir, async_save=False, **kwargs):
        folder = Path(checkpoint_dir)
        self.calls.append((global_step, folder.name, read_tracker(folder.parent), async_save))


def make_trainer(config, start=None):
    """As the launcher leaves it before verl loads a checkpoint."""
    mode = config.trainer.v1.trainer_mode
    trainer = TRAINERS[mode].__new__(TRAINERS[mode])
    trainer.config = config
    trainer.use_critic, trainer.trainer_mode = False, mode
    trainer.global_steps = 0
    trainer.actor_rollout_wg, trainer.train_dataloader = Actor(), Loader()
    trainer.controller = make_controller(config)
    trainer.checkpoint_callback = Told()
    trainer.start, trainer.progress = start or Start(), Progress()
    trainer.metrics_file = MetricsFile(Path(config.run_dir) / "metrics.jsonl")
    trainer.on_step = lambda step, metrics: None
    trainer.logger = Tracking()
    return trainer


def take_steps(trainer, last):
    """As verl's fit does, with a checkpoint in every step."""
    for step in range(trainer.global_steps + 1, last + 1):
        trainer.global_steps = step
        trainer.train_dataloader.position = step
        trainer._save_checkpoint()
        trainer.logger.log(data={"a": step}, step=step)


def begin(config):
    """The launcher's part, and the loading."""
    start, problems = plan_start(config, make_controller(config))
    assert problems == []
    prepare_run_folder(config, start)
    trainer = make_trainer(config, start)
    trainer._load_checkpoint()
    if start.step:
        trainer.metrics_file.drop_after(start.step)
    return trainer


def steps_in(config):
    return list(checkpoints_in(Path(config.trainer.default_local_dir)))


@pytest.mark.parametrize(("limit", "kept"), [(1, [4]), (2, [4, 3]), ("null", [4, 3, 2, 1])])
def test_as_many_checkpoints_stay_as_the_limit_says(limit, kept, tmp_path):
    config = run_config(tmp_path, f"trainer.max_actor_ckpt_to_keep={limit}")
    trainer = begin(config)
    take_steps(trainer, 4)
    assert steps_in(config) == kept
    assert read_tracker(Path(config.trainer.default_local_dir)) == "4"
    assert config.trainer.max_actor_ckpt_to_keep == (None if limit == "null" else limit)
    assert not config.actor_rollout_ref.actor.checkpoint.async_save


def test_verls_older_switch_keeps_one(tmp_path):
    overrides = ("+trainer.remove_previous_ckpt_in_save=true",)
    config = run_config(tmp_path, "trainer.max_actor_ckpt_to_keep=null", *overrides)
    take_steps(begin(config), 2)
    assert steps_in(config) == [2]


def test_what_was_kept_before_a_resume_goes_as_the_limit_says(tmp_path):
    config = run_config(tmp_path)
    write_run(config, [1, 2, 3, 4])
    (tmp_path / "checkpoints/global_step_3/data.pt").unlink()
    config.trainer.max_actor_ckpt_to_keep = 2
    take_steps(begin(config), 5)
    assert steps_in(config) == [5, 4]


def test_incomplete_ones_do_not_take_the_place_of_others(tmp_path):
    config = run_config(tmp_path, "trainer.max_actor_ckpt_to_keep=2")
    write_run(config, [1, 3], tracker="1")
    (tmp_path / "checkpoints/global_step_3/data.pt").unlink()
    trainer = begin(config)
    trainer.global_steps = 3
    take_steps(trainer, 4)
    assert steps_in(config) == [4, 1]


def test_checkpoints_of_another_run_stay(tmp_path):
    folder = write_run(run_config(tmp_path / "first"), [1, 2]).parent
    config = run_config(tmp_path / "second", "trainer.resume_mode=resume_path")
    config.trainer.resume_from_path = str(folder / "global_step_2")
    trainer = begin(config)
    take_steps(trainer, 4)
    assert list(checkpoints_in(folder)) == [2, 1]
    assert steps_in(config) == [4]


def test_a_users_callback_is_told_when_the_checkpoint_counts(tmp_path):
    trainer = begin(run_config(tmp_path))
    take_steps(trainer, 2)
    assert trainer.checkpoint_callback.calls == [
        (1, "global_step_1", "1", False),
        (2, "global_step_2", "2", False),
    ]


def test_verl_loads_the_checkpoint_that_was_planned_and_no_other(tmp_path):
    config = run_config(tmp_path)
    take_steps(begin(config), 3)
    write_checkpoint(config, 9)
    trainer = begin(config)
    assert trainer.global_steps == 3
    assert trainer.actor_rollout_wg.loaded == [f"{tmp_path}/checkpoints/global_step_3/actor"]
    assert trainer.train_dataloader.position == 3
    assert config.trainer.resume_mode == "auto"
    assert config.trainer.resume_from_path is None
    assert not config.trainer.val_before_train


def test_verl_loads_nothing_where_nothing_was_planned(tmp_path):
    config = run_config(tmp_path)
    write_run(config, [5])
    trainer = make_trainer(config)
    trainer._load_checkpoint()
    assert trainer.global_steps == 0
    assert trainer.actor_rollout_wg.loaded == []
    assert config.trainer.val_before_train


def test_a_controller_goes_on_where_it_was(tmp_path):
    config = run_config(tmp_path, "p=ess")
    trainer = begin(config)
    trainer.controller._p = 0.5
    take_steps(trainer, 1)
    assert begin(config).controller.state_dict()["p"] == 0.5


def test_another_runs_checkpoint_is_validated_first(tmp_path):
    folder = write_run(run_config(tmp_path / "first"), [1])
    config = run_config(tmp_path / "second", "trainer.resume_mode=resume_path")
    config.trainer.resume_from_path = str(folder)
    begin(config)
    assert config.trainer.val_before_train


class KilledError(BaseException):
    """Stands in for the end of the process."""


_WRITING = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")
_watched = {"folder": None, "call": None}


def _audit(event, arguments):
    """Call before anything below the watched folder is written or removed."""
    if _watched["folder"] is None or (event != "open" and event not in _WRITING):
        return
    path, mode = str(arguments[0]), arguments[1] if event == "open" else "w"
    is_writing = isinstance(mode, str) and not {*mode}.isdisjoint("wax+")
    # The removal of a tree names its files without their folder.
    if is_writing and (path.startswith(_watched["folder"]) or not path.startswith("/")):
        folder, _watched["folder"] = _watched["folder"], None
        _watched["call"]()
        _watched["folder"] = folder


@pytest.fixture(scope="module")
def before_writes():
    """A context in which a function is called before each write below a folder."""
    # It cannot be taken out again; without a context it does nothing.
    sys.addaudithook(_audit)

    @contextmanager
    def context(folder, call):
        _watched.update(folder=str(folder), call=call)
        try:
            yield
        finally:
            _watched["folder"] = None

    return context


@pytest.mark.parametrize("limit", [1, 2])
def test_whenever_it_is_killed_a_run_has_a_whole_checkpoint_and_all_rows(
    limit, mode, tmp_path, before_writes
):
    """Every state that the real order of writes leaves, over four steps."""
    config = run_config(tmp_path / "run", f"trainer.max_actor_ckpt_to_keep={limit}", mode)
    prepare_run_folder(config, Start())
    trainer, done, states = make_trainer(config), [], []
    trainer.on_step = lambda step, metrics: done.append(step)

    def keep_state():
        state = tmp_path / str(len(states))
        shutil.copytree(tmp_path / "run", state)
        states.append((state, max(done, default=0)))

    with before_writes(tmp_path / "run", keep_state):
        take_steps(trainer, 4)
    assert len(states) > 50, "every write is among them"
    steps = []
    for state, last_done in states:
        config.run_dir = str(state)
        folder, _, problems = find_checkpoint(config)
        assert problems == []
        step = step_of(folder) if folder else 0
        steps.append(step)
        assert step >= last_done
        assert folder is None or find_faults(folder, needed_files(config)) == []
        is_sync = config.trainer.v1.trainer_mode == "sync"
        assert folder is None or is_sync or (folder / UNDER_WAY / "metadata.json").exists()
        rows = [row["step"] for row in read_rows(state / "metrics.jsonl", [])]
        assert rows[:step] == list(range(1, step + 1)), "what is not done again is there"
    assert steps == sorted(steps)
    assert set(steps) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("limit", [1, 2])
def test_a_run_that_is_killed_again_and_again_ends_with_as_many_checkpoints(
    limit, mode, tmp_path, before_writes
):
    config = run_config(tmp_path / "run", f"trainer.max_actor_ckpt_to_keep={limit}", mode)
    for num_writes in (20, 31, 25, 19, 23, 29, 40, 1000):
        trainer = begin(config)
        writes = iter(range(num_writes))

        def write(writes=writes):
            if next(writes, None) is None:
                raise KilledError

        try:
            with before_writes(config.run_dir, write):
                take_steps(trainer, 5)
        except KilledError:
            continue
    rows = [row["step"] for row in read_rows(trainer.metrics_file.path, [])]
    assert rows == [1, 2, 3, 4, 5]
    assert steps_in(config) == [5, 4][:limit]
    found = checkpoints_in(Path(config.trainer.default_local_dir)).values()
    assert all(is_complete(folder, needed_files(config)) for folder in found)


ASYNC = "trainer.v1.trainer_mode=colocate_async"


def test_prompts_under_way_come_back_without_the_rows_of_the_round_before(monkeypatch, tmp_path):
    queue, config = Queue(monkeypatch), run_config(tmp_path, ASYNC)
    take_steps(begin(config), 2)
    assert begin(config)._restored_tq_prompt_count == 1
    assert set(queue.tags) == {"a", "a_0_0", "a_1_0"}


def test_prompts_under_way_that_are_cut_off_make_a_checkpoint_none(monkeypatch, tmp_path):
    Queue(monkeypatch)
    config = run_config(tmp_path, ASYNC)
    folder = write_run(config, [1, 2])
    (folder / f"{UNDER_WAY}.tmp").mkdir()
    _, (problem,) = plan_start(config, make_controller(config))
    assert f"{folder}: {UNDER_WAY} is cut off; " in problem
    assert str(folder.parent / "global_step_1") in problem


def test_what_an_earlier_try_has_left_under_way_is_no_part_of_a_checkpoint(tmp_path):
    config = run_config(tmp_path)
    left = write_checkpoint(config, 1)
    for name in (UNDER_WAY, f"{UNDER_WAY}.tmp"):
        (left / name).mkdir()
        (left / name / "metadata.json").write_text("{}")
    take_steps(make_trainer(config), 1)
    assert not any(path.name.startswith(UNDER_WAY) for path in left.iterdir())
    assert is_complete(left, needed_files(config))
