"""Where a run begins, and what is refused before anything of it is written or loaded."""

import json
import shutil
from pathlib import Path

import pytest

from holderpo.studies.run_files import read_rows
from recipe.holderpo.checks.checkpoints import TRACKER
from recipe.holderpo.checks.plan import make_plan
from recipe.holderpo.checks.resume import Start, plan_start, resume_problems, resume_warnings
from recipe.holderpo.checks.settings import ConfigError, check_config, make_controller
from tests.recipe.checkpoint_files import run_config, write_checkpoint, write_rows, write_run

ANEW = "start anew with trainer.resume_mode=disable"


def begun(config):
    """How a run begins that nothing is wrong with."""
    start, problems = plan_start(config, make_controller(config))
    assert problems == []
    return start


def problem(config):
    """The one line of what is wrong."""
    _, problems = plan_start(config, make_controller(config))
    assert len(problems) == 1, problems
    return problems[0]


@pytest.fixture
def config(tmp_path):
    return run_config(tmp_path / "run")


def test_without_a_checkpoint_a_run_begins_with_its_first_step(config):
    assert begun(config) == Start()


def test_a_run_goes_on_from_the_checkpoint_that_the_tracker_names(config):
    folder = write_run(config, [5, 10])
    write_checkpoint(config, 15)
    start = begun(config)
    assert (start.checkpoint, start.step, start.is_own) == (folder, 10, True)
    assert start.controller_state == make_controller(config).state_dict()
    assert start.lines == (f"resume     after step 10, from {folder}",)
    assert start.warnings == start.moved_aside == ()


@pytest.mark.parametrize("text", ["", " \n", "\0\0", "\0 \n"])
def test_a_torn_tracker_stands_for_the_last_complete_checkpoint(text, config):
    folder = write_run(config, [5, 10], tracker=text)
    (folder / "actor/optim_world_size_1_rank_0.pt").unlink()
    start = begun(config)
    assert start.step == 5
    path = folder.parent / TRACKER
    assert start.warnings == (
        f"{path} is empty: going on from the last complete checkpoint, step 5",
    )


def test_a_torn_tracker_and_no_complete_checkpoint_begin_anew(config):
    folder = write_run(config, [5], tracker="")
    (folder / "data.pt").unlink()
    start = begun(config)
    assert start.checkpoint is None
    assert start.moved_aside == (Path(config.run_dir),)
    assert start.warnings[0].endswith("is empty, and no checkpoint beside it is complete")


def test_a_checkpoint_without_its_row_counts_only_if_nothing_else_does(config):
    write_run(config, [5, 10], tracker="")
    write_rows(config, range(10))
    assert begun(config).step == 5
    write_rows(config, [])
    assert begun(config).step == 10


def test_without_a_tracker_the_row_decides(config):
    folder = write_run(config, [5, 10])
    (folder.parent / TRACKER).unlink()
    assert begun(config).step == 10
    write_rows(config, range(5))
    start = begun(config)
    assert start.checkpoint is None
    assert start.moved_aside == (Path(config.run_dir),)
    assert "counts: latest_checkpointed_iteration.txt is missing" in start.warnings[0]


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("nonsense", "'nonsense', which is no step"),
        ("99", "'99', and global_step_99 is not beside it"),
        ("-5", "'-5', which is no step"),
        ("²", "'²', which is no step"),
        ("1e1", "'1e1', which is no step"),
    ],
)
def test_a_tracker_that_names_no_checkpoint_is_refused(text, lacks, config):
    path = write_run(config, [5, 10], tracker=text).parent / TRACKER
    assert problem(config) == (
        f"trainer.resume_mode: auto, but {path} says {lacks}; write the step of a checkpoint into "
        f"it (5, 10), or {ANEW}"
    )


def test_a_tracker_that_cannot_be_read_is_refused(config):
    path = write_run(config, [5]).parent / TRACKER
    path.unlink()
    path.mkdir()
    assert f"auto, but {path} cannot be read ([Errno 21] Is a directory" in problem(config)


@pytest.mark.parametrize(
    "name",
    [
        *("holderpo.json", "data.pt", "actor/model_world_size_1_rank_0.pt"),
        *("actor/optim_world_size_1_rank_0.pt", "actor/extra_state_world_size_1_rank_0.pt"),
    ],
)
def test_a_checkpoint_that_lacks_a_file_is_refused_and_a_whole_one_named(name, config):
    folder = write_run(config, [5, 10])
    (folder / name).unlink()
    path = f"trainer.resume_from_path={folder.with_name('global_step_5')}"
    assert problem(config) == (
        f"{folder}: {name} is missing; trainer.resume_mode=resume_path {path}, or {ANEW}"
    )


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_file_that_was_cut_off_is_found(size, config):
    folder = write_run(config, [5])
    path = folder / "actor/optim_world_size_1_rank_0.pt"
    path.write_bytes(path.read_bytes()[:size])
    assert problem(config) == (f"{folder}: actor/optim_world_size_1_rank_0.pt is cut off; {ANEW}")


def test_only_what_is_loaded_has_to_be_there(config):
    folder = write_run(config, [5])
    (folder / "actor/optim_world_size_1_rank_0.pt").unlink()
    config.actor_rollout_ref.actor.checkpoint.load_contents = ["model", "extra"]
    start, problems = plan_start(config, make_controller(config))
    assert start.step == 5
    assert [line.partition(":")[0] for line in problems] == [
        "actor_rollout_ref.actor.checkpoint.load_contents"
    ]


def test_on_several_machines_each_may_keep_its_own_files(tmp_path):
    overrides = ("trainer.nnodes=2", "actor_rollout_ref.actor.ppo_mini_batch_size=16")
    config = run_config(tmp_path / "run", *overrides)
    folder = write_run(config, [5])
    assert not (folder / "actor").exists()
    assert begun(config).step == 5


def test_a_checkpoint_of_another_number_of_ranks_is_refused(config):
    folder = write_run(config, [5])
    (folder / "actor/fsdp_config.json").write_text('{"world_size": 4}')
    assert problem(config) == (
        f"trainer.nnodes * trainer.n_gpus_per_node: 1, but {folder} was written by 4 ranks; give "
        f"as many, or {ANEW}"
    )


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"controller": 3, "global_steps": 5}', '{"controller": null}', "\0", "\xff"],
)
def test_a_damaged_state_of_the_controller_is_refused(text, config):
    folder = write_run(config, [5])
    (folder / "holderpo.json").write_text(text, encoding="latin-1")
    line = problem(config)
    assert line.startswith(f"{folder}/holderpo.json: damaged (")
    assert line.endswith("; resume from another checkpoint (trainer.resume_mode=resume_path)")


def test_a_state_of_another_step_is_refused(config):
    folder = write_run(config, [5, 10])
    shutil.copy(folder.with_name("global_step_5") / "holderpo.json", folder)
    assert problem(config).startswith(f"{folder}/holderpo.json: of step 5, in global_step_10; ")


def test_a_state_that_the_controller_does_not_take_is_refused(tmp_path):
    config = run_config(tmp_path / "run", "p=ess")
    folder = write_run(config, [5])
    noted = json.loads((folder / "holderpo.json").read_text())
    noted["controller"]["p"] = 1e9
    (folder / "holderpo.json").write_text(json.dumps(noted))
    controller = make_controller(config)
    before = controller.state_dict()
    _, problems = plan_start(config, controller)
    assert len(problems) == 1
    assert problems[0].startswith("p: the checkpoint's order is 1000000000.0")
    assert controller.state_dict() == before


def test_a_run_with_nothing_left_to_train_is_refused(tmp_path):
    config = run_config(tmp_path / "run", "trainer.total_training_steps=10")
    write_run(config, [10])
    assert problem(config) == (
        "trainer.total_training_steps: 10, but the checkpoint is at step 10: nothing is left to "
        f"train; raise it with resume_with=[trainer.total_training_steps], or {ANEW}"
    )


def test_every_problem_comes_at_once(tmp_path):
    write_run(run_config(tmp_path / "run"), [10])
    config = run_config(tmp_path / "run", "seed=1", "trainer.total_training_steps=10")
    (tmp_path / "run/checkpoints/global_step_10/data.pt").unlink()
    _, problems = plan_start(config, make_controller(config))
    fields = [line.partition(":")[0] for line in problems]
    assert fields == [
        "trainer.total_training_steps",
        str(tmp_path / "run/checkpoints/global_step_10"),
        "trainer.total_training_steps",
        "seed",
    ]


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ("seed=1", ["seed: 1, but the run was started with 0 (PATH)"]),
        (
            "actor_rollout_ref.actor.optim.lr=0.001",
            ["actor_rollout_ref.actor.optim.lr: 0.001, but the run was started with 0.0002 (PATH)"],
        ),
        (
            "actor_rollout_ref.actor.policy_loss.clip_level=token",
            [
                "actor_rollout_ref.actor.policy_loss.clip_level: 'token', but the run was started "
                "with 'sequence' (PATH)"
            ],
        ),
        (
            "p.end=-1",
            ["p.end: -1, but the run was started with -2.0 (PATH)"],
        ),
        (
            "trainer.total_training_steps=50",
            ["trainer.total_training_steps: 50, but the run was started with 25 (PATH)"],
        ),
        (
            "+algorithm.mine=3",
            ["algorithm.mine: 3, but the run was started without it (PATH)"],
        ),
    ],
)
def test_another_setting_is_refused_unless_it_is_allowed_by_name(change, lines, tmp_path):
    write_run(run_config(tmp_path / "run"), [10])
    path = tmp_path / "run/config.yaml"
    config = run_config(tmp_path / "run", change)
    name = change.lstrip("+").partition("=")[0]
    _, problems = plan_start(config, make_controller(config))
    assert problems == [
        line.replace("PATH", str(path)) + f"; set it back, or allow it with resume_with=[{name}]"
        for line in lines
    ]
    for allowed in (name, name.partition(".")[0]):
        config.resume_with = [allowed, "p"]
        start = begun(config)
        assert start.is_changed
        assert start.warnings[0].startswith(f"resume_with: {name} is ")
    config.resume_with = [name[:-1], "p"]
    assert f"resume_with: '{name[:-1]}' names no setting; give dotted names" in "\n".join(
        plan_start(config, make_controller(config))[1]
    )


@pytest.mark.parametrize(
    ("then", "change", "line"),
    [
        ("lora_rank=0", "lora_rank=8", "lora_rank: 8, but the checkpoint's adapters were made w"),
        ("lora_rank=8", "lora_rank=0", "lora_rank: 0, but the checkpoint's adapters were made w"),
        ("lora_rank=8", "lora_rank=16", "lora_rank: 16, but the checkpoint's adapters were made"),
        ("lora_rank=8", "target_modules=[q_proj]", "target_modules: ['q_proj'], but the checkpoi"),
        ("lora_rank=8", "exclude_modules=mlp", "exclude_modules: 'mlp', but the checkpoint's ad"),
    ],
)
def test_other_adapters_than_those_of_the_checkpoint_are_refused_whatever_is_allowed(
    then, change, line, tmp_path
):
    model = "actor_rollout_ref.model"
    write_run(run_config(tmp_path / "run", f"{model}.{then}"), [10])
    overrides = [f"{model}.{then}", f"{model}.{change}"]
    config = run_config(tmp_path / "run", *overrides)
    for allowed in ([], [f"{model}.{change.partition('=')[0]}"], [model]):
        config.resume_with = allowed
        (found,) = plan_start(config, make_controller(config))[1]
        assert found.startswith(f"{model}.{line}")
        assert found.endswith("; set it back, or start anew with trainer.resume_mode=disable")


def test_what_only_adapters_read_may_be_allowed_without_them(tmp_path):
    write_run(run_config(tmp_path / "run"), [10])
    name = "actor_rollout_ref.model.target_modules"
    config = run_config(tmp_path / "run", f"{name}=[q_proj]", f"resume_with=[{name}]")
    assert begun(config).is_changed


def test_another_alpha_of_the_adapters_is_refused_unless_it_is_allowed(tmp_path):
    model = "actor_rollout_ref.model"
    write_run(run_config(tmp_path / "run", f"{model}.lora_rank=8"), [10])
    config = run_config(tmp_path / "run", f"{model}.lora_rank=8", f"{model}.lora_alpha=32")
    (line,) = plan_start(config, make_controller(config))[1]
    assert line.startswith(f"{model}.lora_alpha: 32, but the run was started with 16 (")
    config.resume_with = [f"{model}.lora_alpha"]
    assert begun(config).is_changed


def test_a_longer_run_stretches_the_schedule_of_p_which_has_to_be_named_too(tmp_path):
    write_run(run_config(tmp_path / "run"), [10])
    config = run_config(tmp_path / "run", "trainer.total_training_steps=50")
    config.resume_with = ["trainer.total_training_steps"]
    line = problem(config)
    assert line.startswith("p: the checkpoint was written with {'steps': 24}, this run has {'ste")
    assert line.endswith("or let p go on by its settings here with resume_with=[p]")
    config.resume_with = ["trainer.total_training_steps", "p"]
    start = begun(config)
    assert start.controller_state is None
    assert start.warnings[-1] == (
        "resume_with: p goes on by its settings here, without what it had learnt"
    )


def test_places_and_logging_may_differ(tmp_path):
    write_run(run_config(tmp_path / "run"), [10])
    config = run_config(
        tmp_path / "run",
        *("trainer.experiment_name=other", "trainer.save_freq=5", "trainer.test_freq=-1"),
        *("trainer.logger=[console]", "trainer.max_actor_ckpt_to_keep=3", "check=true"),
    )
    start = begun(config)
    assert (start.step, start.is_changed) == (10, False)


def test_a_run_whose_folder_was_renamed_goes_on(tmp_path):
    write_run(run_config(tmp_path / "run"), [10])
    (tmp_path / "run").rename(tmp_path / "renamed")
    assert begun(run_config(tmp_path / "renamed")).step == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "config.yaml: not in RUN or RUN/checkpoints, to compare with"),
        ("", "RUN/config.yaml: is cut off or not that of a run (it has no actor_rollout_ref, "),
        ("trainer: [", "RUN/config.yaml: cannot be read (ParserError: while parsing"),
        ("- 1", "RUN/config.yaml: is not that of a run (it has no sections)"),
        ("3", "RUN/config.yaml: cannot be read ("),
        ("a: \0", "RUN/config.yaml: cannot be read ("),
        ("a: ${b}", "RUN/config.yaml: cannot be read (InterpolationKeyError"),
        (b"\xff", "RUN/config.yaml: cannot be read (UnicodeDecodeError"),
    ],
)
def test_a_missing_or_damaged_configuration_is_refused(text, message, config):
    write_run(config, [10])
    path = Path(config.run_dir) / "config.yaml"
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    line = problem(config)
    assert line.startswith(message.replace("RUN", config.run_dir))
    assert line.endswith(
        f"; put it back, or make it anew with the run's own command and --cfg job, or {ANEW}"
    )


def test_a_checkpoint_is_named_by_its_folder(tmp_path):
    folder = write_run(run_config(tmp_path / "first"), [5, 10]).with_name("global_step_5")
    config = run_config(tmp_path / "second", "trainer.resume_mode=resume_path")
    for path in (f"{folder}", f"{folder}/"):
        config.trainer.resume_from_path = path
        start = begun(config)
        assert (start.checkpoint, start.step, start.is_own) == (folder, 5, False)
        assert start.moved_aside == ()
    config.seed = 1
    assert f"started with 0 ({tmp_path}/first/config.yaml)" in problem(config)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "None; give the folder of a checkpoint, .../global_step_N"),
        ("nowhere/global_step_3", "'nowhere/global_step_3' is no folder; give that of"),
        ("RUN", "is not named global_step_N; give a checkpoint's folder, such as "),
        ("RUN/checkpoints", "is not named global_step_N; give a checkpoint's folder, such as "),
        ("RUN/heldout", "is not named global_step_N; give a checkpoint's folder"),
    ],
)
def test_a_path_to_no_checkpoint_is_refused(path, message, tmp_path):
    newest = write_run(run_config(tmp_path), [5, 10])
    (tmp_path / "heldout").mkdir()
    config = run_config(tmp_path, "trainer.resume_mode=resume_path")
    config.trainer.resume_from_path = path and path.replace("RUN", str(tmp_path))
    line = problem(config)
    assert line.startswith("trainer.resume_from_path: ")
    assert message in line
    assert line.endswith(str(newest)) == message.endswith("such as ")


def test_going_back_moves_newer_checkpoints_aside(tmp_path):
    newest = write_run(run_config(tmp_path), [5, 10])
    config = run_config(tmp_path, "trainer.resume_mode=resume_path")
    config.trainer.resume_from_path = str(newest.with_name("global_step_5"))
    start = begun(config)
    assert (start.is_own, start.moved_aside) == (True, (newest,))
    assert start.lines[1] == f"earlier    kept aside, as {newest}.1"


def test_an_earlier_run_without_a_checkpoint_is_kept(config):
    write_run(config, [5])
    shutil.rmtree(config.trainer.default_local_dir)
    start = begun(config)
    assert start.moved_aside == (Path(config.run_dir),)
    assert start.lines == (f"earlier    kept aside, as {config.run_dir}.1",)
    assert len(read_rows(Path(config.run_dir) / "metrics.jsonl", [])) == 6, (
        "the check writes nothing"
    )


def test_what_a_start_without_a_step_has_left_is_no_run(config):
    write_run(config, [5])
    shutil.rmtree(config.trainer.default_local_dir)
    (Path(config.run_dir) / "metrics.jsonl").write_text("")
    assert begun(config) == Start()


def test_checkpoints_elsewhere_are_kept_with_the_run(tmp_path):
    elsewhere = f"trainer.default_local_dir={tmp_path}/elsewhere"
    write_run(run_config(tmp_path / "run", elsewhere), [5])
    config = run_config(tmp_path / "run", elsewhere)
    assert begun(config).step == 5
    config.trainer.resume_mode = "disable"
    assert begun(config).moved_aside == (tmp_path / "run", tmp_path / "elsewhere")


def test_names_that_are_no_settings_are_refused_in_a_run_that_begins(config):
    config.resume_with = ["seed", "p", "sed"]
    assert problem(config) == (
        "resume_with: 'sed' names no setting; give dotted names as --cfg job shows them"
    )


def test_the_check_refuses_and_the_plan_shows_what_was_decided(config):
    folder = write_run(config, [5], tracker="")
    start = begun(config)
    plan = make_plan(config, make_controller(config), start)
    assert plan.start == start
    assert f"resume     after step 5, from {folder}" in plan.lines
    assert start.warnings[0] in plan.warnings
    config.trainer.save_freq = -1
    assert any(
        "nothing can be resumed" in warning
        for warning in make_plan(config, make_controller(config), start).warnings
    )
    config.seed = 1
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    assert any(line.startswith("seed: 1, but the run was") for line in caught.value.problems)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("resume_with=p", "resume_with: 'p'; give a list of names, such as resume_with=[seed]"),
        ("resume_with=[1]", "resume_with: [1]; give a list"),
        ("resume_with=['']", "resume_with: ['']; give a list"),
        ("resume_with=null", "resume_with: None; give a list"),
        ("trainer.save_freq=ten", "trainer.save_freq: 'ten'; give a number of steps, or -1"),
        ("trainer.save_freq=null", "trainer.save_freq: None; give a number of steps, or -1"),
        ("trainer.default_local_dir=null", "trainer.default_local_dir: None; give a folder"),
        ("trainer.max_actor_ckpt_to_keep=two", "trainer.max_actor_ckpt_to_keep: 'two'; give a num"),
        ("trainer.max_actor_ckpt_to_keep=0", "trainer.max_actor_ckpt_to_keep: 0; give a number of"),
    ],
)
def test_settings_of_checkpoints_that_mean_nothing_are_refused(override, message, tmp_path):
    (line,) = resume_problems(run_config(tmp_path, override))
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.save_freq=-1"], "trainer.save_freq -1: no checkpoint is written"),
        (["trainer.save_freq=0"], "trainer.save_freq 0: no checkpoint is written"),
        (["trainer.save_freq=26"], "trainer.save_freq 26: the only checkpoint is written after"),
        (["trainer.resume_from_path=x"], "trainer.resume_from_path has no effect: it belongs to"),
        (
            ["trainer.resume_mode=disable", "resume_with=[seed]"],
            "resume_with has no effect: with trainer.resume_mode=disable nothing is resumed",
        ),
        (["resume_with=[run_dir]"], "resume_with: run_dir has no effect: it may differ"),
    ],
)
def test_settings_of_checkpoints_that_do_nothing_are_warned_of(overrides, message, tmp_path):
    (line,) = resume_warnings(run_config(tmp_path, *overrides))
    assert line.startswith(message)


def test_a_folder_that_cannot_be_looked_at_is_refused(config, tmp_path):
    config.run_dir = str(tmp_path / ("x" * 300))
    assert problem(config).startswith(f"run_dir: {config.run_dir!r} cannot be read ([Errno 36]")


def test_what_a_run_needs_itself_is_not_moved_aside(config, tmp_path, monkeypatch):
    write_run(config, [5])
    config.trainer.resume_mode = "disable"
    config.actor_rollout_ref.model.path = f"{config.run_dir}/exported"
    config.data.val_files = [f"{config.run_dir}/val.parquet", "elsewhere.parquet"]
    another = "where an earlier run is that is to be kept under another name; give another run_dir"
    for name in ("exported", "val.parquet"):
        (tmp_path / "run" / name).touch()
    _, problems = plan_start(config, make_controller(config))
    assert problems == [
        f"data.val_files: {config.run_dir}/val.parquet lies in {config.run_dir}, {another}",
        f"actor_rollout_ref.model.path: {config.run_dir}/exported lies in {config.run_dir}, "
        f"{another}",
    ]
    config = run_config(".", "trainer.resume_mode=disable")
    monkeypatch.chdir(tmp_path / "run")
    assert problem(config) == (
        f"run_dir: '.' is, or is above, the folder that the run is started in, {another}"
    )


def test_a_checkpoint_among_checkpoints_that_are_moved_aside_is_refused(config, tmp_path):
    other = run_config(tmp_path / "other")
    other.trainer.default_local_dir = str(tmp_path / "kept/old")
    config.trainer.default_local_dir = str(tmp_path / "kept")
    config.trainer.resume_mode = "resume_path"
    folder = config.trainer.resume_from_path = str(write_run(other, [5]))
    shutil.copy(tmp_path / "other/config.yaml", tmp_path / "kept")
    write_checkpoint(config, 3)
    assert problem(config).startswith(
        f"trainer.resume_from_path: {folder} lies in {tmp_path / 'kept'}, where an earlier run is"
    )


CONTENTS = "actor_rollout_ref.actor.checkpoint"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([f"{CONTENTS}.save_contents=model"], [f"{CONTENTS}.save_contents: 'model'; give a list"]),
        (
            [f"{CONTENTS}.save_contents=[model,optim]"],
            [f"{CONTENTS}.save_contents: ['model', 'optim']; give a list of model, optimizer,"],
        ),
        (
            [f"{CONTENTS}.save_contents=[hf_model]"],
            [f"{CONTENTS}.load_contents: ['hf_model']; a resumed run would go on with un"],
        ),
        (
            [
                f"{CONTENTS}.save_contents=[model,extra]",
                f"{CONTENTS}.load_contents=[model,optimizer,extra]",
            ],
            [f"{CONTENTS}.save_contents: ['model', 'extra']; without optimizer, which load_"],
        ),
        ([f"{CONTENTS}.save_contents=[model,optimizer,extra,hf_model]"], []),
        ([f"{CONTENTS}.save_contents=null", f"{CONTENTS}.load_contents=null"], []),
    ],
)
def test_checkpoints_hold_what_a_run_goes_on_from(overrides, expected, tmp_path):
    config = run_config(tmp_path / "run", *overrides)
    found = list(resume_problems(config))
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


def test_without_the_optimiser_a_run_is_warned_of(tmp_path):
    config = run_config(tmp_path / "run", f"{CONTENTS}.save_contents=[model,extra]")
    assert list(resume_problems(config)) == []
    assert list(resume_warnings(config)) == [
        f"{CONTENTS}.load_contents has no optimizer: a run that goes on from a checkpoint begins "
        "anew with that"
    ]


def test_weights_for_use_elsewhere_alone_are_no_mistake(tmp_path):
    config = run_config(tmp_path / "run", f"{CONTENTS}.save_contents=[hf_model]")
    config.trainer.resume_mode = "disable"
    assert list(resume_problems(config)) == []
    (line,) = resume_warnings(config)
    assert line.startswith(f"{CONTENTS}.load_contents: ['hf_model']; a resumed run would")
