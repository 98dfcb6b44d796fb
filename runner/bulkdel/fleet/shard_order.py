"""The command line, the environment and the order with which the process of a shard is started."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from importlib.metadata import version

from bulkdel.core.address import holds_secret
from bulkdel.core.option import file_variable_of, variable_of
from bulkdel.fleet.channel import Order, Wanted, line_of
from bulkdel.fleet.placing import Environment, Work
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.safety.run_plan import RunPlan
from bulkdel.settings import Settings

OPTIONS = frozenset(name(one.name) for one in fields(Settings) for name in (variable_of, file_variable_of))
"""The variables of the environment that are options. The words of a shard have the options of the run, so the variables
of the machine where the shard starts do not count."""


@dataclass(frozen=True, slots=True)
class ShardWork:
    """The part of the work that all shards share.

    plan: of the run. index: SHA-256 of the index of its rows. keeper: of the rate. debug: whether each chunk is an
    event. lease_s: how long a commit to a store renews the lease.
    """

    plan: RunPlan
    index: str
    keeper: KeeperAddress
    debug: bool
    lease_s: float

    def of(self, number: int, settled_max: int | None, wanted: Wanted) -> Work:
        """The work of one shard. settled_max, wanted: see `Order`."""
        order = line_of(self._order(number, settled_max, wanted))
        return Work(*_command(self.plan), self.keeper, order=order)

    def _order(self, number: int, settled_max: int | None, wanted: Wanted) -> Order:
        plan, server = self.plan, self.plan.server
        return Order(
            number=number,
            tool=version("bulkdel"),
            index=self.index,
            protected=list(plan.own_ids),
            pool=plan.pool,
            proven=server.proven,
            fullest=server.fullest,
            lists=server.lists,
            administrator=list(server.administrator),
            excluded=[file.key for file in plan.excluded],
            settled_max=settled_max,
            debug=self.debug,
            lease_s=self.lease_s,
            wanted=wanted,
        )


def _command(plan: RunPlan) -> tuple[list[str], Environment]:
    """The words after `bulkdel` that start the process of a shard, and its environment."""
    secrets = dict[str, str]()
    settings, line = plan.arguments.settings, plan.line.without("--shards")
    # The words of a line hide a password of the proxy, and a signature in the address of an exclude file.
    if settings.proxy is not None and "@" in settings.proxy:
        secrets[variable_of("proxy")] = settings.proxy
        line = line.without("--proxy")
    excluded = [str(name) for name in settings.exclude or ()]
    if any(map(holds_secret, excluded)):
        secrets[variable_of("exclude")] = os.pathsep.join(excluded)
        line = line.without("--exclude")
    dropped = sorted(OPTIONS - secrets.keys())
    environment = Environment(dropped=dropped, values=line.variables, secrets=secrets)
    return replace(line, variables={}).words[1:], environment
