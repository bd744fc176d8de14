"""params.yaml as a whole, for commands and Python. A stage reads no more of it than dvc.yaml declares."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from spikevaediff.parameters.options import modules


def read(root: Path, settings: Sequence[str] = ()) -> dict[str, Any]:
    """params.yaml of a checkout, with other values as `dvc exp run -S` takes them.

    Parameters
    ----------
    root : Path
        Top of the checkout.
    settings : sequence of str
        Such as "model=published" or "responses.n_bins=2".

    Raises
    ------
    FileNotFoundError
        There is no params.yaml.
    ValueError
        params.yaml is not YAML or holds no sections; a setting is not key=value, or there is no such key; the message
        lists those beside it.
    """
    path = root / "params.yaml"
    if not path.exists():
        raise FileNotFoundError(f"{root} has no params.yaml. Run this at the top of a checkout of SpikeVAEDiff")
    safe = YAML(typ="safe")
    try:
        params: Any = safe.load(path)
    except YAMLError as error:  # several lines, in which the file and the place are named
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(params, dict):
        raise ValueError(f"{path} holds no sections. Get it back from the last commit: git checkout params.yaml")
    for setting in settings:
        name, equals, value = setting.partition("=")
        adds = name.startswith("+")  # as for DVC: +key is new, ++key new or not
        *above, key = name.lstrip("+").split(".")
        section: Any = params
        for part in above:
            section = section.get(part) if isinstance(section, dict) else None
        if not equals:
            raise ValueError(f"-S {setting}: expected KEY=VALUE, such as -S model=published")
        if section is None:
            raise ValueError(f"-S {setting}: params.yaml has no section {'.'.join(above)}; it has {', '.join(params)}")
        if not isinstance(section, dict) or (key not in section and not adds):
            there = ", ".join(map(str, section)) if isinstance(section, dict) else "no keys"
            raise ValueError(f"-S {setting}: params.yaml has no {name}; {'.'.join(above) or 'it'} has {there}")
        section[key] = safe.load(value)
    return params


def dataset(params: Mapping[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """Name, module and options of the chosen data set.

    Raises
    ------
    ValueError
        params.yaml has no such data set, or there is no such module.
    """
    name = params["dataset"]
    if name not in params["datasets"]:
        raise ValueError(f"params.yaml: dataset is {name!r}; there are {', '.join(params['datasets'])}")
    options = dict(params["datasets"][name])
    module = options.pop("module", name)
    if module not in (there := modules("datasets")):
        raise ValueError(f"params.yaml: {module!r} is not a module of data sets; there are {', '.join(there)}")
    return name, importlib.import_module(f"spikevaediff.datasets.{module}"), options


def model(params: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the chosen model, by space.

    Raises
    ------
    ValueError
        params.yaml has no such model.
    """
    name = params["model"]
    if name not in params["models"]:
        raise ValueError(f"params.yaml: model is {name!r}; there are {', '.join(params['models'])}")
    return params["models"][name]
