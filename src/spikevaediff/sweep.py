"""Many experiments at once: `spikevaediff sweep` queues a set of sweeps.yaml, and DVC runs them side by side."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML


def load(path: Path) -> dict[str, dict[str, list[Any]]]:
    """The sets of experiments of sweeps.yaml: name -> path in params.yaml -> values.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is absent or of another form.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Run this at the top of a checkout of SpikeVAEDiff")
    content = YAML(typ="safe").load(path) or {}
    for name, grid in content.items():
        if not isinstance(grid, dict) or not all(isinstance(values, list) and values for values in grid.values()):
            raise ValueError(f"{path}: {name} must be paths of params.yaml, each with a list of values; got {grid!r}")
    return content


def experiments(name: str, grid: Mapping[str, Sequence[Any]], params: Mapping[str, Any]) -> dict[str, list[str]]:
    """Every combination of a grid, as the name of an experiment and its `-S` settings.

    Raises
    ------
    KeyError
        A path is not in params.yaml; DVC would add it as a new parameter that nothing reads.
    """
    for path in grid:
        found: Any = params
        for key in path.split("."):
            if not isinstance(found, Mapping) or key not in found:
                raise KeyError(f"sweep {name}: params.yaml has no {path}")
            found = found[key]
    combinations = list(itertools.product(*grid.values()))
    width = len(str(len(combinations) - 1))
    return {
        f"{name}-{i:0{width}d}": [f"{path}={_text(value)}" for path, value in zip(grid, values, strict=True)]
        for i, values in enumerate(combinations)
    }


def _text(value: Any) -> str:
    """A value as `dvc exp run -S` reads it."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def run_here(root: Path, wanted: Mapping[str, Sequence[str]], *, jobs: int) -> None:
    """Queue the experiments and start DVC's workers; `dvc queue status` follows them.

    Raises
    ------
    ValueError
        DVC refuses one; what was queued before it stays in the queue.
    """
    for name, settings in wanted.items():
        _dvc(root, "exp", "run", "--queue", "--name", name, *_flags(settings))
    _dvc(root, "queue", "start", "--jobs", str(jobs))


def _flags(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("-S", setting)]


def _dvc(folder: Path, *words: str) -> None:
    _run(folder, sys.executable, "-m", "dvc", *words)


def _run(folder: Path, *command: str) -> None:
    # The stages say `python`, which must be the one that runs this.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        words = " ".join(word for word in command if word not in (sys.executable, "-m"))
        raise ValueError(f"`{words}` ends with {done.returncode}: {said[-2000:]}")
