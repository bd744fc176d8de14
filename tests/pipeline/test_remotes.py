"""A shared cache, on each kind of remote that the README names: what one lab member pushes, another need not compute.

The servers are real ones: moto's S3, OpenSSH's sshd, and a folder.
"""

import configparser
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from remote_servers import KEY_ID, SECRET, free_port, s3, ssh
from small_profile import Run, cloned, copied, dvc, edit, results, succeeded

pytestmark = pytest.mark.slow

Setup = Callable[[Path], None]


class Remote:
    """A kind of remote: how a clone is told of it, and the objects it holds."""

    def __init__(self, kind: str, folder: Path, stack: ExitStack) -> None:
        self.kind, self.folder, self.port = kind, folder, free_port()
        self._told: dict[tuple[tuple[str, str], ...], str] = {}
        if kind == "folder":
            (folder / "store").mkdir()
            self.options = {"url": str(folder / "store")}
        elif kind == "s3":
            endpoint = stack.enter_context(s3(folder, self.port))
            self.options = {
                "url": "s3://lab/spikevaediff",
                "endpointurl": endpoint,
                "access_key_id": KEY_ID,
                "secret_access_key": SECRET,
                "region": "us-east-1",
            }
        else:
            key = stack.enter_context(ssh(folder, self.port))
            self.options = {"url": f"ssh://127.0.0.1:{self.port}{folder}/store", "keyfile": str(key)}
            (folder / "store").mkdir()

    def tell(self, clone: Path, **more: str) -> None:
        """By DVC's own commands; another clone that is told the same gets the file that they wrote."""
        options, written = self.options | {"verify": "true"} | more, clone / ".dvc/config.local"
        key = tuple(options.items())
        if key in self._told:
            written.write_text(self._told[key])
            return
        succeeded(clone, "remote", "add", "--local", "--default", "--force", "lab", options.pop("url"))
        for name, value in options.items():
            succeeded(clone, "remote", "modify", "--local", "lab", name, value)
        self._told[key] = written.read_text()

    def read(self, key: str) -> bytes:
        """A stored object, by its path in the remote."""
        if self.kind == "s3":
            return self._client().get_object(Bucket="lab", Key=f"spikevaediff/{key}")["Body"].read()
        return (self.folder / "store" / key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        if self.kind == "s3":
            self._client().put_object(Bucket="lab", Key=f"spikevaediff/{key}", Body=content)
            return
        path = self.folder / "store" / key
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        path.chmod(0o444)

    def _client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.options["endpointurl"],
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )


@pytest.fixture(scope="module", params=["folder", "s3", "ssh"])
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    with ExitStack() as stack:
        yield Remote(request.param, tmp_path_factory.mktemp("remote"), stack)


@pytest.fixture(scope="session")
def varied(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished clone in which one stage ran with another parameter."""
    clone = copied(pristine, tmp_path_factory.mktemp("varied") / "clone")
    edit(clone / "params.yaml", {"regress.vdvae.alpha_scope": "global"})
    assert "regress@vdvae" in succeeded(clone, "repro", "regress@vdvae").ran
    return clone


@pytest.fixture(scope="module")
def pushed(remote: Remote, pristine: Path, varied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clone of one member of the lab: everything is pushed, and the run with one other parameter too."""
    clone = copied(pristine, tmp_path_factory.mktemp("first") / "clone")
    remote.tell(clone)
    succeeded(clone, "push", "--run-cache")
    other = copied(varied, tmp_path_factory.mktemp("other") / "clone")
    remote.tell(other)
    succeeded(other, "push", "--run-cache")
    return other


@pytest.fixture(scope="module")
def second(pushed: Path, pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another member's clone of the same commit, with an empty cache."""
    return cloned(pristine, tmp_path_factory.mktemp("second"))


def test_a_second_clone_pulls_and_has_nothing_to_run(remote: Remote, first: Run, second: Path) -> None:
    remote.tell(second)
    pulled = succeeded(second, "pull")
    assert {path: digest for path, digest in pulled.files.items() if path in first.files} == first.files
    again = succeeded(second, "repro")
    assert again.ran == again.restored == set()
    assert "Data and pipelines are up to date." in again.output


def test_what_another_member_ran_is_not_run_again(remote: Remote, pushed: Path, second: Path) -> None:
    edit(second / "params.yaml", {"regress.vdvae.alpha_scope": "global"})
    succeeded(second, "fetch", "--run-cache")
    run = succeeded(second, "repro", "--pull", "regress@vdvae")
    assert run.ran == {"start"}  # a second of looking, and the only stage that is never taken from elsewhere
    assert "regress@vdvae" in run.restored
    for name in ("artifacts/predicted/vdvae.npz", "artifacts/fits/vdvae.npz"):
        assert results(second)[name] == results(pushed)[name]


def test_credentials_and_addresses_stay_out_of_git(remote: Remote, pushed: Path) -> None:
    status = subprocess.run(["git", "status", "--porcelain"], cwd=pushed, capture_output=True, text=True, check=True)
    assert ".dvc/config" not in status.stdout
    subprocess.run(["git", "add", "--all"], cwd=pushed, check=True)
    for secret in (SECRET, KEY_ID, str(remote.folder), f":{remote.port}"):
        # The tests themselves hold the made-up key.
        search = ["git", "grep", "--cached", "-F", secret, "--", ".", ":!tests"]
        found = subprocess.run(search, cwd=pushed, capture_output=True, check=False)
        assert found.returncode == 1, found.stdout


def test_a_damaged_object_is_refused(remote: Remote, pristine: Path, pushed: Path, tmp_path: Path) -> None:
    clone = cloned(pristine, tmp_path)
    remote.tell(clone)
    digest = responses_digest(clone)
    key = f"files/md5/{digest[:2]}/{digest[2:]}"
    whole = remote.read(key)
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    remote.write(key, bytes(damaged))
    try:
        run = dvc(clone, "pull", "artifacts/responses/visual.npz")
        assert run.code != 0
        assert digest in run.output or "visual.npz" in run.output
        assert not (clone / "artifacts/responses/visual.npz").exists()
        # Without the object the pipeline goes on by computing it.
        succeeded(clone, "repro", "responses@visual")
    finally:
        remote.write(key, whole)


def responses_digest(clone: Path) -> str:
    from ruamel.yaml import YAML

    lock = YAML(typ="safe").load(clone / "dvc.lock")
    of_path = {out["path"]: out["md5"] for out in lock["stages"]["responses@visual"]["outs"]}
    return of_path["artifacts/responses/visual.npz"]


def test_a_remote_that_is_down_is_named_and_nothing_is_lost(remote: Remote, pristine: Path, tmp_path: Path) -> None:
    clone = copied(pristine, tmp_path / "clone")
    before = results(clone)
    port = str(free_port())
    gone = {
        "folder": {"url": str(tmp_path / "a file" / "store")},
        "s3": {"endpointurl": f"http://127.0.0.1:{port}"},
        "ssh": {"url": f"ssh://127.0.0.1:{port}/store"},
    }[remote.kind]
    (tmp_path / "a file").write_text("where a folder belongs")
    remote.tell(clone, **gone)
    run = dvc(clone, "push")
    assert run.code != 0
    assert any(word in run.output for word in (port, "a file", "Connection", "connect")), run.output
    assert results(clone) == before
    again = succeeded(clone, "repro")  # which asks no remote
    assert again.ran == set()


def test_a_full_remote_says_so_and_takes_the_rest_later(pristine: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(store)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    clone = copied(pristine, tmp_path / "clone")
    before = results(clone)
    try:
        succeeded(clone, "remote", "add", "--local", "--default", "lab", str(store))
        run = dvc(clone, "push")
        assert run.code != 0
        assert "No space left on device" in run.output
        assert results(clone) == before
        subprocess.run(["mount", "-o", "remount,size=2g", str(store)], check=True)
        succeeded(clone, "push")
    finally:
        subprocess.run(["umount", str(store)], check=True)
    assert "up to date" in succeeded(clone, "status").output


def test_the_repository_names_no_remote_of_others() -> None:
    """Only a folder of the checkout, which keeps recordings that may not be passed on; nothing is pushed by default."""
    config = configparser.ConfigParser(inline_comment_prefixes="#")
    config.read(ROOT / ".dvc" / "config")
    assert [name for name in config.sections() if "remote" in name] == ["'remote \"not_shared\"'"]
    assert dict(config["'remote \"not_shared\"'"]) == {"url": "tmp/not_shared"}
    assert "remote" not in config["core"]
