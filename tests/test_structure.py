"""Packages point one way: scripts join pad and envs, and those two have never met."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {
    "pad": ["types", "files", "settings", "seeding", "memory", "processes", "precision", "optimization", "cuda_graph",
            "colors", "calibration", "gate", "losses", "temperature", "windows", "augmentations", "pictures", "strong",
            "disguise", "encoder", "networks", "objectives", "replay_buffer", "agent", "sac", "asymmetric", "decay",
            "cloning", "expert", "checkpoint", "tracking", "old_gym", "statistics", "evaluation", "deployment", "video",
            "training"],
    "envs": ["gradient", "opengl", "tasks", "goals", "appearance", "dynamics", "graphics", "view", "renderer", "scene",
             "shifts", "sensors", "dm_control_env"],
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("pad", {"envs", "dm_control", "mujoco", "scripts"}), ("envs", {"pad", "torch", "wandb", "scripts"})],
)
def test_a_package_never_imports_what_it_must_not_know(package, forbidden):
    for path in (ROOT / package).rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & forbidden, path


@pytest.mark.parametrize("package", ["pad", "envs"])
def test_modules_import_only_those_below_them(package):
    order = LAYERS[package]
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT / package).with_suffix("").parts
        if parts == ("__init__",):
            continue
        for name in imports(path):
            if name.startswith(f"{package}.") and name.split(".")[1] in order and name.split(".")[1] != parts[0]:
                assert order.index(name.split(".")[1]) < order.index(parts[0]), f"{path} imports {name}"


def test_every_module_has_its_place():
    for package, order in LAYERS.items():
        present = {
            path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        assert present - {"__init__"} == set(order)


def test_the_environments_need_no_torch():
    code = "import envs, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_deployment_needs_nothing_of_training():
    code = "import pad.deployment, sys; assert not {'pad.sac', 'pad.training'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_package_is_installed():
    listed = re.search(r"^\[tool.setuptools\]\npackages = (.*)$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    found = {
        ".".join(path.parent.relative_to(ROOT).parts) for top in LAYERS for path in (ROOT / top).rglob("__init__.py")
    }
    assert set(json.loads(listed[1])) == found
