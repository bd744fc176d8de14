"""What a command says of an error."""

import subprocess

from ruamel.yaml.error import YAMLError

from loading.machine import out_of_memory


def in_one_line(error: Exception) -> str | None:
    """What is said of an error that bad input or the machine explains; None for a mistake of ours."""
    if (said := out_of_memory(error)) is not None:
        return said
    if isinstance(error, YAMLError):  # several lines, in which the file and the place are named
        return f"not YAML: {' '.join(str(error).split())}"
    if isinstance(error, KeyError):
        return str(error.args[0]) if error.args else "a name is not there"
    if isinstance(error, OSError | ValueError | subprocess.SubprocessError):
        return str(error)
    return None
