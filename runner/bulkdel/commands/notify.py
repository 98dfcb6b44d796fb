"""`bulkdel notify test`: tells every place of --notify and --on-event once, and prints what each answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from bulkdel.commands.notices import trial
from bulkdel.errors import UsageError
from bulkdel.notify.senders import senders_of
from bulkdel.notify.sending import deliver
from bulkdel.output import result
from bulkdel.settings import NotifySettings


def notify_test(settings: NotifySettings, environ: Mapping[str, str]) -> int:
    """Tell every place once. Returns 0 when each was told, else 1."""
    settings.check()
    senders = senders_of(settings, environ)
    if not senders:
        raise UsageError("there is nothing to test: give --notify URL or --on-event COMMAND")

    async def tell_all() -> bool:
        notice = trial()
        answers = await asyncio.gather(*(deliver(sender, notice) for sender in senders))
        for sender, answer in zip(senders, answers, strict=True):
            result(f"{sender.name}: {'told' if answer.told else 'not told'}, {answer.text}")
        return all(answer.told for answer in answers)

    return 0 if asyncio.run(tell_all()) else 1
