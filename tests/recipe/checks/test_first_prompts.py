"""The first prompt of a game of each type: really played, counted, shown."""

import pytest

from holderpo.alfworld.games import Manifest, collect_games, write_manifest
from holderpo.alfworld.tasks import TASK_TYPES
from recipe.holderpo.checks import first_prompts
from recipe.holderpo.checks.first_prompts import look_at_first_prompts, prompt_lines
from recipe.holderpo.checks.games import look_at_games
from recipe.holderpo.checks.settings import check_config
from recipe.holderpo.main import announce
from tests.alfworld_games import needs_alfworld
from tests.recipe.alfworld.manifests import write_games
from tests.recipe.composing import composed
from tests.recipe.data_files import tokenizer


@pytest.fixture(scope="module")
def folder(generated_games, tmp_path_factory):
    """Manifests of the six small games: two held out, four trained on; a tokenizer."""
    folder = tmp_path_factory.mktemp("manifests")
    file = next(iter(generated_games.values()))
    found = collect_games(file.parents[3], "train")
    for name, games in (("train", found.games[:4]), ("valid", found.games[4:])):
        write_manifest(folder / f"{name}.json", Manifest("train", found.folder, games))
    tokenizer().save_pretrained(folder / "model")
    return folder


def of(folder, *overrides, model="model"):
    return composed(
        "alfworld_smoke",
        [
            f"data.train_files={folder}/train.json",
            f"data.val_files={folder}/valid.json",
            f"actor_rollout_ref.model.path={folder}/{model}",
            f"run_dir={folder}/run",
            *overrides,
        ],
    )


@needs_alfworld
def test_every_type_has_its_first_prompt_with_its_tokens(folder, generated_games, capsys):
    config = of(folder)
    plan = check_config(config)
    assert plan.warnings == (
        "data.train_files: no game of heat, pick2",
        "data.val_files: no game of pick, look, clean, cool",
    )
    types = [TASK_TYPES[name] for name in TASK_TYPES]
    assert [prompt.task_type for prompt in plan.first_prompts] == types
    for prompt in plan.first_prompts:
        assert "Your task is to: " in prompt.text
        assert "- go to " in prompt.text
        assert "<action>" in prompt.text
        # One token per character.
        assert prompt.num_tokens == len(prompt.text)
    shown = "\n".join(prompt_lines(plan.first_prompts))
    first = plan.first_prompts[0]
    assert f"first prompt of pick ({first.num_tokens} tokens), {first.game_file}" in shown
    assert str(generated_games["pick_and_place_simple"]) == str(first.game_file)
    assert "\n  - inventory\n" in shown
    announce(plan)
    assert "games      train 4: " in capsys.readouterr().out


@needs_alfworld
def test_a_prompt_that_is_too_long_is_refused_before_a_start(folder):
    config = of(folder, "data.max_prompt_length=700")
    found = look_at_first_prompts(config, look_at_games(config))
    (problem,) = found.problems
    most = max(prompt.num_tokens for prompt in found.prompts)
    assert problem.startswith("data.max_prompt_length: 700; the first prompt alone takes more (")
    assert problem.endswith(f"give {most} or more")


@needs_alfworld
def test_prompts_are_those_of_the_settings_and_need_no_tokenizer(folder):
    template = "agent.prompt.first_template='Do {task} with {actions} at {observation}!'"
    config = of(folder, template, model="nowhere")
    found = look_at_first_prompts(config, look_at_games(config))
    assert found.problems == []
    (warning,) = found.warnings
    assert "prompts are not counted: the tokenizer of" in warning
    assert all(prompt.text.startswith("Do ") for prompt in found.prompts)
    assert "(not counted)" in "\n".join(prompt_lines(found.prompts))


@needs_alfworld
def test_games_that_cannot_be_played_are_named(tmp_path):
    write_games(tmp_path, "train", (1, 0, 0, 0, 0, 0))
    other = tmp_path / "other"
    other.mkdir()
    write_games(other, "valid_seen", (0, 1, 0, 0, 0, 0))
    tokenizer().save_pretrained(tmp_path / "model")
    config = of(tmp_path, f"data.val_files={other}/valid_seen.json")
    problems = look_at_first_prompts(config, look_at_games(config)).problems
    assert len(problems) == 2
    assert all(problem.startswith("data: the game ") for problem in problems)
    assert "cannot be played" in problems[0]


def test_where_nothing_plays_games_none_is_started(folder, monkeypatch):
    monkeypatch.setattr(first_prompts, "missing_packages", lambda: "alfworld: not installed")
    config = of(folder)
    assert look_at_first_prompts(config, look_at_games(config)).prompts == []
    plan = check_config(of(folder, "check=true"))
    assert plan.first_prompts == ()


def test_the_largest_file_of_a_type_is_chosen(tmp_path):
    write_games(tmp_path, "train", (3, 0, 0, 0, 0, 0))
    other = tmp_path / "other"
    other.mkdir()
    write_games(other, "valid_seen", (2, 1, 0, 0, 0, 0))
    config = of(tmp_path, f"data.val_files={other}/valid_seen.json")
    games = look_at_games(config)
    largest = next(file for _, file in games.used["data.val_files"] if "pick_and" in str(file))
    largest.write_text("x" * 1000)
    chosen = dict(first_prompts._largest(games))
    assert chosen["pick"] == largest
    assert set(chosen) == {"pick", "look"}
