"""Playing panels, with real games in this process."""

import asyncio

import pytest

from holderpo.alfworld import agent_memory
from holderpo.alfworld.actions import ActionSettings
from holderpo.alfworld.turn_prompt import TurnPromptSettings
from holderpo.alfworld.turns import Outcome
from holderpo.benchmarks.panels import Sampling
from recipe.holderpo.evaluate.alfworld.panel_driver import Match, play_panel
from recipe.holderpo.evaluate.alfworld.policies import AskModel, Chance, FollowExpert
from recipe.holderpo.evaluate.alfworld.turn_texts import TurnTexts
from recipe.holderpo.evaluate.alfworld.wanted_episodes import NumberedGame, wanted_episodes
from tests.alfworld_games import needs_alfworld
from tests.recipe.evaluate.alfworld.in_process import InProcessGroup, Scripted, tokenizer

pytestmark = needs_alfworld


def model_policy(answers=None, *, temperature=0.5, context=5000, seed=0):
    return AskModel(
        seed=seed,
        answers=answers or Scripted(),
        tokenizer=tokenizer(),
        sampling=Sampling(temperature, max_tokens=200),
        context=context,
        texts=TurnTexts(TurnPromptSettings(), ActionSettings()),
    )


def play(manifest, policy, *, side_by_side=3, passes=1, max_steps=12, group=None, games=None):
    numbered = [NumberedGame(i, game) for i, game in enumerate(manifest.games, start=1)]
    wanted = list(wanted_episodes(numbered[:games], passes))
    finished = []
    match = Match(manifest.folder, policy, max_steps, seed=0)
    asyncio.run(
        play_panel(
            match,
            group or InProcessGroup(),
            wanted,
            side_by_side=side_by_side,
            on_finished=lambda *pair: finished.append(pair),
        )
    )
    return {record.key: (record, transcript) for record, transcript in finished}, finished


@pytest.mark.parametrize(
    "make",
    [
        lambda: Chance(0),
        lambda: FollowExpert(0),
        model_policy,
        lambda: model_policy(temperature=0.0),
    ],
    ids=["random", "expert", "model", "greedy model"],
)
def test_episodes_do_not_depend_on_how_many_run_side_by_side(manifest, make):
    results = {}
    for side_by_side in (1, 7, 64):
        group = InProcessGroup(seed=side_by_side)
        results[side_by_side], finished = play(
            manifest, make(), side_by_side=side_by_side, passes=2, max_steps=8, group=group
        )
        # Each game once per pass, and as many at a time as were asked for.
        assert len(finished) == len(results[side_by_side]) == 12
        assert set(group.played.values()) == {2}
        assert group.most_open == min(side_by_side, 12)
        assert group.open == 0
    assert results[1] == results[7] == results[64]


def test_the_expert_wins_and_chance_hardly_does(manifest):
    expert, _ = play(manifest, FollowExpert(0), max_steps=50)
    assert all(record.won for record, _ in expert.values())
    assert {record.episode_return for record, _ in expert.values()} == {10.0}
    chance, _ = play(manifest, Chance(0))
    assert {record.outcome for record, _ in chance.values()} == {Outcome.STEP_LIMIT}
    assert {(record.steps, record.episode_return) for record, _ in chance.values()} == {(12, 0.0)}


def test_seeds_of_policies_follow_the_seed_and_the_pass(manifest):
    def commands(policy):
        results, _ = play(manifest, policy, passes=2, games=2)
        return {key: [turn.command for turn in said.turns] for key, (_, said) in results.items()}

    for make in (Chance, lambda seed: model_policy(seed=seed)):
        first, other = commands(make(0)), commands(make(1))
        assert first == commands(make(0))
        assert len({tuple(told) for told in (*first.values(), *other.values())}) == 8


def test_a_model_is_asked_with_a_seed_for_each_turn_and_its_answers_are_counted(manifest):
    answers = Scripted()
    results, _ = play(manifest, model_policy(answers), passes=2)
    seeds = [request.seed for request in answers.requests]
    assert len(set(seeds)) == len(seeds) == sum(record.steps for record, _ in results.values())
    kinds = [turn.kind for _, said in results.values() for turn in said.turns]
    for name in ("malformed", "inadmissible"):
        counted = sum(getattr(record, name) for record, _ in results.values())
        assert counted == kinds.count(name) > 0
    for record, said in results.values():
        assert record.steps == len(said.turns)
        assert record.episode_return == pytest.approx(10.0 * record.won - 0.1 * record.malformed)
        assert {turn.response is not None for turn in said.turns} == {True}
        assert all(turn.command in turn.admissible for turn in said.turns if turn.kind == "valid")
    greedy = Scripted()
    play(manifest, model_policy(greedy, temperature=0.0), games=1)
    assert {request.seed for request in greedy.requests} == {None}


def test_the_prompt_holds_the_last_turns(manifest):
    answers = Scripted(lambda prompt, request: "<think>.</think><action>look</action>")
    play(manifest, model_policy(answers), games=1)
    first, second, *_, last = [tokenizer().decode(request.prompt) for request in answers.requests]
    assert "Your task is to:" in first
    assert "Your command" not in first
    assert second.count("Your command: look") == 1
    assert last.count("Your command: look") == 2
    assert "This is step 12" in last
    assert first.startswith("<You are")
    assert last.endswith(">")


def test_a_response_that_is_cut_off_is_counted(manifest):
    answers = Scripted(lambda prompt, request: "<think>" + 300 * "x")
    results, _ = play(manifest, model_policy(answers), games=1)
    ((record, said),) = results.values()
    assert record.truncated == record.malformed == record.steps == 12
    assert record.episode_return == pytest.approx(-1.2)
    assert said.turns[0].truncated
    assert said.turns[0].response == ("<think>" + 300 * "x")[:200]


def test_an_episode_ends_where_the_next_prompt_has_no_room(manifest):
    whole = Scripted()
    play(manifest, model_policy(whole), games=1)
    lengths = [len(request.prompt) for request in whole.requests]
    # Room for the longest of the first prompts and its answer, not for a later one.
    fits = max(lengths[:2])
    assert fits < max(lengths)
    answers = Scripted()
    results, _ = play(manifest, model_policy(answers, context=fits + 200), games=1)
    ((record, said),) = results.values()
    assert (record.outcome, record.won) == (Outcome.LENGTH, False)
    assert record.steps == len(said.turns) == len(answers.requests) < 12
    assert [len(request.prompt) for request in answers.requests] == lengths[: record.steps]
    assert max(lengths[: record.steps]) <= fits < lengths[record.steps]
    assert said.end


def test_an_episode_that_the_environment_fails_is_told_apart_and_the_others_go_on(manifest):
    broken = manifest.file(manifest.games[2])
    results, _ = play(manifest, Chance(0), group=InProcessGroup(broken={broken}))
    failed = [record for record, _ in results.values() if record.failed]
    assert [record.game for record in failed] == [manifest.games[2].path]
    (record,) = failed
    assert (record.steps, record.restarts, record.episode_return) == (2, 2, 0.0)
    assert record.reason == f"{broken}: no answer"
    # The command that was not answered is in the transcript.
    assert len(results[record.key][1].turns) == 3
    assert len(results) == 6


def test_a_game_without_a_task_fails_alone(manifest, monkeypatch):
    def no_task(observation):
        raise ValueError("first observation: says no task")

    monkeypatch.setattr(agent_memory, "task_of", no_task)
    results, _ = play(manifest, model_policy(), games=2)
    assert {record.outcome for record, _ in results.values()} == {Outcome.FAILED}
    assert all("says no task" in record.reason for record, _ in results.values())


def test_an_error_of_the_policy_ends_the_panel_at_once(manifest):
    def broken(prompt, request):
        raise RuntimeError("vLLM has ended")

    group = InProcessGroup()
    with pytest.raises(RuntimeError, match="vLLM has ended"):
        play(manifest, model_policy(Scripted(broken)), side_by_side=4, group=group)
    assert group.num_steps == 0


def test_the_next_game_is_translated_while_others_are_played(manifest):
    group = InProcessGroup()
    play(manifest, Chance(0), side_by_side=2, group=group)
    # Those that are played at once need no preparation.
    assert group.prepared == [manifest.file(game) for game in manifest.games[2:]]
