"""The code of a stage is what it imports, in every form of import, and what dvc.yaml says is chosen by name."""

import ast
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from spikevaediff.parameters import reached
from spikevaediff.parameters.reached import FOLDER, PLUMBING, code_of_stages, write_code

FILES = {
    "params.yaml": "method: ridge\n",
    "dvc.yaml": """
stages:
  start: {cmd: python -m stages.start, deps: [src]}
  fit:
    cmd: python -m stages.part core fit WORD
    deps: [artifacts/code/fit, "src/ours/methods/${method}.py"]
  look:
    foreach: [a, b]
    do: {cmd: python -m stages.look, deps: [artifacts/code/look, src/ours/looks]}
  page:
    cmd: [python -m stages.page, python -m stages.look]
    deps: [artifacts/code/page]
""",
    "stages/__init__.py": "import ours.plumbed\n",
    "stages/start.py": "",
    "stages/part.py": "import runpy\n",
    "stages/fit.py": "import stages\nfrom ours import a\n",
    "stages/look.py": '"""Looks."""\n',
    "stages/page.py": "import ours.deep.inner as inner\nimport json, numpy\n",
    "src/ours/__init__.py": '"""Words alone."""\n',
    "src/ours/a.py": "def late():\n    from ours.b import c\n    return c\n",
    "src/ours/b.py": "from ours import a\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ours.never\n",
    "src/ours/never.py": "",
    "src/ours/plumbed.py": "",
    "src/ours/deep/__init__.py": "from . import sibling\n",
    "src/ours/deep/sibling.py": "from ..b import a\n",
    "src/ours/deep/inner.py": "from model import net\n",
    "src/ours/methods/ridge.py": "from ours.methods import shared\n",
    "src/ours/methods/kernel.py": "",
    "src/ours/methods/shared.py": "",
    "src/ours/looks/one.py": "import stages.look\n",
    "src/ours/looks/two.py": "",
    "vendor/model/__init__.py": "",
    "vendor/model/net.py": "",
}
DEEP = ["src/ours/deep/__init__.py", "src/ours/deep/inner.py", "src/ours/deep/sibling.py", "vendor/model/net.py"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_a_stage_imports_is_its_code_directly_or_not(root: Path) -> None:
    found = code_of_stages(root)
    assert set(found) == {"fit", "look", "page"}
    assert found["fit"] == [
        "src/ours/a.py",
        "src/ours/b.py",
        "src/ours/methods/ridge.py",
        "src/ours/methods/shared.py",
        "stages/fit.py",
    ]
    assert found["look"] == ["src/ours/looks/one.py", "src/ours/looks/two.py", "stages/look.py"]
    assert found["page"] == sorted([*DEEP, "src/ours/a.py", "src/ours/b.py", "stages/look.py", "stages/page.py"])


def test_a_file_has_the_hash_and_the_path_of_every_module(root: Path) -> None:
    (root / FOLDER).mkdir(parents=True)
    (root / FOLDER / "gone").write_text("of a stage that was renamed\n")
    write_code(root)
    assert {path.name for path in (root / FOLDER).iterdir()} == {"fit", "look", "page"}
    lines = (root / FOLDER / "look").read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256(FILES[name].encode()).hexdigest()}  {name}"
        for name in ("src/ours/looks/one.py", "src/ours/looks/two.py", "stages/look.py")
    ]


def clear() -> None:
    """Forget what a module imported, as between two runs of the first stage."""
    for name in ("_tree", "_imported", "_files_of", "_asks_for_weights", "_has_words_alone"):
        getattr(reached, name).cache_clear()


def test_an_edit_changes_the_code_of_the_stages_that_reach_it_alone(root: Path) -> None:
    write_code(root)
    before = {path.name: path.read_bytes() for path in (root / FOLDER).iterdir()}
    for edited, changed in (
        ("src/ours/b.py", {"fit", "page"}),
        ("src/ours/methods/shared.py", {"fit"}),
        ("src/ours/methods/kernel.py", set()),
        ("src/ours/looks/two.py", {"look"}),
        ("stages/look.py", {"look", "page"}),
        ("src/ours/never.py", set()),
        ("src/ours/plumbed.py", set()),
    ):
        (root / edited).write_text(f"{FILES[edited]}\n# other\n")
        clear()
        write_code(root)
        after = {path.name: path.read_bytes() for path in (root / FOLDER).iterdir()}
        assert {name for name in after if after[name] != before[name]} == changed, edited
        (root / edited).write_text(FILES[edited])
    (root / "src/ours/methods/shared.py").write_text("import ours.never\n")  # a new import brings what it names
    clear()
    assert "src/ours/never.py" in code_of_stages(root)["fit"]


def test_another_choice_of_params_is_another_module(root: Path) -> None:
    (root / "params.yaml").write_text("method: kernel\n")
    assert code_of_stages(root)["fit"][2] == "src/ours/methods/kernel.py"


@pytest.mark.parametrize(
    ("text", "problem"),
    [("def f(:\n", r"a\.py is no Python, line 1: "), ("a\0b", r"a\.py is no Python"), ("\xff", r"a\.py is no Python")],
)
def test_a_module_that_cannot_be_read_is_named_and_nothing_is_written(root: Path, text: str, problem: str) -> None:
    write_code(root)
    before = (root / FOLDER / "fit").read_bytes()
    (root / "src/ours/a.py").write_bytes(text.encode("latin-1"))
    clear()
    with pytest.raises(ValueError, match=problem):
        write_code(root)
    assert (root / FOLDER / "fit").read_bytes() == before


def test_a_dvc_yaml_that_dvc_cannot_read_is_named(root: Path) -> None:
    (root / "params.yaml").write_text("other: 1\n")
    with pytest.raises(ValueError, match=r"dvc\.yaml: cannot read the stages: .*Could not find 'method'"):
        write_code(root)


IMPORTED = """
import json, sys
from pathlib import Path
root = Path.cwd()
sys.path[:0] = [str(root / "src"), str(root / "vendor"), str(root)]
import jax, torch  # once
import importlib
ours, found = ("spikevaediff", "loading", "vdvae", "versatile_diffusion", "stages"), {}
for name, modules in json.load(sys.stdin).items():
    for module in [m for m in sys.modules if m.split(".")[0] in ours and not m.endswith("torchvision_ops")]:
        del sys.modules[module]  # but the one that tells torch of operators, which can be told once
    for module in modules:
        importlib.import_module(module)
    files = [getattr(module, "__file__", None) for m, module in sys.modules.items() if m.split(".")[0] in ours]
    found[name] = [str(Path(file).relative_to(root)) for file in files if file]
print(json.dumps(found))
"""


def test_what_python_imports_for_a_stage_is_among_its_code() -> None:
    """By importing every stage and what it chooses by name; what functions import later is in the code besides."""
    code = code_of_stages(ROOT)
    roots = {"plumbing": ["stages.part"]}
    for name, modules in code.items():
        chosen = [path for path in modules if path.split("/")[-2] in ("methods", "families", "datasets", "stages")]
        roots[name] = [path.removeprefix("src/").removesuffix(".py").replace("/", ".") for path in chosen]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], cwd=ROOT, input=json.dumps(roots), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    of_plumbing = {*found.pop("plumbing"), *PLUMBING}
    for name, files in found.items():
        real = {path for path in files if not (path.endswith("__init__.py") and is_docstring_only(ROOT / path))}
        assert not real - of_plumbing - set(code[name]), name
        assert len(real & set(code[name])) > 1, name


def is_docstring_only(path: Path) -> bool:
    return all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)
