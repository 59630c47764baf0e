"""The instances of a role family under the names by which a handler knows them: `Voter[0]` is `ada`.

Knows no protocol once it is made; sizes and indices are bound when a protocol is compiled.
"""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.choreography import CompiledProtocol

from ..errors import EmptyRoleFamily, FamilyError, InvalidRoleRange, RoleFamilyNotFound
from ..handler import ChoreoHandler
from .around import Around, E


def map_instances(protocol: CompiledProtocol, family: str, peers: Mapping[int, str]) -> dict[str, str]:
    """Which peer is which instance of a family, for ``WithInstances``; families are joined with ``|``.

    Raises ``RoleFamilyNotFound``, ``EmptyRoleFamily`` when nobody plays it, ``InvalidRoleRange`` when an instance has
    no peer or an index is none, and ``FamilyError`` when a peer is two.

    >>> from antiphon.choreography import compile_choreography
    >>> poll = compile_choreography("protocol Poll =\\n  roles Chair, Voter[2]\\n  Chair -> Voter[*] : Ask\\n")
    >>> map_instances(poll, "Voter", {0: "ada", 1: "bo"})
    {'Voter[0]': 'ada', 'Voter[1]': 'bo'}
    """
    instances = [role for role in protocol.roles if role.startswith(f"{family}[")]
    if not instances:
        known = sorted({role.partition("[")[0] for role in protocol.roles if role.endswith("]")})
        raise RoleFamilyNotFound(f"{protocol.name} has no family {family!r}; it has {', '.join(known) or 'none'}")
    if not peers:
        raise EmptyRoleFamily(f"nobody plays {family}; it has the instances 0 to {len(instances) - 1}")
    missing = [index for index in range(len(instances)) if index not in peers]
    surplus = sorted(set(peers) - set(range(len(instances))))
    if missing or surplus:
        wrong = f"{missing} have no peer" if missing else f"{surplus} are none"
        raise InvalidRoleRange(f"{family} has the instances 0 to {len(instances) - 1}; of the indices {wrong}")
    if len(set(peers.values())) < len(peers):
        raise FamilyError(
            f"one peer is two instances of {family}: {', '.join(peers[index] for index in sorted(peers))}"
        )
    return {role: peers[index] for index, role in enumerate(instances)}


class WithInstances(Around[E]):
    """Translates roles to the peers that play them; roles that are not named keep their names."""

    def __init__(self, inner: ChoreoHandler[E], peers: Mapping[str, str]) -> None:
        super().__init__(inner)
        self._peers = dict(peers)

    async def send(self, endpoint: E, to: str, message: object) -> None:
        """See ``ChoreoHandler``."""
        await self.inner.send(endpoint, self._peers.get(to, to), message)

    async def recv(
        self, endpoint: E, sender: str, kind: type[object] | None = None, *, label: str | None = None
    ) -> object:
        """See ``ChoreoHandler``."""
        return await self.inner.recv(endpoint, self._peers.get(sender, sender), kind, label=label)

    async def choose(self, endpoint: E, to: str, label: str) -> None:
        """See ``ChoreoHandler``."""
        await self.inner.choose(endpoint, self._peers.get(to, to), label)

    async def offer(self, endpoint: E, sender: str) -> str:
        """See ``ChoreoHandler``."""
        return await self.inner.offer(endpoint, self._peers.get(sender, sender))
