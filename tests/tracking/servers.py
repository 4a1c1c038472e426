"""Remotes on this machine for tests: a real sshd and a stand-in for S3, each on a free port of 127.0.0.1."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

SSHD = "/usr/sbin/sshd"
SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
PidFile {folder}/pid
AuthorizedKeysFile {folder}/authorized
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
Subsystem sftp internal-sftp
"""
# What the stand-in takes for an account; it looks at none of it.
AWS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
}
BUCKET = "segtrail"


@dataclass(frozen=True)
class Remote:
    """What `dvc remote add` and `dvc remote modify` are given."""

    url: str
    settings: dict[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def install_sshd() -> None:
    """Debian's openssh-server where it is missing and may be installed; skips where not."""
    if Path(SSHD).exists():
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip(f"no {SSHD}, and only root may install it: apt-get install openssh-server")
    install = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", "openssh-server"]
    # It is started here, on a port of its own; the system's own must not be.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    done = subprocess.run(install, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"openssh-server cannot be installed here: {done.stderr.strip()[-300:]}")


@contextmanager
def ssh_server(folder: Path) -> Iterator[Remote]:
    """A real sshd that knows one throw-away key; it ends with the test."""
    install_sshd()
    folder.mkdir()
    for name in ("host", "key"):
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(keygen, check=True)
    shutil.copy(folder / "key.pub", folder / "authorized")
    port = free_port()
    (folder / "config").write_text(SSHD_CONFIG.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it goes before anybody is known
    log = folder / "log"
    process = subprocess.Popen(
        [SSHD, "-D", "-f", str(folder / "config"), "-E", str(log)], stdin=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 20
        while not answers(port):
            told = log.read_text() if log.exists() else ""
            assert process.poll() is None, f"sshd did not start\n{told}"
            assert time.monotonic() < end, f"sshd does not answer\n{told}"
            time.sleep(0.05)
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{folder}/store"
        yield Remote(url, {"keyfile": str(folder / "key")})
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def s3_server() -> Iterator[Remote]:
    """A server that speaks S3, with an empty bucket, in a thread of this process."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        account = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **account)
        client.create_bucket(Bucket=BUCKET)
        yield Remote(f"s3://{BUCKET}/store", {"endpointurl": endpoint})
    finally:
        server.stop()
