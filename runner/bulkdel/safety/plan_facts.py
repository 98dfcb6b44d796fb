"""The facts of a plan, as one list: each with its value, its lines for people, and the descriptions that have it.

A description is a printer of this list: the lines, `plan --json`, the file of `plan --out`, the header of the log, the
digest of a confirmation, and the live page. Nothing here reads, sends or deletes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import Flag, auto
from pathlib import Path
from textwrap import TextWrapper
from typing import Any

from bulkdel.core.address import shown_address
from bulkdel.core.guards import Guards
from bulkdel.core.option import field_of
from bulkdel.core.plan_digest import digest_of
from bulkdel.export.rows import Dialect
from bulkdel.format import printable, shown
from bulkdel.options import COMPARED, MAY_DIFFER, MEANS
from bulkdel.safety import plan_words as words
from bulkdel.safety.run_plan import RunArguments, RunPlan, RunToUndo
from bulkdel.safety.server_checks import sample_trouble


class In(Flag):
    """The descriptions of a plan.

    JSON: `plan --json`. PAGE: the live page. HEADER: the header of the log; it must be the same on a resume. READ: the
    same, in its member `source`: how the rows are read. DIGEST: a confirmation covers it. APPROVED: in the file of a
    plan, and a run by the plan must have the same. FOUND: in that file, too, and a run may differ. SEEN: its lines are
    in that file and on the live page (`seen_lines`).

    None of them has an id or the text of a row.
    """

    JSON = auto()
    PAGE = auto()
    HEADER = auto()
    READ = auto()
    DIGEST = auto()
    APPROVED = auto()
    FOUND = auto()
    SEEN = auto()


PINNED = In.HEADER | In.DIGEST | In.APPROVED
READ = In.READ | In.DIGEST | In.APPROVED
SHOWN = In.JSON | In.SEEN
ONLY_LINES = In(0)

TEXT_MIN = 20
"""Lines are not wrapped where a terminal has less room than this for their text."""


@dataclass(frozen=True, slots=True)
class PlanFact:
    """One fact of a plan.

    name: of its member. where: the descriptions that have it. Two facts may share a name when no description has both.
    of: its value, as JSON, from the plan. asked: the same from the arguments, where it is known before a file is
    opened. lines: what people read of it, as names and texts; it may have ids.
    group: the member of the file of a plan that it stands in. rare: left out where it is None. last: its lines stand
    below those of the other facts, above the question on a terminal of 24 lines.
    """

    name: str
    where: In = ONLY_LINES
    of: Callable[[RunPlan], Any] | None = None
    asked: Callable[[RunArguments], Any] | None = None
    lines: Callable[[RunPlan], words.Lines] | None = None
    group: str = ""
    rare: bool = False
    last: bool = False

    def value(self, plan: RunPlan) -> Any:
        """Its value in this plan, as JSON."""
        if self.asked is not None:
            return self.asked(plan.arguments)
        return self.of(plan) if self.of is not None else None


def values_in(plan: RunPlan, where: In) -> dict[str, Any]:
    """The facts of one description by name, in the order of the list."""
    return {fact.name: value for fact, value in _facts_in(plan, where)}


def header_values(plan: RunPlan) -> dict[str, Any]:
    """The facts that must be the same on a resume, as the header has them."""
    return {**values_in(plan, In.HEADER), "source": values_in(plan, In.READ)}


def plan_digest(plan: RunPlan) -> str:
    """The digest of everything that a confirmation covers. It is the same before the run and on a resume."""
    return digest_of(values_in(plan, In.DIGEST))


def approved_values(plan: RunPlan) -> dict[str, Any]:
    """The facts that a run by this plan must have, too."""
    return _grouped(plan, In.APPROVED)


def file_values(plan: RunPlan) -> dict[str, Any]:
    """The facts that the file of a plan has."""
    return _grouped(plan, In.APPROVED | In.FOUND)


def known_first(arguments: RunArguments) -> dict[str, Any]:
    """The part of `approved_values` that is known before a file is opened."""
    return {fact.name: fact.asked(arguments) for fact in FACTS if fact.asked is not None and fact.where & In.APPROVED}


def plan_lines(plan: RunPlan, columns: int | None = None) -> list[str]:
    """The plan as lines. columns: the width of a terminal; longer lines are wrapped between words."""
    ordered = sorted(FACTS, key=lambda fact: fact.last)
    lines = [line for fact in ordered if fact.lines is not None for line in fact.lines(plan)]
    width = max(len(name) for name, _ in lines)
    return [line for name, text in lines for line in _wrapped(f"  {name:<{width}}  ", text, columns)]


def _wrapped(name: str, text: str, columns: int | None) -> list[str]:
    if columns is None or len(name) + len(text) <= columns or columns < len(name) + TEXT_MIN:
        return [name + text]
    return TextWrapper(
        columns,
        initial_indent=name,
        subsequent_indent=" " * len(name),
        expand_tabs=False,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    ).wrap(text)


def seen_lines(plan: RunPlan) -> list[tuple[str, str]]:
    """The plan as names and texts for other people: without ids and texts of rows, each file by its name alone."""
    hidden = replace(plan, shows_ids=False)
    seen = [fact.lines for fact in FACTS if fact.where & In.SEEN and fact.lines is not None]
    lines = [line for of_fact in seen for line in of_fact(hidden)]
    names = {path: _name_of(path) for path in sorted(map(str, _paths(plan)), key=len, reverse=True)}
    return [(name, _by_name(text, names)) for name, text in lines]


def _by_name(text: str, names: Mapping[str, str]) -> str:
    for path, name in names.items():
        text = text.replace(path, name)
    return shown(text)


def _name_of(path: str) -> str:
    """The name of a file or an object; one that may be an e-mail address is left out."""
    name = Path(shown_address(path)).name
    return "FILE" if "@" in name else name


def _paths(plan: RunPlan) -> list[Path | str]:
    """Each file and folder that a line may name."""
    arguments, undoes = plan.arguments, plan.arguments.undoes
    of_job = (value["path"] for value in plan.parameters.values() if isinstance(value, Mapping) and "path" in value)
    undone = () if undoes is None else (undoes.run, *undoes.backups)
    of_run = (plan.export.path, plan.export.invalid_to, plan.run, arguments.backup, plan.memberships)
    return [path for path in (*of_run, *(file.path for file in plan.excluded), *of_job, *undone) if path is not None]


def _grouped(plan: RunPlan, where: In) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for fact, value in _facts_in(plan, where):
        (found.setdefault(fact.group, {}) if fact.group else found)[fact.name] = value
    return found


def _facts_in(plan: RunPlan, where: In) -> Iterator[tuple[PlanFact, Any]]:
    """The facts that one of these descriptions has, each with its value, in the order of the list."""
    found = ((fact, fact.value(plan)) for fact in FACTS if fact.where & where)
    return ((fact, value) for fact, value in found if value is not None or not fact.rare)


def guard_options(guards: Guards) -> dict[str, list[str]]:
    """The guards as a plan has them: the values of each option, by its field."""
    return {field_of(option): list(values) for option, values in guards.options.items()}


def _options(arguments: RunArguments) -> dict[str, Any]:
    """Every other option that decides what is sent."""
    settings = arguments.settings
    names = [one.name for one in fields(settings) if one.name not in MEANS | COMPARED | MAY_DIFFER]
    values = {name: value for name in names if (value := getattr(settings, name)) is not None}
    return {name: printable(value) if isinstance(value, Path) else value for name, value in values.items()}


def parameter_value(value: Any) -> Any:
    """A parameter of the job. Of a file it is the content: it may lie elsewhere on another machine."""
    return f"a file with SHA-256 {value['sha256']}" if isinstance(value, Mapping) else value


def _only(undoes: RunToUndo) -> dict[str, int] | None:
    """What became of the ids that a restore names."""
    if (chosen := undoes.chosen) is None:
        return None
    names = {
        "found": chosen.found,
        "other_restores": chosen.others,
        "not_found": chosen.missing,
        "not_done": chosen.not_done,
    }
    return {name: len(some) for name, some in names.items()}


def _estimated_s(plan: RunPlan) -> float | None:
    rate = plan.arguments.settings.rate
    return round(plan.requests / rate, 1) if rate else None


def _exclude(plan: RunPlan) -> list[dict[str, Any]]:
    return [{**asdict(file), "path": printable(file.path)} for file in plan.excluded]


def _looked_up(plan: RunPlan) -> dict[str, Any] | None:
    if (found := plan.looked_up) is None:
        return None
    return {"accounts": found.accounts, "without_id": found.without, "not_found": len(found.not_found)}


def _memberships(plan: RunPlan) -> dict[str, Any] | None:
    if plan.memberships is None:
        return None
    saved, cost = words.saved_memberships(plan), plan.server.memberships
    found = {} if cost is None else {"requests": cost.requests, "members": cost.members, **cost.outline.counts}
    return {"path": printable(plan.memberships), "saved_at": None if saved is None else saved.at, **found}


def _sample(plan: RunPlan) -> dict[str, Any] | None:
    if not plan.server.asked:
        return None
    latest = words.latest_sign_in(plan.server)
    return {
        **plan.server.to_json(),
        "statuses": plan.server.statuses,
        "sign_ins": plan.server.sign_ins,
        "latest_sign_in": latest.isoformat() if latest else None,
        "spared": {guard.option: count for guard, count in words.spared(plan).items()},
    }


def _notes(plan: RunPlan) -> list[dict[str, Any]]:
    return [{"note": note.name, **note.facts} for note in words.notes(plan)]


def _explained(plan: RunPlan) -> list[dict[str, str]]:
    arguments = plan.arguments
    return [{"name": name, "text": text} for name, text in arguments.job.plan_lines(arguments.parameters)]


def _trouble(plan: RunPlan) -> list[str]:
    """Why this plan may not be what was meant, or cannot be run."""
    trouble = {
        "nothing_to_delete": plan.ids == 0,
        "not_signed_in": plan.pool is None and not plan.complete,
        "run_exists": plan.progress is not None,
        "sample": sample_trouble(plan) is not None,
    }
    return [name for name, is_so in trouble.items() if is_so]


def _command(plan: RunPlan) -> list[str] | None:
    """The command that runs this plan; None where it cannot be run, or needs none."""
    cannot = plan.ids == 0 or plan.complete or plan.arguments.settings.sandbox or sample_trouble(plan) is not None
    return None if cannot else plan.confirming_line.words


def _of_dialect(name: str, where: In) -> PlanFact:
    """How the bytes are read as rows."""
    return PlanFact(name, where, lambda plan: getattr(plan.export.dialect, name), group="export")


def _count(
    name: str, more: In = ONLY_LINES, lines: Callable[[RunPlan], words.Lines] | None = None, *, last: bool = False
) -> PlanFact:
    """How many rows the preflight has found."""
    where = In.JSON | In.PAGE | In.APPROVED | more
    return PlanFact(name, where, lambda plan: plan.export.counts[name], group="numbers", lines=lines, last=last)


FACTS = (
    PlanFact("job", PINNED | SHOWN, asked=lambda run: run.job.name, lines=words.job),
    PlanFact("parameters", SHOWN | In.DIGEST, lambda plan: dict(plan.parameters), lines=words.parameters),
    PlanFact(
        "parameters",
        In.APPROVED,
        lambda plan: {name: parameter_value(value) for name, value in plan.parameters.items()},
    ),
    PlanFact("table", In.HEADER | In.DIGEST, lambda plan: dict(plan.arguments.job.pinned) or None, rare=True),
    PlanFact("verdicts", In.DIGEST, lambda plan: dict(plan.arguments.job.verdicts)),
    PlanFact("table", In.APPROVED, lambda plan: {**plan.arguments.job.pinned, **plan.arguments.job.verdicts}),
    PlanFact("host", PINNED | SHOWN, lambda plan: plan.target.pinned_host, lines=words.host, last=True),
    PlanFact("confirm_host", In.JSON | In.APPROVED, lambda plan: plan.host_word),
    PlanFact("pool", PINNED | SHOWN, words.known_pool, lines=words.pool, last=True),
    PlanFact("key", In.JSON, lambda plan: plan.target.key, lines=words.key),
    PlanFact("export", SHOWN, lambda plan: printable(plan.export.path), lines=words.export, last=True),
    PlanFact("name", In.FOUND, lambda plan: printable(shown_address(plan.arguments.export)), group="export"),
    PlanFact(
        "object",
        SHOWN | In.FOUND,
        lambda plan: plan.export.source and plan.export.source.to_json(),
        lines=words.version,
        group="export",
    ),
    PlanFact("sheets_hidden", In.JSON | In.FOUND, lambda plan: [*plan.export.hidden], group="export"),
    PlanFact("sha256", PINNED | In.JSON, lambda plan: plan.export.fingerprint.sha256, group="export"),
    PlanFact("bytes", PINNED | In.JSON, lambda plan: plan.export.fingerprint.size, group="export"),
    *(_of_dialect(one.name, READ | In.JSON) for one in fields(Dialect) if one.name != "guessed"),
    _of_dialect("guessed", In.JSON),  # the same field given by --id-field reads the same rows
    PlanFact("trim", READ | In.JSON, lambda plan: plan.export.options.trim, group="export"),
    PlanFact("skip_invalid", READ | In.JSON, lambda plan: plan.export.options.skip_invalid is not None, group="export"),
    PlanFact("id_pattern", READ | In.JSON, lambda plan: plan.export.options.id_pattern, group="export"),
    PlanFact(
        "id_type",
        PINNED | SHOWN,
        asked=lambda run: run.settings.id_type or run.job.id_type_default,
        lines=words.id_type,
    ),
    PlanFact("id_reusable", In.JSON, lambda plan: plan.id_type.reusable),
    _count("rows", In.SEEN, lines=words.rows),
    _count("ids", In.DIGEST | In.SEEN, words.size_of_the_work, last=True),
    _count("duplicate"),
    _count("excluded"),
    _count("invalid"),
    PlanFact("remaining", In.JSON, lambda plan: plan.remaining),
    PlanFact("look_first", In.JSON | In.DIGEST, lambda plan: plan.look_first),
    PlanFact("requests", In.JSON, lambda plan: plan.requests, group="estimate"),
    PlanFact("rate", In.JSON | In.PAGE, asked=lambda run: run.settings.rate, group="estimate"),
    PlanFact("estimated_s", In.JSON, _estimated_s, group="estimate"),
    PlanFact("concurrency", In.PAGE, asked=lambda run: run.settings.in_flight),
    PlanFact("chunk_size", In.PAGE, lambda plan: plan.chunk_size),
    PlanFact("drain_s", In.JSON, asked=lambda run: run.settings.drain),
    PlanFact("patience_s", In.PAGE, asked=lambda run: run.settings.patience),
    PlanFact("in_doubt", In.DIGEST, asked=lambda run: run.settings.in_doubt),
    PlanFact("allow_absent", In.DIGEST, asked=lambda run: run.settings.allow_absent),
    PlanFact("max_refused", In.PAGE | In.DIGEST, asked=lambda run: run.settings.max_refused),
    PlanFact("exclude", SHOWN | In.APPROVED, _exclude, lines=words.exclude_files),
    PlanFact("exclude", In.DIGEST, lambda plan: sorted(file.key for file in plan.excluded)),
    PlanFact("exclude_looked_up", In.JSON, _looked_up),
    PlanFact("exclude_met", SHOWN, lambda plan: plan.export.met, lines=words.protected, last=True),
    PlanFact("exclude_perhaps", In.JSON, lambda plan: plan.export.perhaps),
    PlanFact("own_user_protected", In.JSON, lambda plan: plan.server.owner),
    PlanFact("administrator_protected", In.JSON, lambda plan: bool(plan.server.administrator)),
    PlanFact("guards", SHOWN | In.DIGEST, lambda plan: plan.guards.to_json(), lines=words.guards, last=True),
    PlanFact("guards", In.APPROVED, asked=lambda run: guard_options(run.settings.guards)),
    PlanFact("options", In.APPROVED, asked=_options),
    PlanFact("run", In.JSON, lambda plan: printable(plan.run), lines=words.run_place),
    PlanFact("run_exists", In.JSON, lambda plan: plan.progress is not None),
    PlanFact("shards", In.SEEN, lines=words.shards),
    PlanFact(
        "backup",
        SHOWN,
        lambda plan: plan.arguments.backup and printable(plan.arguments.backup),
        lines=words.backup,
        last=True,
    ),
    PlanFact("backup", In.PAGE | In.DIGEST | In.APPROVED, asked=lambda run: run.settings.keeps_backup),
    PlanFact("memberships", SHOWN, _memberships, lines=words.memberships),
    PlanFact("memberships", In.DIGEST, asked=lambda run: run.settings.backup_memberships),
    PlanFact("fires", SHOWN, asked=lambda run: run.job.fires, lines=words.fires),
    PlanFact("explained", SHOWN, _explained, lines=words.explained),
    PlanFact(
        "undoes", SHOWN, asked=lambda run: run.undoes and printable(run.undoes.run), lines=words.restores, last=True
    ),
    PlanFact("only", In.JSON, asked=lambda run: run.undoes and _only(run.undoes), rare=True),
    PlanFact("look_ups", In.JSON, lambda plan: plan.has_look_ups),
    PlanFact(
        "not_after",
        SHOWN | In.APPROVED,
        lambda plan: plan.until and plan.until.isoformat(),
        lines=words.not_after,
        last=True,
    ),
    PlanFact("schedule", In.PAGE | In.SEEN, asked=lambda run: run.settings.schedule, lines=words.schedule),
    PlanFact("limit", SHOWN | In.DIGEST, asked=lambda run: run.settings.limit, lines=words.limit, last=True),
    PlanFact("going_on", In.SEEN, lines=words.going_on),
    PlanFact("digest", In.JSON | In.APPROVED, plan_digest),
    PlanFact("complete", In.JSON, lambda plan: plan.complete),
    PlanFact("sample", SHOWN | In.FOUND, _sample, lines=words.sample),
    PlanFact("notes", SHOWN, _notes, lines=words.note_lines),
    PlanFact("shown", In.FOUND, lambda plan: [[*line] for line in seen_lines(plan)]),
    PlanFact("trouble", In.JSON, _trouble),
    PlanFact("command", In.JSON, _command),
)
"""Every fact, in the order of the lines; those that are `last` follow the others."""
