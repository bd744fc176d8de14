"""Stages that start where the libraries are loaded already: one process loads them, and every stage is a fork of it.

Loading PyTorch, JAX and SciPy takes one to two seconds of the processor in each of the sixty processes of a run, which
is more than the work itself in many of them. `spikevaediff dvc` therefore starts this file once. It forks for every
stage, and the fork runs the stage as `python -m stages.NAME` would: in the same folder, with the same environment, and
with nothing of this project loaded. A library is loaded here after the second stage that needed it, while DVC saves the
results of that stage, so that a run of a few stages loads nothing for nothing.

Only on Linux, where a process that has loaded these libraries may fork. None of them has a thread before it computes.
"""

import atexit
import gc
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("numpy", "h5py", "scipy.stats", "torch", "jax.numpy", "matplotlib.figure"),
    *("pydantic", "dvc.parsing", "rich.progress", "PIL.Image"),
)
_STAGE = re.compile(r"python -m (stages\.\w+)((?: [\w./@+=:,-]+)*)")


class Forks:
    """The process that forks, seen from the one that asks it.

    It starts in the folder of the stages: folders that PYTHONPATH names without a root are found from there, and
    Matplotlib looks for its settings there.
    """

    def __init__(self, cwd: str = ".") -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            number = theirs.fileno()
            # -P: the folder of this file is no place to import from.
            command = [sys.executable, "-P", __file__, str(number)]
            self._process = subprocess.Popen(command, pass_fds=[number], cwd=cwd)
            self._line = ours.makefile("rwb", buffering=0)

    def run(self, module: str, words: list[str], cwd: str, env: Mapping[str, str]) -> int:
        """Run a module in a fork and wait for it; the exit status, minus the signal for one that was killed."""
        try:
            _send(self._line, {"module": module, "words": words, "cwd": cwd, "env": dict(env)})
            return int(self._line.readline())
        except (OSError, ValueError):  # the process that forks was killed
            return -signal.SIGKILL

    def end(self) -> None:
        """Let the process that forks end, and wait for it."""
        self._line.close()
        self._process.wait()


def stage_of(command: str, env: Mapping[str, str]) -> tuple[str, list[str]] | None:
    """Module and words of a command that can be forked: `python -m stages.NAME WORDS`, by this process's Python."""
    found = _STAGE.fullmatch(command)
    python = shutil.which("python", path=env.get("PATH"))
    if not found or not python or sys.platform != "linux":
        return None
    ours = Path(sys.executable)
    # Files of several environments are links to one; and one folder may hold several versions.
    if not Path(python).parent.samefile(ours.parent) or not Path(python).samefile(ours):
        return None
    return found[1], found[2].split()


def _send(line: Any, value: object) -> None:
    line.write(json.dumps(value).encode() + b"\n")


def _serve(line: Any) -> dict[str, Any]:
    """Fork for every request; returns in the fork, with what was asked and a pipe for the names of its libraries."""
    needed: Counter[str] = Counter()
    while request := line.readline():
        names, of_stage = os.pipe()
        gc.freeze()  # a fork that went through these objects would copy them all
        pid = os.fork()
        if not pid:
            os.close(names)
            return {**json.loads(request), "pipe": of_stage}
        os.close(of_stage)
        _, status = os.waitpid(pid, 0)
        os.set_blocking(names, False)  # a process that the stage left behind may hold the other end
        try:
            _send(line, os.waitstatus_to_exitcode(status))
            needed.update(os.read(names, 1000).decode().split())
        except BlockingIOError:
            pass
        except ConnectionError:  # the one that asks was killed
            break
        os.close(names)
        for name in LIBRARIES:
            if needed[name] >= 2 and name not in sys.modules:
                import_module(name)
    sys.exit()


def _main(number: int) -> None:
    # Ctrl-C is for the stage, where DVC does not run in the background; this process ends with the one that asks.
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    _set_threads()
    with socket.socket(fileno=number) as asked:
        given = _serve(asked.makefile("rwb", buffering=0))
    gc.enable()
    signal.signal(signal.SIGINT, on_interrupt)
    ended: list[str] = []
    atexit.register(_end, given["pipe"], ended)  # the first one, which is called last
    os.environ.clear()
    os.environ.update(given["env"])
    os.chdir(given["cwd"])
    sys.path.insert(0, given["cwd"])
    sys.argv = [given["module"], *given["words"]]
    _draw_anew()
    runpy.run_module(given["module"], run_name="__main__", alter_sys=True)
    ended.append(given["module"])


def _set_threads() -> None:
    """What libraries read when they are loaded, as every stage sets it.

    Nothing of this project stays loaded: a stage may be of another checkout.
    """
    import_module("spikevaediff.threads").set_once()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("spikevaediff", "loading")]:
        del sys.modules[name]


def _draw_anew() -> None:
    """Without a seed, NumPy and PyTorch draw other numbers in every process. Python does so after a fork by itself."""
    if of_numpy := sys.modules.get("numpy.random"):
        of_numpy.seed()
    if torch := sys.modules.get("torch"):
        torch.default_generator.seed()


def _end(pipe: int, ended: list[str]) -> None:
    """Say what the stage needed. One without an error ends here: tearing down modules takes Python half a second."""
    with suppress(BrokenPipeError):  # the process that forked was killed
        os.write(pipe, " ".join(name for name in LIBRARIES if name in sys.modules).encode())
    if ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
