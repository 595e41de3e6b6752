"""Programs of a cluster as they look to the launchers: each writes down how it is called."""

import json
import sys
from pathlib import Path

# First the name under which it is called; the rest is the program's own.
_RECORD = f"""#!{sys.executable} -S
import json, os, signal, sys, time
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
def record(**more):
    token = os.environ.get("RAY_AUTH_MODE", "") + " " + os.environ.get("RAY_AUTH_TOKEN", "")
    with open(os.environ["CALLS"], "a") as calls:
        call = {{"program": name, "words": words, "token": token}} | more
        calls.write(json.dumps(call) + "\\n")
"""
SCONTROL = """
record()
if words[:2] == ["show", "hostnames"]:
    print("\\n".join(os.environ["HOSTS"].split()))
if words[:1] == ["requeue"]:
    sys.exit(int(os.environ.get("REQUEUE", "0")))
"""
# Runs what it is given as Slurm would on one of the nodes; SLURM_CPUS_ON_NODE is that node's.
SRUN = """
start = next(i for i, word in enumerate(words) if not word.startswith("--"))
options, command = words[:start], words[start:]
record(cpus=os.environ.get("SRUN_CPUS_PER_TASK"), gpus=os.environ.get("SLURM_GPUS"))
os.environ["SLURM_CPUS_ON_NODE"] = "96"
os.execvp(command[0], command)
"""
# The interpreter: Ray's nodes live until they are told to end, and each other command does what
# the variable of its name says.
PYTHON = """
if words[:1] == ["-c"]:
    sys.exit(0)
def until_told(status=130):
    def end(signum, frame):
        record(signal=signal.Signals(signum).name)
        sys.exit(status)
    signal.signal(signal.SIGTERM, end)
    record(address=os.environ.get("RAY_ADDRESS"))
    end = time.monotonic() + 100  # that of a test that has failed ends too
    while time.monotonic() < end:
        time.sleep(0.05)
if words[:3] == ["-m", "ray.scripts.scripts", "start"]:
    role = "HEAD" if "--head" in words else "WORKER"
    if role == "HEAD" and os.environ.get(role) != "opens no port":
        import socket
        options = dict(word.split("=") for word in words if "=" in word)
        server = socket.create_server(("127.0.0.1", int(options["--port"])))
    if os.environ.get(role) == "fails":
        record()
        sys.exit(7)
    until_told()
if words[:2] == ["-m", "recipe.holderpo.run.own_checkpoint"]:
    record()
    print(os.environ.get("CHECKPOINT", ""))
    sys.exit(os.environ.get("CHECKPOINT") == "unknown")
role = {"recipe.holderpo.preflight": "PREFLIGHT", "recipe.holderpo.main": "TRAIN"}.get(words[1], "")
does = os.environ.get(role, "0")
if does in ("waits", "ends well"):
    until_told(130 if does == "waits" else 0)
record(address=os.environ.get("RAY_ADDRESS"))
if role == "PREFLIGHT":
    # As the real one: until Ray is up on all nodes.
    def count(what):
        with open(os.environ["CALLS"]) as calls:
            return sum(what in line for line in calls)
    while count('"program": "srun"') > count('"ray.scripts.scripts", "start", "--block"') / 2:
        time.sleep(0.05)
sys.exit(int(does))
"""


def write_program(path, source):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_RECORD + source)
    path.chmod(0o755)
    return path


def calls(path):
    """What was called so far, in order; a process that has been told to end is named once more."""
    path = Path(path)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
