"""The base is composed also while Hydra runs an experiment."""

from hydra import compose, initialize_config_dir

from recipe.holderpo.config_folder import base_config, config_dir


def test_the_base_can_be_composed_within_a_run_of_hydra():
    with initialize_config_dir(str(config_dir()), version_base=None):
        base = base_config.__wrapped__("cpu")
        of_the_run = compose("demo")
    assert base.device == of_the_run.device == "cpu"
    assert (base.trainer.experiment_name, of_the_run.trainer.experiment_name) == (None, "demo")
