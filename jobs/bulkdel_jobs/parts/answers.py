"""An answer per id in a JSON body: where the answers stand, and what each says of its id. Pure.

The engine does the rest. An id that no answer names is maybe applied. A response that names another id, or one id
twice, counts as a lost one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bulkdel.core.decision import Decision, IdAnswer, NextStep, Response, Verdict
from bulkdel.core.outcome import Detail
from bulkdel_jobs.parts.json_values import id_at, is_one_of, value_at
from bulkdel_jobs.parts.statuses import Statuses


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerList:
    """One list of answers in a body.

    at: path of the list; a body without it has no such answers. id: path of the id in an answer; "" when the answer is
    the id. value: path of the value that says what happened; None when the list is about one verdict.
    verdicts: the values of each verdict. otherwise: what any other value means, and a list without `value`.
    message: path of a text for people.
    """

    at: str
    id: str = "id"
    value: str | None = None
    verdicts: Mapping[Verdict, Sequence[str | int | bool]] = field(default_factory=dict)
    otherwise: Verdict = Verdict.MAYBE_APPLIED
    message: str | None = None

    def read(self, body: Any) -> list[IdAnswer] | None:
        """The answers in a body; None when one of them names no id, or the list is no list."""
        found = value_at(body, self.at)
        if found is None:
            return []
        if not isinstance(found, list):
            return None
        answers = [(id_at(each, self.id), each) for each in found]
        return (
            None if any(id_ is None for id_, _ in answers) else [self._answer(id_ or "", each) for id_, each in answers]
        )

    def _answer(self, id_: str, each: Any) -> IdAnswer:
        value = None if self.value is None else value_at(each, self.value)
        verdict = next((one for one, values in self.verdicts.items() if is_one_of(value, values)), self.otherwise)
        message = None if self.message is None else value_at(each, self.message)
        code = str(value) if isinstance(value, bool) else value
        detail = Detail(code if isinstance(code, str | int) else None, message if isinstance(message, str) else None)
        return IdAnswer(id_, verdict, detail)


def read_answers(response: Response, statuses: Statuses, lists: Sequence[AnswerList]) -> Decision:
    """Decide on a response with answers per id: PER_ID where the status is a success."""
    decision = statuses.decide_json(response)
    if decision.next_step is not NextStep.SETTLED:
        return decision
    answers: list[IdAnswer] = []
    for one in lists:
        if (some := one.read(decision.data)) is None:
            why = f"HTTP {response.status}, and an answer at {one.at!r} names no id"
            return Decision(NextStep.RETRY, maybe_applied=True, reason=why)
        answers += some
    return Decision(NextStep.PER_ID, data=answers)
