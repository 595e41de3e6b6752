"""verl's trainers: which of them there is, and what goes with rollouts over an update."""

import json
import shutil

import pytest
from transfer_queue.storage.managers import simple_storage_manager as queue

from recipe.holderpo.checks.asynchronous import prompts_ahead
from recipe.holderpo.checks.checkpoints import UNDER_WAY
from recipe.holderpo.checks.resume import plan_start
from recipe.holderpo.checks.settings import check_config, make_controller
from recipe.holderpo.trainer import TRAINERS
from tests.recipe.checkpoint_files import run_config, write_run
from tests.recipe.checks.checking import refusals, warnings_of
from tests.recipe.composing import composed

V1 = "trainer.v1"
ASYNC = f"{V1}.trainer_mode=colocate_async"
WARMUP, SAMPLER = f"{V1}.colocate_async.num_warmup_batches", f"{V1}.sampler.max_off_policy"
UPDATES = "parameter_sync_step"
LOG_PROBS = "actor_rollout_ref.rollout.calculate_log_probs"
CORRECTED = "algorithm.rollout_correction.rollout_is=sequence"
UNITS = "transfer_queue.backend.SimpleStorage.num_data_storage_units"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (f"{V1}.trainer_mode=separate_async", "'separate_async'; it samples and updates several"),
        (f"{V1}.trainer_mode=asynch", f"{V1}.trainer_mode: 'asynch'; give 'sync' or 'colocate"),
        ("trainer.use_v1=false", "trainer.use_v1: False; this recipe trains with verl's V1"),
        (f"{ASYNC} {WARMUP}=-1", f"{WARMUP}: -1; give a number of batches from 0 on"),
        (f"{ASYNC} {WARMUP}=null", f"{WARMUP}: None; give a number"),
        (f"{ASYNC} {SAMPLER}_threshold=0", f"{SAMPLER}_threshold: 0; give a number of steps"),
        (f"{ASYNC} {SAMPLER}_strategy=keep", f"{SAMPLER}_strategy: 'keep'; give 'drop' or 'wait'"),
        (f"{ASYNC} {WARMUP}=1 {SAMPLER}_threshold=1", "up to 1 steps for their turn"),
        (f"{ASYNC} {WARMUP}=1.5 {SAMPLER}_threshold=2", "for that alone; give at least 3"),
        (f"+{V1}.sync.{UPDATES}=2", f"{V1}.sync.{UPDATES}: 2; it samples and updates as many"),
        (f"{ASYNC} +{V1}.colocate_async.{UPDATES}=4", f"{UPDATES}: 4; it samples and updates"),
    ],
)
def test_what_cannot_be_run_is_refused(data, overrides, expected):
    (found,) = refusals(data, overrides)
    assert expected in found


@pytest.mark.parametrize(
    "overrides",
    [
        f"{WARMUP}=0",
        f"{WARMUP}=2 {SAMPLER}_threshold=3",
        f"{WARMUP}=0.5 {SAMPLER}_threshold=2",
        f"+{V1}.colocate_async.{UPDATES}=1",
        f"{WARMUP}=4 {SAMPLER}_threshold=2 {SAMPLER}_strategy=wait",
        f"{SAMPLER}_threshold=null",
        "data.gen_batch_size=3",
    ],
)
def test_what_can_be_run_is_not_refused(data, overrides):
    assert check_config(composed("demo", [*data, ASYNC, *overrides.split()])).lines


def test_the_plan_says_how_far_rollouts_are_ahead(data):
    plan = check_config(composed("demo", [*data, ASYNC, f"{WARMUP}=1.5"]))
    assert (
        "async      rollouts 48 prompts ahead of their step, those of 8 steps or more are dropped"
    ) in plan.lines
    wait = [f"{SAMPLER}_strategy=wait", f"{SAMPLER}_threshold=3"]
    plan = check_config(composed("demo", [*data, ASYNC, *wait]))
    assert any(one.endswith("those of 2 steps or more are waited for") for one in plan.lines)
    plan = check_config(composed("demo", data))
    assert not any(line.startswith("async") for line in plan.lines)
    assert prompts_ahead(composed("demo", [f"{WARMUP}=1.5"])) == 0


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (f"{LOG_PROBS}=false", f"without {LOG_PROBS}: how far"),
        ("", "without algorithm.rollout_correction.rollout_is: responses of older"),
        ("actor_rollout_ref.actor.policy_loss.loss_mode=vanilla", "rollout_is: responses of older"),
        (CORRECTED, None),
    ],
)
def test_ages_that_are_not_seen_or_corrected_are_said(data, overrides, expected):
    found = [one for one in warnings_of(data, f"{ASYNC} {overrides}") if "_async'" in one]
    assert [expected in one for one in found] == [True] * bool(expected)


def test_settings_of_the_other_trainer_have_no_effect(data):
    of_async = warnings_of(data, f"{WARMUP}=2")
    assert any(f"{WARMUP} has no effect" in one for one in of_async)
    here = warnings_of(data, f"{ASYNC} {CORRECTED} {WARMUP}=2")
    assert not any("has no effect" in one for one in here)
    one_by_one = f"data.gen_batch_size=4 {V1}.sampler.sync_refill_failed_groups=true"
    of_sync = warnings_of(data, f"{ASYNC} {one_by_one}")
    assert sum("has no effect: asynchronous rollouts" in one for one in of_sync) == 2


def test_only_synchronous_rollouts_have_a_limit_on_prompts_in_place_of_others(data):
    filters = "algorithm.filter_groups"
    more = f"{filters}.enable=true {filters}.metric=reward {filters}.max_inflight_gen_batches=3"
    (found,) = [one for one in warnings_of(data, f"{ASYNC} {more}") if "inflight" in one]
    assert f"{filters}.max_inflight_gen_batches has no effect: it belongs to" in found
    assert not any("inflight" in one for one in warnings_of(data, more))


def test_there_is_a_trainer_for_every_mode_that_is_not_refused():
    assert {trainer.__mro__[2].__name__ for trainer in TRAINERS.values()} == {
        "PPOTrainerSync",
        "PPOTrainerColocateAsync",
    }


@pytest.fixture
def run(tmp_path):
    """A run with prompts under way in two storage processes."""
    config = run_config(tmp_path / "run", ASYNC, f"{UNITS}=2")
    checkpoint = write_run(config, [1, 2])
    storage = checkpoint / UNDER_WAY / "simple_storage"
    storage.mkdir(parents=True)
    (storage / "storage_unit_info.json").write_text(json.dumps([{"position": 0}, {"position": 1}]))
    return checkpoint


@pytest.fixture(scope="module")
def data(existing, tmp_path_factory):
    return [*existing, f"run_dir={tmp_path_factory.mktemp('data')}/run"]


def start_of(checkpoint, *overrides):
    config = run_config(checkpoint.parents[1], *overrides)
    return plan_start(config, make_controller(config))


def test_prompts_under_way_are_taken_up_again(run):
    start, problems = start_of(run, ASYNC, f"{UNITS}=2")
    assert problems == []
    assert not any("under way" in one for one in start.warnings)


def test_the_list_is_where_the_queue_writes_it(run):
    assert (run / UNDER_WAY / queue._SU_SUBDIR / queue._SU_INFO_FILE).exists()


def test_another_number_of_storage_processes_is_refused(run):
    _, (problem,) = start_of(run, ASYNC, f"{UNITS}=3")
    assert problem == f"{UNITS}: 3, but {run} has prompts under way in 2; give {UNITS}=2"


def test_a_list_that_cannot_be_read_is_refused(run):
    (run / UNDER_WAY / "simple_storage/storage_unit_info.json").write_text("[{")
    _, (problem,) = start_of(run, ASYNC, f"{UNITS}=2")
    assert f"remove {run / UNDER_WAY} to go on without" in problem


def test_prompts_that_will_not_be_answered_are_said(run):
    start, problems = start_of(run, f"{UNITS}=3", f"resume_with=[{V1}.trainer_mode]")
    assert problems == []
    assert any("under way" in one and "left out until the data" in one for one in start.warnings)
    shutil.rmtree(run / UNDER_WAY)
    start, problems = start_of(run, ASYNC, f"{UNITS}=2")
    assert problems == []
    assert any("has no prompts under way" in one for one in start.warnings)
