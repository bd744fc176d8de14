"""Before anything else, look at what is given and withdraw the numbers of the last run: python -m stages.start"""

import os
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent

import stages
from spikevaediff.files.atomic import replacing
from spikevaediff.parameters.of_space import of_space, spaces
from spikevaediff.recordings import sessions
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.report.unread import unread

# Git's results that show numbers. A run that ends at an earlier stage, because it was told to or failed, must not leave
# them beside parameters and data that they were not computed from.
SHOWN = ("report", "page")


def main() -> None:
    """Refuse what cannot be meant; then remove what report and page wrote, which they will write again."""
    params = stages.declared("start")
    check_written_out(Path("params.yaml"))
    check_sections(params, _yaml("params.yaml"))
    check_names(params)
    Limits.of(stages.section(params, "responses"))
    dataset = params["dataset"]
    check_data(Path("vendor/data"), dataset)
    withdrawn = [path for path in shown(_yaml("dvc.yaml")) if path.is_file()]
    for path in withdrawn:
        path.unlink()
    if withdrawn:
        print(f"{len(withdrawn)} files of the last run in metrics/ and plots/ are withdrawn until `report` is reached")
    if ignored := unread(params):
        print(f"not read, given the other parameters: {', '.join(ignored)}")
    with replacing("artifacts/started") as temporary:
        temporary.write_text("A run has begun.\n", encoding="utf-8")  # always the same, or everything would run again
    stages.done(f"data set {dataset}{older_copy(_yaml('data.dvc'))}")


def check_written_out(path: Path) -> None:
    """Refuse aliases of YAML: `dvc exp run -S` of a key that an alias repeats changes nothing, and does not say so.

    Raises
    ------
    ValueError
        Names the alias and its line.
    """
    with path.open(encoding="utf-8") as file:
        for event in YAML().parse(file):
            if isinstance(event, AliasEvent):
                raise ValueError(
                    f"{path}, line {event.start_mark.line + 1}: *{event.anchor} repeats another place, and "
                    f"`dvc exp run -S` would change neither, without a word. Write the values out"
                )


def check_sections(declared: dict[str, Any], written: dict[str, Any]) -> None:
    """Refuse a section of params.yaml that no stage reads, and a seed that is no whole number.

    Raises
    ------
    ValueError
        Names the section and those there are; or the seed.
    """
    if unknown := sorted(set(written) - set(declared) - {"compute"}):
        there = ", ".join([*declared, "compute"])
        raise ValueError(f"params.yaml: no stage reads {', '.join(unknown)}; its sections are {there}")
    seed = stages.section(declared, "seed")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"params.yaml: seed is {seed!r}, expected a whole number, 0 or more")


def check_names(params: dict[str, Any]) -> None:
    """Refuse names that params.yaml gives and that nothing has: DVC would only miss a file, perhaps after hours.

    Raises
    ------
    KeyError, ValueError
        The message lists the names there are.
    """
    dataset = stages.section(params, "dataset")
    stages.check_module("datasets", stages.section(params, "datasets", dataset).get("module", dataset))
    for space, options in stages.section(params, "models", stages.section(params, "model")).items():
        stages.check_module("decoders" if space == "diffusion" else "features", options.get("module", space))
    for space in spaces(stages.section(params, "regress")):
        stages.check_module("regression/methods", stages.section(params, "regress", space, "method"))
        check_library(params, space)
    families = stages.section(params, "encoding", "families")
    if not isinstance(families, list) or not families or len(set(map(str, families))) < len(families):
        raise ValueError(f"params.yaml: encoding.families is {families!r}, expected a list of different families")
    for family in families:
        stages.check_module("encoding/families", family)
    posterior = stages.section(params, "decode", "posterior")
    stages.check_positive("decode.posterior", n_samples=posterior["n_samples"], steps=posterior["steps"])
    sessions.areas_of(stages.section(params, "areas"))


def check_library(params: dict[str, Any], space: str) -> None:
    """Refuse rows of the library that there are not, or that the responses of a regression are not like.

    Raises
    ------
    ValueError
        Names the parameter, its value and what is possible.
    """
    n, there = stages.section(params, "regress", space, "library"), stages.section(params, "library", "n_images")
    if not isinstance(n, int) or isinstance(n, bool) or not 0 <= n <= there:
        raise ValueError(f"params.yaml: regress.{space}.library is {n!r}, expected 0 to {there} (library.n_images)")
    transform = of_space(params["regress"], space)["transform"]
    if n and transform != "none":
        raise ValueError(
            f"params.yaml: regress.{space}.transform is {transform}, but encoding models, which answer the library, "
            f"predict counts: choose none, or set regress.{space}.library to 0"
        )


def check_data(folder: Path, name: str) -> None:
    """Refuse a data set that is not there, or of which a run beside the workspace would see only a part.

    Raises
    ------
    FileNotFoundError
        The message says what is missing, why, and how to go on.
    """
    cure = f"Let it: git add {folder / name}; or, when it is large, dvc add {folder / name}"
    workspace = Path(os.environ.get("DVC_ROOT", "."))
    # A run of `--temp` or `--queue` has a copy of what Git tracks. Files that Git does not know would be left out in
    # silence.
    if workspace.resolve() != Path().resolve():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--others", "--", folder / name],
            cwd=workspace,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        left_out = [path for path in listed.stdout.split("\0") if path and not Path(path).exists()]
        if left_out:
            some = ", ".join(sorted(left_out)[:3]) + (", ..." if len(left_out) > 3 else "")
            raise FileNotFoundError(
                f"Git does not track {some}, so that a run outside the workspace (--temp, --queue) lacks it. {cure}"
            )
    if not (folder / name).is_dir():
        there = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name != "weights"))
        raise FileNotFoundError(
            f"params.yaml: dataset is {name}, but there is no folder {folder / name}; there {there}"
        )


def shown(pipeline: dict[str, Any]) -> list[Path]:
    """The outputs of the stages that show numbers, as dvc.yaml lists them."""
    kinds = [pipeline["stages"][name].get(kind, []) for name in SHOWN for kind in ("metrics", "plots", "outs")]
    return [Path(out if isinstance(out, str) else next(iter(out))) for outs in kinds for out in outs]


def older_copy(imported: dict[str, Any]) -> str:
    """What to say when data/ is not vendor/data: `dvc exp run` notes the checksum of the folder without copying it."""
    if imported["deps"][0].get("md5") == imported["outs"][0].get("md5"):
        return ""
    return "; data/ is an older copy of vendor/data, which is what this run reads. To renew it: dvc repro -f data.dvc"


def _yaml(path: str) -> dict[str, Any]:
    return YAML(typ="safe").load(Path(path))


if __name__ == "__main__":
    main()
