"""Real servers on loopback for the tests of remotes: S3 (moto's server) and SSH (OpenSSH's)."""

import getpass
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

KEY_ID, SECRET = "AKIATESTOFSPIKEVAEDIFF", "a-secret-that-git-must-never-see"


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answers(port: int) -> bool:
    with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
        return True
    return False


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """A server for as long as the block runs, ready when the block begins."""
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 60
            while not answers(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


@contextmanager
def s3(folder: Path, port: int) -> Iterator[str]:
    """The address of an S3 server with an empty bucket "lab"."""
    import boto3

    url = f"http://127.0.0.1:{port}"
    with running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, folder / "s3.log"):
        with urlopen(f"{url}/moto-api/") as page:
            assert page.status == 200
        client = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        client.create_bucket(Bucket="lab")
        yield url


@contextmanager
def ssh(folder: Path, port: int) -> Iterator[Path]:
    """The key of a user who may log in to an SSH server."""
    daemon = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if daemon is None:
        pytest.skip("no OpenSSH server is installed (Debian: apt-get install openssh-server)")
    for name in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make, check=True)
    shutil.copyfile(folder / "user.pub", folder / "authorized_keys")
    (folder / "sshd_config").write_text(
        f"""Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowUsers {getpass.getuser()}
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
"""
    )
    if Path("/run").is_dir() and not Path("/run/sshd").exists():
        with suppress(PermissionError):
            Path("/run/sshd").mkdir()  # sshd run by root wants it
    with running([daemon, "-D", "-e", "-f", str(folder / "sshd_config")], port, folder / "ssh.log"):
        yield folder / "user"
