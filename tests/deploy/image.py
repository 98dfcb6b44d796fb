"""Builds the image without a registry, and runs its entry point as a cluster would: another user, no HOME, a read-only
root, settings by environment only, process 1 of its own namespace.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkdel_jobs.sandbox import Sandbox
from tests.deploy.lacking import need
from tests.harness import KEYS, POOL, entries, sandbox, user_ids, wait_until, write_objects
from tests.places import log_of

IDS = user_ids(200)
UID = 65532
SECRETS = "/run/secrets/bulkdel"

ENTER = """
set -e
mount --bind "$ROOT" "$ROOT"
mount --bind "$DATA" "$ROOT/data"
mount --bind "$KEYS" "$ROOT/run/secrets/bulkdel"
mount --rbind /dev "$ROOT/dev"
mount -t proc proc "$ROOT/proc"
mount -o remount,bind,ro "$ROOT"
exec chroot --userspec="$OWNER" "$ROOT" /usr/bin/env -i --chdir="$WORKDIR" "$@"
"""
"""Becomes the entry point: each `exec` keeps the process, which is number 1."""


@dataclass(frozen=True)
class Image:
    """An image that was built, and its root. config: as the image has it."""

    root: Path
    config: Mapping[str, Any]
    folder: Path

    def start(
        self, words: Sequence[str], variables: Mapping[str, str] | None = None, *, owner: int = UID
    ) -> subprocess.Popen[bytes]:
        """Start the entry point with these words. The environment is that of the image, and `variables`."""
        environ = [*self.config["Env"], *(f"{name}={value}" for name, value in (variables or {}).items())]
        around = {
            "ROOT": str(self.root),
            "DATA": str(self.folder / "data"),
            "KEYS": str(self.folder / "keys"),
            "OWNER": f"{owner}:{owner}",
            "WORKDIR": self.config["WorkingDir"],
        }
        return subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"),
                *(*environ, *self.config["Entrypoint"], *words),
            ],
            env={**os.environ, **around},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # one stream, as in a container
        )

    def beside(self, pid: int, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run the entry point in the namespaces of process `pid`, as `kubectl exec` does."""
        environ = self.config["Env"]
        enter = ["nsenter", "--target", str(pid), "--mount", "--pid"]
        inside = ["chroot", f"--userspec={UID}:{UID}", str(self.root), "/usr/bin/env", "-i", *environ]
        words = [*enter, *inside, *self.config["Entrypoint"], *words]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def check_image(root: Path, folder: Path) -> str:
    """Build the image and run it. Raises AssertionError, or Lacking where the machine cannot do it."""
    need("buildah", "debootstrap", "unshare", "nsenter", "chroot", root=True)
    with _built(root, folder) as image, sandbox(IDS) as served:
        assert (image.config["User"], image.config["Entrypoint"]) == (f"{UID}:{UID}", ["bulkdel"])
        assert not [one for one in image.config["Env"] if one.startswith("HOME=")]
        _check_content(image)
        _check_run(image, served)
    return "built, drained by SIGTERM as process 1, steered by ctl, and gone on with"


def _check_content(image: Image) -> None:
    """The extras are there, what only the build needs is not, and no address of a registry is."""
    python = image.root / "opt" / "bulkdel" / "lib"
    (packages,) = python.glob("python3.*/site-packages")
    there = {path.name for path in packages.iterdir()}
    assert {"apprise", "prometheus_client", "botocore", "aiohttp", "bulkdel", "bulkdel_jobs"} <= there
    assert (packages / "bulkdel" / "live" / "page" / "index.html").exists()
    assert not {"pip", "setuptools", "pytest", "genauth"} & there
    process = image.start(["run", "--help"])
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, b"--log-format" in out) == (0, True), out


def _check_run(image: Image, served: Sandbox) -> None:
    data, keys = image.folder / "data", image.folder / "keys"
    for name, value in KEYS.items():
        (keys / name).write_text(f"{value}\n")
    write_objects(data / "users.jsonl", IDS)
    os.chown(data, UID, UID)
    variables = {
        "BULKDEL_JOB": "delete-users",
        "BULKDEL_EXPORT": "/data/users.jsonl",
        "BULKDEL_HOST": served.url,
        "BULKDEL_CONFIRM": str(len(IDS)),
        "BULKDEL_POOL": POOL,
        "BULKDEL_CHUNK_SIZE": "1",
        "BULKDEL_RATE": "20",
        "BULKDEL_JSON": "true",
        "BULKDEL_LOG_FORMAT": "json",
        "BULKDEL_PORT": "tcp://10.0.0.1:9400",
        "BULKDEL_SERVICE_PORT_HTTP": "9400",
        **{f"{name}_FILE": f"{SECRETS}/{name}" for name in KEYS},
    }
    process = image.start(["run"], variables)
    wait_until(lambda: served.ledger.deleted >= 10, process)
    (inner,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    ctl = image.beside(inner, ["ctl", "/data/users.jsonl", "rate", "40"])
    assert ctl.returncode == 0, ctl
    os.kill(inner, signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143, (process.returncode, out)
    lines = [json.loads(line) for line in out.splitlines()]
    assert {"run.draining", "run.changed", "to_go_on"} <= {line.get("event") for line in lines}, lines
    assert 10 <= served.ledger.deleted < len(IDS), "it drained, and did not end by itself"
    process = image.start(["run"], {**variables, "BULKDEL_RATE": "0"})
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, (process.returncode, out)
    assert [served.ledger.effects(id_) for id_ in IDS] == [1] * len(IDS)
    log = log_of(data / "users.jsonl")
    assert (log.stat().st_uid, log.stat().st_mode & 0o777) == (UID, 0o600)
    assert entries(log)[0]["type"] == "header"
    process = image.start(["report", "/data/users.jsonl", "--out", "/data/report.html"])
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, b"<svg" in (data / "report.html").read_bytes()) == (0, True), out
    # Any other user may run it too, where the folder is its own.
    os.chown(data, 1000, 1000)
    shutil.rmtree(log.parent)
    gone = {"BULKDEL_LOG_FORMAT": "text", "BULKDEL_ALLOW_ABSENT": "true"}
    process = image.start(["plan", "--json"], {**variables, **gone}, owner=1000)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, (process.returncode, out)


# The build


@contextmanager
def _built(root: Path, folder: Path) -> Iterator[Image]:
    buildah = (
        "buildah",
        "--storage-driver",
        "vfs",
        "--root",
        str(folder / "storage"),
        "--runroot",
        str(folder / "run"),
    )

    def do(*words: str | Path) -> str:
        done = subprocess.run([*buildah, *map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words[0]}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    base, wheels = _base_of(folder), _wheels_of(root, folder)
    pip = folder / "pip.conf"
    pip.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    made = do("from", "scratch")
    do("add", made, base, "/")
    do("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", made)
    do("commit", "--quiet", made, "localhost/bulkdel-base")
    do("rm", made)
    # The limits of this process: raising them is not permitted everywhere.
    files, processes = (resource.getrlimit(one) for one in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    limits = [f"--ulimit={name}={soft}:{hard}" for name, (soft, hard) in (("nofile", files), ("nproc", processes))]
    volumes = [f"--volume={wheels}:/wheels:ro", f"--volume={pip}:/etc/pip.conf:ro"]
    options = ("--isolation=chroot", "--pull=never", "--build-arg=BASE=localhost/bulkdel-base")
    do("build", *options, *limits, *volumes, "--tag=localhost/bulkdel", root)
    container = do("from", "--pull=never", "localhost/bulkdel")
    try:
        mounted = Path(do("mount", container))
        for name in ("run/secrets/bulkdel", "data", "dev", "proc"):
            (mounted / name).mkdir(parents=True, exist_ok=True)
        for name in ("data", "keys"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir()
        config = json.loads(do("inspect", "--type=image", "localhost/bulkdel"))["OCIv1"]["config"]
        yield Image(mounted, config, folder)
    finally:
        do("rm", container)


def _base_of(folder: Path) -> Path:
    """An archive of a small Debian with Python, of the release that this machine has. Made once."""
    archive = folder / "base.tar"
    if archive.exists():
        return archive
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    made = folder / "base"
    shutil.rmtree(made, ignore_errors=True)
    include = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(
        ["debootstrap", "--variant=minbase", include, release["VERSION_CODENAME"].strip('"'), made],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    part = archive.with_suffix(".part")
    subprocess.run(["tar", "-C", made, "-cf", part, "."], check=True)
    part.rename(archive)
    shutil.rmtree(made)
    return archive


def _wheels_of(root: Path, folder: Path) -> Path:
    """The wheels of the two locks of the image, for the Python of the base: so the build needs no network."""
    wheels = folder / "wheels"
    listing = subprocess.run(["tar", "-tf", folder / "base.tar"], capture_output=True, text=True, check=True).stdout
    version = max(line.removeprefix("./usr/bin/python3.") for line in listing.splitlines() if _is_python(line))
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary=:all:"),
            *(f"--python-version=3.{version}", "--dest", wheels),
            *("--requirement", root / "requirements.lock", "--requirement", root / "requirements-image.lock"),
        ],
        check=True,
    )
    return wheels


def _is_python(line: str) -> bool:
    return line.startswith("./usr/bin/python3.") and line.rpartition(".")[2].isdecimal()
