"""An environment for allensdk alone, which needs numpy below 1.24 and so cannot share the project's.

uv builds it from by_allensdk.txt, exact versions with their sha256, and whatever index it is set up for; a package with
another hash is refused. It lies in the user's cache under a name of that file, and is built once.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from spikevaediff.files.assets import cache_dir
from spikevaediff.files.atomic import alone, replacing

SCRIPT = Path(__file__).with_name("by_allensdk.py")
PACKAGES = Path(__file__).with_name("by_allensdk.txt")


def command(*words: str) -> list[str]:
    """How to run by_allensdk.py with these words, in its environment, which is built where it is not there.

    Raises
    ------
    OSError
        uv is not installed, or cannot build the environment; the message has its last words.
    """
    folder = cache_dir() / f"allensdk-{hashlib.sha256(PACKAGES.read_bytes()).hexdigest()[:16]}"
    with alone(cache_dir() / "allensdk.lock"):  # of two runs, the second waits and then finds it
        if not folder.is_dir():
            with replacing(folder, folder=True) as temporary:
                _build(temporary)
    return [str(folder / "bin" / "python"), str(SCRIPT), *words]


def _build(folder: Path) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise OSError("uv, which builds the environment of allensdk, is not installed (pip install uv)")
    install = [
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--requirements",
        str(PACKAGES),
        "--python",
        str(folder),
    ]
    for words in (["venv", "--quiet", "--relocatable", "--allow-existing", "--python", "3.11", str(folder)], install):
        run = subprocess.run([uv, *words], stderr=subprocess.PIPE, encoding="utf-8", errors="replace", check=False)
        if run.returncode:
            said = " ".join(run.stderr.split()) or "nothing"
            raise OSError(f"uv cannot build the environment of allensdk (uv {words[0]}) and said: {said}")
