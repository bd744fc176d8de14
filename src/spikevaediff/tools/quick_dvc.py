"""DVC with a faster way to write its lock file: `spikevaediff dvc repro`, and so on for every command of DVC.

After every stage, run or restored, DVC reads all of dvc.lock with a parser that would keep comments, in pure Python,
and writes all of it: more than a second of the processor for the 64 stages of this project. Here the lines of that one
stage are replaced, as DVC writes them. The file is the same, byte for byte. It is written beside the old one and
renamed, so that a run that is killed leaves the old one or the new one.

DVC also parses params.yaml again for every stage, and dvc.yaml and dvc.lock for every look at the pipeline, which takes
seconds in all. Here each is parsed once, and again when it has changed. In an experiment, DVC adds the files of every
stage to Git's index, one stage after the other, and writes all of that index each time. Here this is done once, when
the last stage is through or one has failed. And stages are forks of one process that has loaded the libraries, see
`forked_stages`.

A few functions inside DVC are replaced, and only in the version whose files were compared. With another version, a
lock file of another layout or another command, DVC does it.
"""

import re
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import dvc
from dvc import dvcfile
from dvc.dependency import param
from dvc.fs import LocalFileSystem
from dvc.stage import run as running
from dvc.stage import serialize
from dvc.stage.exceptions import StageCmdFailedError
from dvc.utils import strictyaml
from dvc.utils.serialize import dumps_yaml, load_path

from spikevaediff.files.atomic import replacing
from spikevaediff.tools import forked_stages

VERSION = "3.67.1"
HEAD = "schema: '2.0'\nstages:\n"
_dump_stages, _run, _load = dvcfile.Lockfile.dump_stages, running._run, strictyaml.load
_forks: dict[str, forked_stages.Forks] = {}  # by the folder of stages; started with the first one that runs there
_read: dict[tuple[str, int, int, int], Any] = {}
_parsed: dict[tuple[str, int], Any] = {}  # by the text of a file and its schema, the last _KEPT of them
_KEPT = 16  # `dvc exp show` reads a lock file for every experiment
_reproduced: list[Any] = []  # stages of an experiment whose files are not in Git's index yet


def main(arguments: Sequence[str]) -> int:
    """Run DVC on these words; its exit status."""
    from dvc.cli import main as run  # takes a second
    from dvc.repo.experiments.executor.base import BaseExecutor

    if dvc.__version__ == VERSION:
        dvcfile.Lockfile.dump_stages = dump_stages
        param.load_path = load_params
        strictyaml.load = load_yaml
        running._run = run_command
        BaseExecutor._repro_and_track = staticmethod(reproduce)
        listed = BaseExecutor._get_top_level_paths

        def after_all(repo: Any) -> list[str]:
            add_to_git()  # all stages are through when it is asked for these
            return listed(repo)

        BaseExecutor._get_top_level_paths = after_all
    try:
        return run(list(arguments))
    finally:
        for forks in _forks.values():
            forks.end()


def run_command(executable: str | None, cmd: str, **given: Any) -> None:
    """Run the command of a stage; in place of the function of this name."""
    stage = forked_stages.stage_of(cmd, given["env"])
    if stage is None:
        _run(executable, cmd, **given)
        return
    cwd = given["cwd"]
    if cwd not in _forks:  # before Ctrl-C is ignored, which a stage would inherit
        _forks[cwd] = forked_stages.Forks(cwd)
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None  # for the stage, as in DVC
    try:
        code = _forks[cwd].run(*stage, cwd, given["env"])
    finally:
        if in_main:
            signal.signal(signal.SIGINT, before)
    if code:
        raise StageCmdFailedError(cmd, code)


def dump_stages(lock: dvcfile.Lockfile, stages: Sequence[Any], **options: Any) -> None:
    """Write what DVC knows of some stages into its lock file; in place of the method of this name."""
    path = Path(lock.path)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = {name: entry for stage in stages for name, entry in serialize.to_lockfile(stage, **options).items()}
    changed = with_stages(text, found) if isinstance(lock.repo.fs, LocalFileSystem) else None
    if changed is None:
        _dump_stages(lock, stages, **options)
        return
    if changed != text:
        for word in ("Updating",) if text else ("Generating", "Updating"):  # as DVC says it
            dvcfile.logger.info("%s lock file '%s'", word, lock.relpath)
        with replacing(path.resolve()) as temporary:
            temporary.write_text(changed, encoding="utf-8")
        lock.repo.scm_context.track_file(lock.relpath)


def load_params(path: str, fs: Any, **options: Any) -> Any:
    """What a file of parameters holds; in place of dvc.utils.serialize.load_path."""
    if options or not isinstance(fs, LocalFileSystem) or not Path(path).is_file():
        return load_path(path, fs, **options)
    about = Path(path).stat()
    key = (str(path), about.st_ino, about.st_mtime_ns, about.st_size)
    if key not in _read:
        _read[key] = load_path(path, fs)
    return deepcopy(_read[key])


def load_yaml(
    path: str, schema: Any = None, fs: Any = None, encoding: str = "utf-8", round_trip: bool = False
) -> tuple[Any, str]:
    """What a file of DVC holds, and its text; in place of dvc.utils.strictyaml.load."""
    known = None
    if not round_trip:
        with suppress(OSError, UnicodeDecodeError), (fs.open if fs else open)(path, encoding=encoding) as file:
            known = _parsed.get((file.read(), id(schema)))
    if known is not None:
        return deepcopy(known[0]), known[1]
    data, text = _load(path, schema, fs, encoding, round_trip)  # or DVC says what is wrong
    if not round_trip:
        while len(_parsed) >= _KEPT:
            del _parsed[next(iter(_parsed))]
        _parsed[text, id(schema)] = deepcopy(data), text, schema
    return data, text


def reproduce(stage: Any, **options: Any) -> Any:
    """Reproduce a stage of an experiment; in place of the method of an executor that adds its files to Git as well."""
    from dvc.repo.reproduce import _reproduce_stage

    try:
        done = _reproduce_stage(stage, **options)
    except BaseException:
        add_to_git()
        raise
    if not options.get("dry"):
        _reproduced.append(stage)
    return done


def add_to_git() -> None:
    """Add to Git's index what Git has of the stages that were reproduced."""
    from dvc.stage.utils import _get_stage_files

    stages = _reproduced.copy()
    _reproduced.clear()
    files = dict.fromkeys(path for stage in stages for path in _get_stage_files(stage))
    if files:
        stages[0].repo.scm_context.add(list(files))


def with_stages(text: str, stages: Mapping[str, Any]) -> str | None:
    """A lock file in which some stages are others.

    Parameters
    ----------
    text : str
        The file; empty where there is none.
    stages : dict
        What is written of each stage, by its name.

    Returns
    -------
    str or None
        None where the file does not have the layout that DVC writes: a line for each stage, two spaces before it, and
        what belongs to it further in.
    """
    text = text or HEAD
    lines = text.removeprefix(HEAD).splitlines(keepends=True)
    if not text.startswith(HEAD) or not all(re.match(r"  +[^\s#].*\n", line) for line in lines):
        return None
    blocks: dict[str, list[str]] = {}
    for line in lines:
        if line[2] != " ":
            if line in blocks or not re.fullmatch(r"  [\w@.-]+:\n", line):
                return None
            blocks[line] = current = []
        elif not blocks:
            return None
        else:
            current.append(line)
    for name, entry in stages.items():
        dumped = dumps_yaml({"stages": {name: entry}})
        if "&id" in dumped:  # a name for a value that stands twice, of which DVC counts those of the whole file
            return None
        first, *rest = dumped.removeprefix("stages:\n").splitlines(keepends=True)
        blocks[first] = rest
    return HEAD + "".join(first + "".join(rest) for first, rest in blocks.items())
