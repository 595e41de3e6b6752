"""What an engine says in a course of play, so that two engines can be compared.

`python transcripts.py < plan.json` plays in textworld's environment as alfworld wraps it, in a
process that has nothing of ours. A plan is a list of `["load", game file]`, `["reset"]`,
`["step", command]` and `["random", seed, number of steps]`.
"""

import json
import random
import subprocess
import sys

INVALID = (
    "dance",
    "",
    "LOOK",
    "go to moon 1",
    "take apple 99 from fridge 1",
    " look ",
    "{",
    "inventory.",
)


def said(state):
    """All that an agent or an expert may see; the order of facts is anybody's."""
    return [
        state["feedback"],
        list(state["admissible_commands"]),
        state["won"],
        state.get("score"),
        state.get("done"),
        sorted(map(repr, state["facts"])),
    ]


def play(plan, load, reset, step):
    """Follow a plan; what was said at each reset and step."""
    transcript = []
    state = None
    for kind, *arguments in plan:
        if kind == "load":
            load(arguments[0])
        elif kind == "reset":
            state = reset()
            transcript.append(said(state))
        elif kind == "step":
            state = step(arguments[0])
            transcript.append([arguments[0], *said(state)])
        elif kind == "random":
            draws = random.Random(arguments[0])
            for _ in range(arguments[1]):
                one_of = INVALID if draws.random() < 0.2 else state["admissible_commands"]
                command = draws.choice(one_of)
                state = step(command)
                transcript.append([command, *said(state)])
    # As a file would hold it.
    return json.loads(json.dumps(transcript))


def play_in(engine, plan):
    """The same with an engine of ours."""
    return play(plan, engine.load, engine.reset, engine.step)


def play_stock(plan):
    """The same with textworld alone, in a fresh process."""
    shown = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(shown.stdout)


def main():
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos
    from textworld.core import EnvInfos
    from textworld.envs.pddl.pddl import PddlEnv

    plan = json.load(sys.stdin)
    infos = EnvInfos(won=True, admissible_commands=True, facts=True)
    environment = AlfredInfos(AlfredDemangler(PddlEnv(infos), shuffle=False))
    transcript = play(
        plan, environment.load, environment.reset, lambda command: environment.step(command)[0]
    )
    assert not [name for name in sys.modules if name.startswith("holderpo")]
    print(json.dumps(transcript))


if __name__ == "__main__":
    main()
