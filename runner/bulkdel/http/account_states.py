"""Reads whether accounts are in the target state of the job, by calls of their own where the record does not say it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from bulkdel.core.decision import Verdict
from bulkdel.http.client import WorkerStatus
from bulkdel.http.page_reader import PageReader
from bulkdel.http.positive_control import CONTROL_TRIES, CONTROLS_MAX, PositiveControl
from bulkdel.job import Account, HasStates

Reached = bool | Literal[Verdict.ABSENT] | None
"""Whether an account is in the target state. ABSENT: a state call says that it does not exist. None: a call failed."""


class AccountStates:
    """The state calls of a job, with their control. Every method may raise Halted, as `Client.ask` does."""

    def __init__(self, look_ups: HasStates, reader: PageReader, control: PositiveControl) -> None:
        self._look_ups = look_ups
        self._reader = reader
        self._control = control
        self._lock = asyncio.Lock()
        self._seen = look_ups.state_control() is None
        self._tries_left = CONTROL_TRIES

    async def add(self, accounts: dict[str, Account], worker: WorkerStatus) -> bool:
        """Ask for the state of each account whose record does not have it. False when a look-up failed.

        That an account does not exist is believed when it is said twice, and each time a control follows.
        """
        for id_, account in list(accounts.items()):
            if account.reached is not None or not self._look_ups.state_calls(account):
                continue
            texts = self._look_ups.texts([id_])
            reached = await self._state(account, worker, texts)
            if reached is Verdict.ABSENT:
                reached = await self._controlled(account, worker, texts)
            if reached is None:
                return False
            if reached is Verdict.ABSENT:
                del accounts[id_]
                continue
            # Without a control, an answer that speaks for the target state proves nothing.
            known = reached if not reached or await self._control_passes(worker) else None
            accounts[id_] = replace(account, reached=known)
        return True

    async def _state(self, account: Account, worker: WorkerStatus, texts: Sequence[str] = ()) -> Reached:
        """Whether every state call of an account speaks for the target state."""
        read = partial(self._look_ups.read_state, account=account)
        for request in self._look_ups.state_calls(account):
            reached = await self._reader.value(request, read, worker, texts)
            if reached is not True:
                return Verdict.ABSENT if reached is Verdict.ABSENT else None if reached is None else False
        return True

    async def _controlled(self, account: Account, worker: WorkerStatus, texts: Sequence[str]) -> Reached:
        """As `_state`, with a control before it; and after it, if it says again that the account does not exist."""
        if not await self._control.prove_again(worker):
            return None
        reached = await self._state(account, worker, texts)
        return None if reached is Verdict.ABSENT and not await self._control.prove_again(worker) else reached

    async def _control_passes(self, worker: WorkerStatus) -> bool:
        """Whether state calls can tell: they show a listed account that is not in the target state.

        Another call lists accounts that are not in the target state. An empty list says that none is left. Asked until
        it is true, a few times.
        """
        async with self._lock:
            if self._tries_left and (request := self._look_ups.state_control()) is not None:
                self._tries_left -= 1
                listed = await self._reader.items(request, self._look_ups.read_state_control, worker, some=True)
                for account in () if listed is None else listed.items[:CONTROLS_MAX]:
                    self._seen = await self._state(account, worker) is False
                    if self._seen:
                        break
                if (listed is not None and not listed.items) or self._seen:
                    self._seen, self._tries_left = True, 0
            return self._seen
