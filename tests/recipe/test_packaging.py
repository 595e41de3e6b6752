"""What gets installed."""

import subprocess
import sys
import zipfile

from recipe.holderpo.main import config_dir

REPOSITORY = config_dir().parent


def test_the_wheel_holds_the_two_packages_and_the_configs_only(tmp_path):
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    tracked = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    for name in tracked:
        if (REPOSITORY / name).exists():
            target = tmp_path / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((REPOSITORY / name).read_bytes())
    subprocess.run([*pip, "--wheel-dir", tmp_path / "out", tmp_path / "source"], check=True)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert all(name.startswith(("holderpo/", "recipe/holderpo/")) for name in names)
    assert "recipe/__init__.py" not in names
    configs = {path.relative_to(config_dir()).as_posix() for path in config_dir().rglob("*.yaml")}
    packaged = {
        name.removeprefix("recipe/holderpo/configs/")
        for name in names
        if name.startswith("recipe/holderpo/configs/")
    }
    assert packaged == configs
    packages = {path.parent for path in (REPOSITORY / "holderpo").rglob("*.py")}
    packages |= {path.parent for path in (REPOSITORY / "recipe").rglob("*.py")}
    for package in packages:
        assert f"{package.relative_to(REPOSITORY).as_posix()}/__init__.py" in names
