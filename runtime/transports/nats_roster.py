"""Who is in a room of a NATS server: one JetStream stream that keeps the last word of each member.

A name in it is a hint whom to ask and no promise: a member that died stays until its name is taken up again. Carries no
facts.
"""

from __future__ import annotations

from collections.abc import Callable

from .extras import MissingExtra
from .nats import LastingClient, NatsAddress
from .reach import EVERY_TRANSPORT, Transports
from .transport import PeerUnreachable

try:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.errors import Error as NatsError
    from nats.js.api import StorageType, StreamConfig
except ImportError as missing:
    raise MissingExtra("nats", "nats") from missing

HERE, GONE = b"here", b"gone"
# A room is a handful of replicas; a stream that lists more was filled by somebody else.
MEMBERS_MAX = 1_000


class NatsRoster:
    """One member's view of a room; *on_here* and *on_gone* are told the names of others, as often as they say so."""

    def __init__(
        self,
        target: NatsAddress,
        *,
        on_here: Callable[[str], None],
        on_gone: Callable[[str], None],
        transports: Transports = EVERY_TRANSPORT,
    ) -> None:
        self._target = target
        self._client = LastingClient(
            target,
            begin=self._enter,
            lost=_nothing,
            tls=transports.tls,
            access=transports.nats,
        )
        self._on_here = on_here
        self._on_gone = on_gone
        self._stream = f"antiphon-{target.room}"

    def _subject(self, name: str) -> str:
        return f"antiphon.{self._target.room}.member.{name}"

    async def open(self) -> None:
        """Enter the room. Raises ``PeerUnreachable`` without a server, or on one without JetStream."""
        await self._client.open()

    async def _enter(self, client: Client) -> None:
        try:
            await client.subscribe(self._subject("*"), cb=self._heard)
            await client.jetstream().add_stream(
                StreamConfig(
                    name=self._stream,
                    subjects=[self._subject("*")],
                    max_msgs_per_subject=1,
                    max_msgs=MEMBERS_MAX,
                    storage=StorageType.FILE,
                )
            )
            await self._announce()
        except (NatsError, TimeoutError, OSError) as problem:
            raise PeerUnreachable(
                f"room {self._target.room} cannot be entered at {self._target.server} ({problem}); start nats-server "
                "with --jetstream"
            ) from problem

    async def close(self) -> None:
        """Leave the room: the others are told, if the server is there."""
        try:
            client = self._client.now
            if client.is_connected:
                await client.publish(self._subject(self._target.name), GONE)
                await client.flush(timeout=2)
                await client.jetstream().purge_stream(self._stream, subject=self._subject(self._target.name))
        except (NatsError, TimeoutError, OSError):
            pass  # the name stays, as it would if this process had died
        finally:
            await self._client.close()

    async def _announce(self) -> None:
        stream = self._client.now.jetstream()
        await stream.publish(self._subject(self._target.name), HERE)
        state = (await stream.stream_info(self._stream, subjects_filter=self._subject("*"))).state
        for subject in state.subjects or {}:
            self._tell(subject, HERE)

    async def _heard(self, message: Msg) -> None:
        self._tell(message.subject, message.data)

    def _tell(self, subject: str, word: bytes) -> None:
        name = subject.rpartition(".")[2]
        if name != self._target.name:
            (self._on_gone if word == GONE else self._on_here)(name)


async def _nothing() -> None:
    """A server that goes is no news here: links see it themselves."""
