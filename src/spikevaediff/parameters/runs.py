"""Which runs there are: runs.yaml, over which dvc.yaml iterates and which everything that shows results reads."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from spikevaediff.files.atomic import replacing

CORE = "core"  # the part that nothing leaves out
_WANTED, _NOT_WANTED = "wanted\n", "left out\n"
LISTED = {"regressions": "regress", "decoded": "decode"}  # sections whose runs dvc.yaml lists, and the stage that does
TESTED = ("result", "control")  # roles of the runs whose scores are tested


@dataclass(frozen=True)
class Runs:
    """The runs that are wanted, section by section of runs.yaml.

    lead : str; the run that ranks the gallery. populations : of units. regressions : run -> space, population.
    analyses : bool; whether there are those beside the runs: quality, curves, areas, layers, known mistakes.
    scored : run -> role, says and, for some, compared_with; in the order of every table, baselines last.
    checked : run -> ceiling, control (None where it is left out), spaces. gallery, sheet : run -> its name there.
    """

    lead: str
    populations: list[str]
    regressions: dict[str, dict[str, Any]]
    scored: dict[str, dict[str, Any]]
    checked: dict[str, dict[str, Any]]
    gallery: dict[str, str]
    sheet: dict[str, str]
    analyses: bool

    @property
    def results(self) -> tuple[str, ...]:
        """Runs that reconstruct from the units of the visual population."""
        return tuple(name for name, run in self.scored.items() if run["role"] == "result")

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """Runs whose scores are tested."""
        return tuple(name for name, run in self.scored.items() if run["role"] in TESTED)

    @property
    def compared(self) -> tuple[tuple[str, str], ...]:
        """Pairs of a run and one that it is compared with."""
        pairs = [(name, other) for name, run in self.scored.items() for other in run.get("compared_with", [])]
        return tuple(pair for pair in pairs if pair[1] in self.scored)

    def of_space(self, space: str) -> tuple[str, ...]:
        """The regressions that predict a feature space, from the visual population first."""
        return tuple(name for name, run in self.regressions.items() if run["space"] == space)

    @property
    def spaces(self) -> list[str]:
        """The feature spaces that are predicted."""
        return list(dict.fromkeys(run["space"] for run in self.regressions.values()))


def read_runs(path: Path | str = "runs.yaml", parts: Mapping[str, bool] | None = None) -> Runs:
    """The runs of runs.yaml that params.yaml wants.

    Parameters
    ----------
    path : Path or str
    parts : mapping of part to bool, optional
        Section `parts` of params.yaml; all are wanted by default.

    Raises
    ------
    KeyError
        A run has a part that `parts` does not have.
    """
    written: dict[str, Any] = YAML(typ="safe").load(Path(path))

    def there(section: str) -> dict[str, Any]:
        return {name: run for name, run in written[section].items() if parts is None or wanted(run["part"], parts)}

    scored = there("scored") | there("baselines")
    checked = {
        name: {"spaces": []} | run | {"control": run["control"] if run["control"] in scored else None}
        for name, run in (there("checked") | there("checked_posteriors")).items()
    }
    named = {s: {name: row for name, row in written[s].items() if name in scored} for s in ("gallery", "sheet")}
    return Runs(
        lead=written["lead"],
        populations=list(there("populations")),
        regressions=there("regressions"),
        scored=scored,
        checked={name: checked[name] for name in scored if name in checked},
        analyses=parts is None or wanted("analyses", parts),
        **named,
    )


def problems(written: Mapping[str, Any], pipeline: Mapping[str, Any]) -> Iterator[str]:
    """Runs that nothing makes, of which DVC would only miss a file, after everything else has run.

    Parameters
    ----------
    written : mapping
        What runs.yaml holds.
    pipeline : mapping
        What dvc.yaml holds.
    """
    for section, stage in LISTED.items():
        entries = pipeline["stages"][stage]["foreach"]
        for run in written[section]:
            if run not in entries:
                there = f"stage {stage} of dvc.yaml lacks: give it a line there, as {next(iter(entries))} has"
                yield f"{section} has {run}, which {there}"
        for run in entries:
            if run not in written[section]:
                yield f"stage {stage} of dvc.yaml has {run}, which is not in {section}"
    regressed = [f"artifacts/decoded/{name}" for name in written["decoded"]]
    for run, posterior in written["posteriors"].items():
        if (named := posterior.get("regression")) not in regressed:
            yield f"posteriors.{run}.regression is {named}, expected one of {', '.join(regressed)}"
    samples = {f"{run}_sample" for run in written["posteriors"]}
    made = {*written["decoded"], *written["posteriors"], *samples, *written["generated"]}
    for run in written["scored"]:
        if run not in made:
            yield f"scored has {run}, which nothing makes. Images are made of {', '.join(sorted(made))}"
    scored = {*written["scored"], *written["baselines"]}
    for section in ("gallery", "sheet", "checked", "checked_posteriors"):
        yield from (f"{section} has {run}, which is not scored" for run in written[section] if run not in scored)
    for run, about in written["scored"].items():
        others = [name for name in about.get("compared_with", []) if name not in scored]
        yield from (f"scored.{run} is compared with {name}, which is not scored" for name in others)


def wanted(part: str, parts: Mapping[str, bool]) -> bool:
    """Whether a part of runs.yaml is wanted: core always, parts that are joined by + if each of them is.

    Raises
    ------
    KeyError
        `parts` has no such part; the message lists those it has.
    """
    names = [name for name in part.split("+") if name != CORE]
    if unknown := [name for name in names if name not in parts]:
        raise KeyError(f"runs.yaml: there is no part {unknown[0]}; params.yaml has parts.{', parts.'.join(parts)}")
    return all(parts[name] for name in names)


def write_parts(folder: Path | str, parts: Mapping[str, bool], path: Path | str = "runs.yaml") -> None:
    """A file for every part of runs.yaml that says whether it is wanted, for stages to depend on theirs alone.

    Parameters
    ----------
    folder : Path or str
        Replaced by one with these files.
    parts : mapping of part to bool
        Section `parts` of params.yaml.
    path : Path or str
        runs.yaml.
    """
    written: dict[str, Any] = YAML(typ="safe").load(Path(path))
    sections = [section for section in written.values() if isinstance(section, dict)]
    named = {run["part"] for section in sections for run in section.values() if isinstance(run, dict)}
    with replacing(folder, folder=True) as temporary:
        for part in sorted({CORE, *parts, *named}):
            (temporary / part).write_text(_WANTED if wanted(part, parts) else _NOT_WANTED, encoding="utf-8")


def is_wanted(path: Path | str) -> bool:
    """What a file of `write_parts` says.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is not there, or says something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Make it with: dvc repro start")
    found = path.read_text(encoding="utf-8")
    if found not in (_WANTED, _NOT_WANTED):
        raise ValueError(f"{path} says {found[:40]!r}, expected {_WANTED!r} or {_NOT_WANTED!r}. Run: dvc repro start")
    return found == _WANTED


def population_labels(areas: Mapping[str, Sequence[str] | str]) -> dict[str, str]:
    """The populations of section `areas` of params.yaml, as `says` of runs.yaml names them: "units in V4, IT".

    Parameters
    ----------
    areas : mapping of population to a list of areas, or to "shuffled"
    """
    return {
        name: "the same units with responses to other images" if isinstance(of, str) else f"units in {', '.join(of)}"
        for name, of in areas.items()
    }
