"""Commands that are run in a folder: what is told of one that fails."""

from pathlib import Path

import pytest

from spikevaediff.tools import shell


def test_a_command_that_fails_says_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`git show nothing` ends with 128: fatal"):
        shell.command(tmp_path, "git", "show", "nothing")


def test_the_reason_of_a_dvc_command_is_told_from_what_comes_behind_it() -> None:
    said = (
        "Running\n\nERROR: unexpected error - not owned\n\nHaving any troubles? Hit us up at https://dvc.org/support\n"
    )
    assert shell.cause(said) == "unexpected error - not owned"
    assert shell.cause("a warning\nthe end\n\n") == "the end"
    assert shell.cause("") == "no message"
