"""Why a check of `make test-deploy` is left out."""

from __future__ import annotations

import os
import shutil


class Lacking(Exception):
    """This machine lacks what a check needs."""


def need(*programs: str, root: bool = False) -> None:
    """Raise Lacking unless these programs are here, and this is root where that is needed."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        raise Lacking(f"{', '.join(missing)} not on this machine (apt-get install buildah netavark crun debootstrap)")
    if root and os.geteuid() != 0:
        raise Lacking("it needs root: sudo make test-deploy")
