"""Options of `verify`: its own few, and those of `run` that say where and how fast. Names and layering are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from bulkdel.errors import UsageError
from bulkdel.settings import REACHING, SENDING, TELLING, Settings
from bulkdel.settings import _whole as whole  # the same strictness about numbers

CHECKING = Group("What is read back", sort_key=1)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class VerifySettings:
    """What the user may say about a verification."""

    sample: Annotated[int | None, Parameter(group=CHECKING, converter=whole)] = None
    """Read back this many ids, spread evenly over all; the same ones when it goes on. Default: all."""

    again: Annotated[bool, Parameter(group=CHECKING, negative="", show_default=False)] = False
    """Begin anew instead of going on; what was found before is moved aside."""

    export: Annotated[str | None, Parameter(group=CHECKING)] = None
    """Where the export is now, if it has moved."""

    state: Annotated[Path | None, Parameter(group=CHECKING)] = None
    """Where it is kept how far this is. Default: CHECKPOINT.verify.jsonl."""

    config: Annotated[Path | None, Parameter(group=TELLING)] = None
    """TOML file with defaults for these options, the same as for `run`."""

    host: Annotated[str | None, Parameter(group=REACHING)] = None
    """Base URL of the API. Default: the one that the run used."""

    ca_file: Annotated[Path | None, Parameter(group=REACHING)] = None
    """PEM file with a certificate authority to trust beside the system's."""

    proxy: Annotated[str | None, Parameter(group=REACHING)] = None
    """Proxy URL. Proxies named in the environment are not used."""

    rate: Annotated[float, Parameter(group=SENDING)] = Settings.rate
    """Requests a second, retries included; 0 is unlimited."""

    concurrency: Annotated[int, Parameter(group=SENDING, converter=whole)] = Settings.concurrency
    """Requests under way at the same time, at most."""

    patience: Annotated[str, Parameter(group=SENDING)] = Settings.patience
    """Stop when the server has given no useful answer for this long (30s, 15m, 2h)."""

    timeout_s: Annotated[float, Parameter(name="--timeout-s", group=SENDING)] = Settings.timeout_s
    """How long one request may take as a whole, seconds."""

    json: Annotated[bool, Parameter(group=TELLING, negative="", show_default=False)] = False
    """Print the result as one JSON object, the last line of stdout."""

    log_level: Annotated[Literal["debug", "info", "warning"], Parameter(group=TELLING)] = Settings.log_level
    """warning: no progress lines."""

    def for_wire(self) -> Settings:
        """The same as options of `run`, for the parts that both use. Raises UsageError for what cannot work."""
        settings = Settings(
            host=self.host,
            ca_file=self.ca_file,
            proxy=self.proxy,
            rate=self.rate,
            concurrency=self.concurrency,
            patience=self.patience,
            timeout_s=self.timeout_s,
            log_level=self.log_level,
        )
        settings.check(1)
        if self.sample is not None and self.sample < 1:
            raise UsageError(f"--sample {self.sample}: must be at least 1")
        return settings


def known_to_verify(table: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of the config's table [run] what only `run` has. What neither has stays, and is refused as there."""
    only_run = {one.name for one in fields(Settings)} - {one.name for one in fields(VerifySettings)}
    return {name: value for name, value in table.items() if name not in only_run}
