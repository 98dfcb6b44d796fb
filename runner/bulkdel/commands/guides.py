"""`bulkdel help`: the guides, without a network. It lists them, prints one, or finds a word in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.resources import files

from bulkdel.errors import UsageError
from bulkdel.format import CLOSE, did_you_mean
from bulkdel.output import Stdout, columns, result, result_line

FOUND_MAX = 20
"""So many lines with a word are shown."""

GLOSSARY = "glossary"
_PLACES = {
    GLOSSARY: 0,
    **dict.fromkeys(("adding-a-job", "design", "input-format", "library", "log-format", "performance", "scale"), 2),
}
"""The order in which the guides are searched: those of a developer after those of a user, which are 1."""

WIDE = 110
"""A longer line of text is hard to read, so a wider terminal is not used whole."""


def show_guide(topic: str | None) -> int:
    """Print the guide of this name, or the lines with this word; without a topic, the list.

    Raises UsageError for a word that is in no guide.
    """
    guides, name = _guides(), (topic or "").strip().removesuffix(".md")
    if not name:
        _print_list(guides)
    elif name in guides:
        _print(guides[name])
    else:
        _print_lines(name, guides)
    return 0


def guide_names() -> set[str]:
    """The name of each guide."""
    return {*_guides()}


def _guides() -> Mapping[str, str]:
    """The text of each guide, by its name."""
    folder = files("bulkdel").joinpath("guides")
    found = ((one.name.removesuffix(".md"), one) for one in folder.iterdir() if one.name.endswith(".md"))
    return {name: one.read_text(encoding="utf-8") for name, one in sorted(found, key=lambda each: each[0])}


def _print_list(guides: Mapping[str, str]) -> None:
    width = max(map(len, guides))
    result("To read one of these: bulkdel help TOPIC")
    for name, text in guides.items():
        result_line(f"  {name:<{width}}  {text.partition(chr(10))[0].removeprefix('# ')}")
    result("To find a word, such as an option or a name of the vendor's: bulkdel help deleteUsersBatch")


def _print(text: str) -> None:
    """Print a guide: as it is, or on a terminal with its headings and tables drawn."""
    if (width := columns()) is None:
        result(text.rstrip("\n"))
        return
    from rich.console import Console  # noqa: PLC0415 - both take their time to load
    from rich.markdown import Markdown  # noqa: PLC0415

    Console(file=Stdout(), width=min(width, WIDE)).print(Markdown(text))  # type: ignore[arg-type]  # a text stream


def _print_lines(word: str, guides: Mapping[str, str]) -> None:
    """Print the lines that have a word. Raises UsageError where none has."""
    lines = [
        (name, line.strip())
        for name, text in guides.items()
        for line in text.splitlines()
        if word.casefold() in line.casefold()
    ]
    if not lines:
        meant = did_you_mean(word, guides, CLOSE)
        raise UsageError(f"help {word}: no guide has this name or this word.{meant} `bulkdel help` lists them")
    counts = Counter(name for name, _ in lines)
    lines.sort(key=lambda found: (_PLACES.get(found[0], 1), -counts[found[0]]))
    for name, line in lines[:FOUND_MAX]:
        result_line(f"{name}: {line}")
    if len(lines) > FOUND_MAX:
        result(f"and {len(lines) - FOUND_MAX:,} more lines")
    to_read = next((name for name, _ in lines if name != GLOSSARY), GLOSSARY)
    result(f"To read more: bulkdel help {to_read}")
