"""The examples of docs/http-job.md, run as they stand there by the real command; only the host is another one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.harness import Ran, bulkdel, write_objects
from tests.places import log_of

PAGE = Path(__file__).parents[1] / "docs" / "http-job.md"


def block(name: str) -> str:
    """The block of the page that a comment names."""
    found = re.findall(rf'<!-- \S+ runs this block as "{name}" -->\n```\w+\n(.*?)```', PAGE.read_text(), re.DOTALL)
    assert len(found) == 1, name
    return str(found[0])


def base_of(text: str) -> str:
    found = re.search(r'^base = "(.*)"$', text, re.MULTILINE)
    return found[1] if found else ""


def misspelt(text: str) -> str:
    """The table with a mistake in the path of the request, and none in that of the look-up."""
    changed, count = re.subn(r'(?m)^path = "/(\w+)s/', r'path = "/\1/', text, count=1)
    assert count == 1
    return changed


@dataclass
class Example:
    """A config file and an export in a folder, and the server for them."""

    folder: Path
    text: str
    url: str
    env: dict[str, str]

    @property
    def log(self) -> Path:
        """The log of the run."""
        return log_of(self.folder / "ids.jsonl", "http")

    def words(self, command: str, *ids: str) -> list[object]:
        """Write the config file and the export; return the words of the command."""
        config, export = self.folder / "config.toml", self.folder / "ids.jsonl"
        config.write_text(self.text)
        write_objects(export, ids)
        pool = f"{self.url.removeprefix('http://')}{base_of(self.text)}"
        confirmed = ("--json", "--confirm", len(ids), "--pool", pool) if command == "run" else ()
        return [command, "http", export, "--config", config, "--host", self.url, *confirmed]

    def run(self, command: str, *ids: str, options: tuple[object, ...] = ()) -> Ran:
        return bulkdel(*self.words(command, *ids), "--rate", 0, *options, env=self.env)

    def verify(self) -> Ran:
        return bulkdel(
            "verify", self.log, "--host", self.url, "--config", self.folder / "config.toml", "--json", env=self.env
        )
