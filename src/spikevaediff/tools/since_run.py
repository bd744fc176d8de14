"""Whether params.yaml still says what ran."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikevaediff.tools.dvc_cache import recorded_stages


def since_run(root: Path, params: Mapping[str, Any]) -> list[str]:
    """The parameters, by their paths, that have other values than in the run whose results are in artifacts/.

    Parameters
    ----------
    root : Path
        Top of the checkout. dvc.lock has the parameters of the last stage, `report`, which depends on all that decide
        something. Without it, nothing is known of the run, and nothing is listed.
    params : mapping
        params.yaml.
    """
    ran = (recorded_stages(root) or {}).get("report", {}).get("params", {}).get("params.yaml", {})
    return [path for name, value in ran.items() for path in _differing(name, value, _at(params, name))]


def _at(params: Any, path: str) -> Any:
    """The value at a path such as datasets.simulated; None where there is none."""
    for key in path.split("."):
        params = params.get(key) if isinstance(params, Mapping) else None
    return params


def _differing(path: str, ran: Any, now: Any) -> list[str]:
    if isinstance(ran, Mapping) and isinstance(now, Mapping):
        keys = dict.fromkeys([*ran, *now])
        return [one for key in keys for one in _differing(f"{path}.{key}", ran.get(key), now.get(key))]
    return [] if ran == now else [path]
