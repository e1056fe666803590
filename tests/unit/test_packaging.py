"""What ships: the wheel, the source distribution and the editable install, each built and installed for real."""

from __future__ import annotations

import ast
import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What is looked for in the environment of a user, from a folder that is not the checkout.
PROBE = """
import wwauth, wwauth_stores, wwauth.cli
from wwauth.stores import FileSystemStore
print(wwauth.__file__); print(wwauth_stores.__file__); print(FileSystemStore.__name__)
"""


@dataclass(frozen=True)
class Built:
    source: Path
    wheel: Path
    sdist: Path

    def wheel_names(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def sdist_names(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}


def _run(*command: str | Path, cwd: Path) -> str:
    # Without what would let a command see the checkout.
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _tracked() -> list[Path]:
    """List the files of the checkout: git's, with those not yet added; without git, all that is there."""
    if (ROOT / ".git").exists():
        listing = _run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
        names = [Path(name) for name in listing.split("\0") if name]
    else:
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*") if ".venv" not in path.parts]
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build in a copy, so that nothing of the checkout's own (an old build/, an egg-info) gets in, and nothing stays."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in _tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    # From the source distribution the wheel, as an installer that finds no wheel does.
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source, cwd=out)
    return Built(source, next(out.glob("*.whl")), next(out.glob("*.tar.gz")))


def _packages_on_disk() -> dict[str, Path]:
    found = {}
    for base in (ROOT, ROOT / "stores"):
        for top in ("wwauth", "wwauth_stores"):
            for marker in (base / top).rglob("*.py"):
                folder = marker.parent
                found[".".join(folder.relative_to(base).parts)] = folder
    return found


def test_setup_cfg_lists_every_package_on_disk() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = config["options"]["packages"].split()
    assert listed == sorted(listed)
    assert set(listed) == set(_packages_on_disk()), "setup.cfg's list and the folders on disk differ"


def test_wheel_and_sdist_hold_every_file_of_the_packages(built: Built) -> None:
    shipped = [path for path in _tracked() if path.is_relative_to("wwauth") or path.is_relative_to("stores/wwauth_stores")]
    assert {path.as_posix() for path in shipped} <= built.sdist_names()
    assert {path.as_posix().removeprefix("stores/") for path in shipped} <= built.wheel_names()


def test_wheel_holds_what_is_no_python(built: Built) -> None:
    names = built.wheel_names()
    assert {"wwauth/py.typed", "wwauth_stores/py.typed"} <= names
    assert any(name.startswith("wwauth/web/") and name.endswith(".js") for name in names)
    assert any(name.startswith("wwauth/testing/simulator/") and name.endswith(".html") for name in names)
    assert any(name.startswith("wwauth/testing/simulator/") and name.endswith(".js") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_wheel_holds_nothing_else(built: Built) -> None:
    tops = {name.split("/")[0] for name in built.wheel_names()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"wwauth", "wwauth_stores"}


def test_tests_and_documents_are_in_the_sdist(built: Built) -> None:
    names = built.sdist_names()
    assert {"tests/conftest.py", "tests/unit/test_packaging.py", "README.md", "LICENSE", "CHANGELOG.md", "Makefile"} <= names
    assert not any("node_modules" in name or name.endswith(".pyc") for name in names)
    assert {path.as_posix() for path in _tracked() if path.parts[0] in {"tests", "examples", "docs"}} <= names


@pytest.mark.parametrize("form", ["wheel", "sdist", "editable"])
def test_an_install_imports_and_has_the_command(built: Built, form: str, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    _run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    bin_folder = environment / ("Scripts" if sys.platform == "win32" else "bin")
    python = bin_folder / "python"
    # The dependencies come from the environment that runs this test, behind the new one's own packages.
    purelib = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (purelib / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")

    forms: dict[str, list[str | Path]] = {
        "wheel": [built.wheel],
        "sdist": [built.sdist],
        "editable": ["--editable", built.source],
    }
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "--disable-pip-version-check",
        "install",
        "--quiet",
    ]
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed"]
    _run(*pip, *offline, *forms[form], cwd=tmp_path)

    package, stores, name = _run(python, "-I", "-c", PROBE, cwd=tmp_path).split()
    home = built.source if form == "editable" else purelib
    assert Path(package).is_relative_to(home)
    assert Path(stores).is_relative_to(home)
    assert name == "FileSystemStore"
    version = ast.literal_eval(_run(python, "-I", "-c", "import wwauth; print(repr(wwauth.__version__))", cwd=tmp_path))
    assert _run(bin_folder / "wwauth", "--version", cwd=tmp_path).strip() == f"wwauth {version}"
    assert _run(python, "-I", "-m", "wwauth", "--version", cwd=tmp_path).strip() == f"wwauth {version}"
