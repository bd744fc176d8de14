"""Which runs there are: runs.yaml, over which dvc.yaml iterates and which everything that shows results reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

CORE = "core"  # the part that nothing leaves out
TESTED = ("result", "control")  # roles of the runs that ask something of the responses


@dataclass(frozen=True)
class Runs:
    """The runs that are wanted, section by section of runs.yaml.

    lead : str; the run that ranks the gallery. populations : of units. regressions : run -> space, population.
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

    @property
    def results(self) -> tuple[str, ...]:
        """Runs that reconstruct from the units of the visual population."""
        return tuple(name for name, run in self.scored.items() if run["role"] == "result")

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """Runs that ask something of the responses."""
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
        **named,
    )


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


def in_words(areas: Mapping[str, Sequence[str] | str]) -> dict[str, str]:
    """The populations of section `areas` of params.yaml, as `says` of runs.yaml names them: "units in V4, IT".

    Parameters
    ----------
    areas : mapping of population to a list of areas, or to "shuffled"
    """
    return {
        name: "the same units with responses to other images" if isinstance(of, str) else f"units in {', '.join(of)}"
        for name, of in areas.items()
    }
