"""One thin script per stage, run as `python -m stages.NAME` from the top of the checkout.

The checkout's own src/ and vendor/ come first on the path: an installed copy of the package would make a queued
experiment run the code of another working tree.
"""

import importlib.util
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# A DVC that was called by its path runs the stages with another Python, the first one of PATH.
if lacking := [name for name in ("dvc", "jax", "torch") if importlib.util.find_spec(name) is None]:
    sys.exit(
        f"{sys.executable} lacks {', '.join(lacking)}: it is not this project's Python, and stages run with the first "
        "`python` of PATH. Activate the environment (. .venv/bin/activate) and try again, or run: make repro"
    )
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "vendor")]


def _one_clear_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Bad input is reported in one line; SPIKEVAEDIFF_TRACEBACK=1, or a mistake of ours, shows where it happened."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return
    from loading.machine import out_of_memory

    if (said := out_of_memory(error)) and not os.environ.get("SPIKEVAEDIFF_TRACEBACK"):
        print(f"MemoryError: {said}", file=sys.stderr)
    elif issubclass(kind, ValueError | KeyError | OSError) and not os.environ.get("SPIKEVAEDIFF_TRACEBACK"):
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"{kind.__name__}: {text}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _one_clear_error  # before what takes a second to import

from spikevaediff import threads  # found by the path above
from spikevaediff.parameters import check
from spikevaediff.parameters.compute import device
from spikevaediff.parameters.declared import of_stage
from spikevaediff.parameters.options import asked, check_options, is_weights, module, modules

__all__ = [
    "asked",
    "check_options",
    "compute",
    "declared",
    "decoder",
    "done",
    "module",
    "modules",
    "section",
    "weights_path",
    "with_weights",
]

threads.set_once()
for _stream in (sys.stdout, sys.stderr):
    if isinstance(_stream, io.TextIOWrapper):
        _stream.reconfigure(errors="replace")  # what a terminal cannot show is no reason to fail

_STARTED = time.monotonic()


def refuse_experiment_that_would_be_lost(root: Path) -> None:
    """End a run in a folder of DVC (`dvc exp run --temp`, a queue) whose experiment DVC could not keep.

    In a shallow clone it computes, cannot walk the commit's history, and drops the experiment without a word.

    Raises
    ------
    SystemExit
        `root` is below .dvc/tmp/exps of a shallow clone.
    """
    parts = root.parts
    for depth in range(len(parts) - 3, 0, -1):
        if parts[depth : depth + 3] == (".dvc", "tmp", "exps"):
            clone = Path(*parts[:depth])
            asked = ["git", "rev-parse", "--is-shallow-repository"]
            if subprocess.run(asked, cwd=clone, capture_output=True, check=False).stdout.strip() == b"true":
                sys.exit(
                    f"{clone} is a shallow clone, in which DVC would compute this experiment and keep nothing of it. "
                    "Fetch the history first: git fetch --unshallow; or run it in place: dvc exp run without --temp"
                )


refuse_experiment_that_would_be_lost(ROOT)


def declared(stage: str) -> dict[str, Any]:
    """The parameters that dvc.yaml declares for a stage, and no others, each checked as in the first stage.

    A number that the stage uses but does not declare is a KeyError from `section` instead of a stale result later.

    Raises
    ------
    ValueError
        dvc.yaml or params.yaml cannot be read, or a value is not possible.
    """
    found = of_stage(stage, Path.cwd())
    check.refuse(check.of_sections(found, whole=False))
    return found


def section(params: dict[str, Any], *names: str) -> Any:
    """params[names[0]][names[1]]... of what a stage declares.

    Raises
    ------
    KeyError
        A name is not there; the message lists those of params.yaml, or says that dvc.yaml does not declare it.
    """
    found: Any = params
    try:
        for name in names:
            found = found[name]
    except (KeyError, TypeError):
        written: Any = params_yaml()
        for depth, name in enumerate(names):
            if not isinstance(written, dict) or name not in written:
                path, above = ".".join(names[: depth + 1]), ".".join(names[:depth]) or "it"
                there = ", ".join(map(str, written)) if isinstance(written, dict) else repr(written)
                raise KeyError(f"params.yaml has no {path}; {above} has {there}") from None
            written = written[name]
        raise KeyError(
            f"dvc.yaml does not declare the parameter {'.'.join(names)} for this stage; add it to its params"
        ) from None
    return found


def compute() -> dict[str, Any]:
    """How to compute: section `compute` of params.yaml, which no stage declares because results do not depend on it.

    Raises
    ------
    KeyError, ValueError
        The section lacks a key, has another one, or a value that is not possible.
    """
    options = dict(section(params_yaml(), "compute"))
    check.refuse(check.of_section("compute", options))
    return options | {"device": device(options["device"])}


def params_yaml() -> dict[str, Any]:
    """All of params.yaml, which only the first stage may use: what a stage has not declared does not rerun it."""
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(ROOT / "params.yaml")


def weights_path(value: str) -> Path:
    """A weight file: a path below vendor/, or the name of an asset, which is fetched when it is not there."""
    from spikevaediff.files import assets

    return assets.weights(value, ROOT)


def with_weights(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with files for the values of `weights` and `..._weights`, as `weights_path` finds them."""
    return {n: weights_path(value) if is_weights(n, value) else value for n, value in options.items()}


def decoder(params: dict[str, Any], name: str, *, other_noise: bool = False) -> Callable[..., Any]:
    """The decoder of a section of `decode`, with its options: those of the section, and what else it asks for.

    Parameters
    ----------
    params : dict
        As a stage declares them: model, models.<model>.vdvae, decode.<name> and seed.
    name : str
        Of the section, whose `module` is one of spikevaediff.decoders.
    other_noise : bool
        With another seed, for the second of two halves: noise that both share would count as agreement.

    Raises
    ------
    KeyError, ValueError, FileNotFoundError
        There is no such section or module, an option does not exist or is missing, or a weight file is not there.
    """
    own, model = section(params, "decode", name), section(params, "model")
    decode = module("decoders", own["module"]).decode
    options = asked(decode, section(params, "models", model, "vdvae")) | own
    given = {"seed": section(params, "seed") + other_noise} | compute()
    check_options(decode, options, f"decode.{name} with models.{model}.vdvae", stage=("module",), passed=given)
    del options["module"]
    return partial(decode, **with_weights(options), **asked(decode, given))


def done(text: str) -> None:
    """One line at the end of a step: what was made, and the seconds since the stage began."""
    print(f"{text} [{time.monotonic() - _STARTED:.1f} s]", flush=True)
