"""The folder tree is the architecture: what imports what, and what stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "posttrain"
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "deepspeed", "accelerate", "openai")

# Each part may import those before it (and itself). `recipe.check` looks over everything light, by lazy imports.
LAYERS = (
    "errors",
    "visible",
    "masking",
    "plain_output",
    "stopping",
    "limits",
    "progress",
    "importing",
    "endpoint",
    "sandbox",
    "graders",
    "recipe",
    "data",
    "curation",
    "runs",
    "model",
    "pages",
    "inspection",
    "builtin",
    "forward",
    "engines",
    "evals",
    "report",
    "memory",
    "advice",
    "stages",
    "launch",
    "cli",
)
# The light end of a heavier part, which an earlier one may use.
EXCEPTIONS = {
    ("evals", "stages"): "the terminal's silence, inside a function",
    ("recipe", "data"): "check, inside functions",
    ("recipe", "model"): "check, inside functions",
    ("recipe", "evals"): "check of an eval's examples, inside a function",
    ("recipe", "stages"): "check of batch sizes, inside a function",
    ("stages", "launch"): "the DeepSpeed configuration",
    ("memory", "stages"): "the settings that training takes, and a few steps of it",
    ("memory", "launch"): "how many processes there will be",
    ("inspection", "stages"): "the lengths that training takes, inside a function",
}


def imports(path: Path) -> set[str]:
    """Return the parts of posttrain that a file imports, anywhere in it."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    ]
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "posttrain" else [f"posttrain.{a.name}" for a in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("posttrain.")}
    return found - {"__version__"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_imports_point_one_way() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if part_of(path) not in ("__init__", "__main__")]
    assert len(files) > 60
    wrong = []
    for path in files:
        part = part_of(path)
        for other in imports(path):
            later = LAYERS.index(other) > LAYERS.index(part)
            if later and (part, other) not in EXCEPTIONS:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert wrong == []


LIGHT = [
    "posttrain.cli",
    "posttrain.recipe.load",
    "posttrain.recipe.check",
    "posttrain.data.load",
    "posttrain.curation.convert",
    "posttrain.curation.decontaminate",
    "posttrain.curation.dedup",
    "posttrain.curation.mix",
    "posttrain.curation.split",
    "posttrain.graders",
    "posttrain.model.resolve",
    "posttrain.launch.plan",
    "posttrain.launch.start",
    "posttrain.launch.supervise",
    "posttrain.runs.listing",
    "posttrain.stages.arguments",
    "posttrain.evals.compare",
    "posttrain.evals.attempts",
    "posttrain.evals.offline",
    "posttrain.report.command",
    "posttrain.advice.advise",
    "posttrain.memory.command",
]


@pytest.mark.parametrize("module", LIGHT)
def test_the_light_parts_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_drawers() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "common", "misc"}
