"""The rule in docs/control_of_p.md, as a user would add it."""

import dataclasses
import re
import sys

import pytest
import yaml
from hydra import compose, initialize_config_dir

from holderpo.control import RoundStatistics, build_controller
from recipe.holderpo.main import config_dir
from recipe.holderpo.sections import plain
from tests.docs.pages import text_of

PAGE = text_of("docs/control_of_p.md")


@pytest.fixture
def users_folder(tmp_path, monkeypatch):
    files = dict(re.findall(r"`([\w/]+\.\w+)`:\n```\w+\n(.*?)```", PAGE, re.DOTALL))
    assert sorted(files) == ["my_configs/p/keep_product.yaml", "my_rules.py"]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_rules", None)


def test_a_users_rule_is_chosen_by_its_file_and_steers(users_folder):
    overrides = [f"hydra.searchpath=[file://{users_folder}/my_configs]", "p=keep_product"]
    with initialize_config_dir(config_dir=str(config_dir()), version_base=None):
        settings = plain(compose("demo", [*overrides, "p.product=0.05"]).p)
    controller = build_controller(settings, num_rounds=25)
    for step in range(4):
        controller.update(step, RoundStatistics(log_ratio_std=0.05 / 2))
    assert controller.value(4)["holder/p"] == 2.0
    controller.update(4, RoundStatistics(log_ratio_std=0.0))
    assert controller.value(5)["holder/p"] == 2.0, "a round without spread says nothing"


def test_its_file_names_every_field_of_the_class(users_folder):
    import my_rules

    written = yaml.safe_load((users_folder / "my_configs/p/keep_product.yaml").read_text())
    names = {field.name for field in dataclasses.fields(my_rules.KeepProduct)}
    assert set(written) == {"_target_", *names}
