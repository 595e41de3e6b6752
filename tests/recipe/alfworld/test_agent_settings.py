"""The section ``agent``."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from recipe.holderpo.alfworld.agent_settings import AgentSettings, agent_settings, has_agent


def _of(section: Any) -> AgentSettings:
    return agent_settings(OmegaConf.create({"agent": section}))


def test_an_empty_section_is_the_defaults() -> None:
    assert _of({}) == AgentSettings()


def test_only_a_section_makes_an_agent() -> None:
    assert has_agent(OmegaConf.create({"agent": {}}))
    assert not has_agent(OmegaConf.create({"agent": None}))


def test_sections_within_are_settings_of_their_own() -> None:
    settings = _of(
        {
            "max_steps": 7,
            "prompt": {"history_length": 3},
            "actions": {"strictness": "lenient"},
            "reward": {"malformed_penalty": 0.5},
            "environment": {"num_workers": 2, "engine": {"step_seconds": 3.0}},
        }
    )
    assert settings.max_steps == 7
    assert settings.prompt.history_length == 3
    assert settings.actions.strictness == "lenient"
    assert settings.reward.malformed_penalty == 0.5
    assert settings.environment.num_workers == 2
    assert settings.environment.engine.step_seconds == 3.0


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"max_steps": 0}, "agent.max_steps: 0; give"),
        ({"max_steps": True}, "agent.max_steps: True; give"),
        ({"failed_episodes": "keep"}, "agent.failed_episodes: 'keep'; give drop or zero"),
        ({"episode_seconds": 0}, "agent.episode_seconds: 0; give"),
        ({"episode_seconds": "long"}, "agent.episode_seconds: 'long'; give"),
        ({"step_limit": 3}, "agent.step_limit: unknown; give one of max_steps"),
        ({"prompt": 2}, "agent.prompt: 2; give settings"),
        ({"prompt": {"history_length": -1}}, "agent.prompt.history_length: -1; give"),
        ({"actions": {"strictness": "no"}}, "agent.actions.strictness: 'no'; give"),
        ({"reward": {"success": 0.0}}, "agent.reward.success: 0.0; give"),
        ({"environment": {"num_workers": 0}}, "agent.environment.num_workers: 0; give"),
        ({"environment": {"engine": {"fast": 1, "slow": 2}}}, "agent.environment.engine.slow: unk"),
        ({"environment": {"engine": {"step_seconds": -1}}}, "environment.engine.step_seconds: -1"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(section: Any, line: str) -> None:
    with pytest.raises(ValueError, match="agent") as caught:
        _of(section)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_wrong_section_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="agent") as caught:
        _of({"prompt": {"history_length": -1}, "reward": {"success": 0.0}, "other": 1})
    assert len(str(caught.value).splitlines()) == 3
