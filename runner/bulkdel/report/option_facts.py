"""Users, files and options of a run as a report shows them: a text that bulkdel did not write passes `Texts`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

from bulkdel.core.guards import Guards
from bulkdel.core.option import option_of
from bulkdel.format import printable
from bulkdel.options import SHOWS, TEXTS
from bulkdel.parameters import by_option
from bulkdel.report.facts import OptionFacts, Texts
from bulkdel.settings import Settings


def options_of(values: Mapping[str, Any], texts: Texts) -> tuple[OptionFacts, ...]:
    """The options that differ from the default: numbers, choices, and those of `options.TEXTS`; none of SHOWS."""
    found, kinds = [], get_type_hints(Settings)
    for one in fields(Settings):
        value, kind, option = values.get(one.name), kinds[one.name], option_of(one.name)
        if value is None or value == one.default or one.name in SHOWS:
            continue
        if one.name in TEXTS:
            found.append(OptionFacts(option, texts.text(printable(str(value)))))
        elif isinstance(value, bool):
            found.append(OptionFacts(option, ""))
        elif isinstance(value, int | float) or (get_origin(kind) is Literal and isinstance(value, str)):
            found.append(OptionFacts(option, repr(value).removesuffix(".0").strip("'")))
    return tuple(found)


def parameters_of(values: Mapping[str, Any], texts: Texts) -> tuple[OptionFacts, ...]:
    """The job's own options; of a file only the name and the SHA-256."""
    named = {
        name: {**value, "path": Path(str(value["path"])).name} if isinstance(value, dict) and "path" in value else value
        for name, value in values.items()
    }
    return tuple(OptionFacts(option, texts.text(printable(value))) for option, value in by_option(named))


def guards_of(guards: Guards, texts: Texts) -> tuple[OptionFacts, ...]:
    """The guards that were given."""
    return tuple(OptionFacts(option, texts.text(", ".join(values))) for option, values in guards.options.items())


def user_of(name: Any, texts: Texts) -> str:
    """The name of a user or a machine; a question mark where the log has none."""
    return texts.person(printable(name)) if isinstance(name, str) and name else "?"


def file_of(texts: Texts, path: Path | str) -> str:
    """The name of a file, without its folder."""
    return texts.file(printable(Path(path).name))
