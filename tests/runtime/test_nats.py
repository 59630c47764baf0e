"""NATS keeps the transport's contract through a real server; it loses, restarts and lies, and is believed nothing."""

from __future__ import annotations

import asyncio
import base64
import json
from binascii import crc_hqx
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.client import Client

from antiphon.facts import LocalViolation
from antiphon.journal.sync.messages import OversizedFrame
from antiphon.runtime.transports import nats as transport
from antiphon.runtime.transports.nats import NatsConnection, NatsListener, connect_nats, listen_nats
from antiphon.runtime.transports.nats_access import NatsAccess
from antiphon.runtime.transports.reach import Transports
from antiphon.runtime.transports.tls import Tls
from antiphon.runtime.transports.transport import PeerLost, PeerUnreachable
from antiphon.testing.certificates import Signed, make_certificate
from antiphon.testing.contracts.transport import Pair, TransportContract
from antiphon.testing.nats_server import NatsServer

pytestmark = pytest.mark.system
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as running:
        yield running


class TestNats(TransportContract):
    @pytest_asyncio.fixture
    async def pair(self, server: NatsServer) -> AsyncIterator[Pair]:
        listener = await listen_nats(f"{server.address}/contract/ada")
        here = await connect_nats(listener.address)
        there = await listener.accept()
        yield here, there
        await here.close()
        await there.close()
        await listener.close()


@pytest_asyncio.fixture
async def listener(server: NatsServer) -> AsyncIterator[NatsListener]:
    listener = await listen_nats(f"{server.address}/room/ada")
    yield listener
    await listener.close()


async def meet(listener: NatsListener) -> tuple[NatsConnection, NatsConnection]:
    here = await connect_nats(listener.address)
    return here, await listener.accept()


async def keep_asking(connection: NatsConnection) -> None:
    while True:
        await connection.send(b"are you there?")
        await asyncio.sleep(0.01)  # a real server takes its time


@pytest.mark.asyncio
async def test_anybody_in_a_room_is_met(listener: NatsListener) -> None:
    async with asyncio.timeout(PATIENCE_S):
        here = await connect_nats(listener.address.removesuffix("/ada"))
        there = await listener.accept()
        await here.send(b"hello")
        assert await there.receive() == b"hello"
        await here.close()
        await there.close()


@pytest.mark.asyncio
async def test_nobody_under_a_name_is_told_at_once(listener: NatsListener) -> None:
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(PeerUnreachable, match="bob is not in room room"):
            await connect_nats(listener.address.replace("/ada", "/bob"))
        with pytest.raises(PeerUnreachable, match="nobody is in room empty"):
            await connect_nats(listener.address.replace("/room/ada", "/empty"))


@pytest.mark.asyncio
async def test_no_server_is_told() -> None:
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(PeerUnreachable, match="no NATS server answers"):
            await connect_nats("nats://127.0.0.1:1/room/ada")
        with pytest.raises(PeerUnreachable, match="no NATS server answers"):
            await listen_nats("nats://127.0.0.1:1/room/ada")


@pytest.mark.asyncio
async def test_a_peer_that_vanished_is_noticed_when_one_speaks(listener: NatsListener) -> None:
    here, there = await meet(listener)
    async with asyncio.timeout(PATIENCE_S):
        here.drop()
        with pytest.raises(PeerLost, match="nobody listens"):
            await keep_asking(there)
        await there.close()


@pytest.mark.asyncio
async def test_a_peer_that_vanished_is_noticed_by_the_probe(
    listener: NatsListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "PROBE_S", 0.05)
    here, there = await meet(listener)
    async with asyncio.timeout(PATIENCE_S):
        here.drop()
        with pytest.raises(PeerLost, match="nobody listens"):
            await there.receive()
        await there.close()


@pytest.mark.parametrize(
    ("wire", "problem", "says"),
    [
        (b"D\0\0\0\0\0\0\0\1\0\0\0\1x", PeerLost, "piece 1 came"),
        (b"D\0\0\0\0\0\0\0\0\xff\0\0\0", OversizedFrame, "frame of"),
        (b"A\0\0\0\0\0\0\0\7", PeerLost, "no part"),
        (b"?\0\0\0\0\0\0\0\0", PeerLost, "no part"),
        (b"short", PeerLost, "no part"),
        (b"E\0\0\0\0\0\0\0\5", PeerLost, "missing"),
    ],
)
@pytest.mark.asyncio
async def test_a_liar_ends_its_own_connection(
    server: NatsServer, listener: NatsListener, wire: bytes, problem: type[Exception], says: str
) -> None:
    liar = Client()
    await liar.connect(server.address)
    here, there = await meet(listener)
    async with asyncio.timeout(PATIENCE_S):
        await liar.publish(there.subject, wire)
        with pytest.raises(problem, match=says):
            await there.receive()
        other, again = await meet(listener)
        await other.send(b"still here")
        assert await again.receive() == b"still here"
        for one in (here, there, other, again):
            await one.close()
        await liar.close()


@pytest.mark.asyncio
async def test_a_server_that_is_killed_ends_connections_and_gets_its_names_back(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    server.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            listener = await listen_nats(f"{server.address}/room/ada")
            here, there = await meet(listener)
            server.kill()
            for one in (here, there):
                with pytest.raises(PeerLost):
                    await one.receive()
            server.start()
            while True:
                try:
                    again = await connect_nats(listener.address)
                    break
                except PeerUnreachable:
                    await asyncio.sleep(0.02)  # a real server and a real restart
            await again.send(b"back")
            assert await (await listener.accept()).receive() == b"back"
            for one in (here, there, again):
                await one.close()
            await listener.close()
    finally:
        server.kill()


def turned_away(folder: Path) -> bool:
    return "authentication error" in (folder / "server.log").read_text(encoding="utf-8")


@pytest.mark.asyncio
async def test_a_server_that_turns_its_own_away_for_a_while_gets_its_names_back(tmp_path: Path) -> None:
    """The library gives up for good once it is refused, which no name in a room must."""
    right, wrong = (["--user", "ada", "--pass", word] for word in ("s3cret", "other"))
    reach = Transports(nats=NatsAccess(user="ada", password="s3cret"))
    server = NatsServer(tmp_path, options=right)
    stranger = NatsServer(tmp_path, options=wrong, port=int(server.address.rpartition(":")[2]))
    server.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            listener = await reach.listen(f"{server.address}/room/ada")
            server.kill()
            await asyncio.to_thread(stranger.start)
            while not turned_away(tmp_path):  # noqa: ASYNC110  # what is waited for happens in another process
                await asyncio.sleep(0.02)
            stranger.kill()
            await asyncio.to_thread(server.start)
            while True:
                try:
                    again = await reach.connect(listener.address, timeout=1.0)
                    break
                except PeerUnreachable:
                    await asyncio.sleep(0.02)  # a real server and a real restart
            await again.send(b"back")
            assert await (await listener.accept()).receive() == b"back"
            await again.close()
            await listener.close()
    finally:
        server.kill()
        stranger.kill()


@pytest.mark.parametrize(
    "text",
    ["nats://", "nats://host", "nats://host:1", "nats://host:1/", "nats://h:1/a/b/c", "nats://h:1/a.b", "nats://h:0/a"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(LocalViolation, match="expected nats://"):
        transport.parse_nats(text)


# --- a server that lets in only some -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return make_certificate(tmp_path_factory.mktemp("certificates"), "server")


def secret(signed: Signed) -> list[str]:
    return ["--tls", "--tlscert", str(signed.certificate), "--tlskey", str(signed.key)]


async def say_hello(here: Transports, there: Transports, address: str) -> bytes:
    listener = await here.listen(f"{address}/notes/ada")
    connection = await there.connect(f"{address}/notes/ada", timeout=PATIENCE_S)
    accepted = await listener.accept()
    await connection.send(b"hello")
    heard = await accepted.receive()
    await connection.close()
    await accepted.close()
    await listener.close()
    return heard


@pytest.mark.parametrize(
    ("options", "right", "wrong"),
    [
        (["--user", "ada", "--pass", "s3cret"], NatsAccess(user="ada", password="s3cret"), NatsAccess(token="s3cret")),
        (["--auth", "t0ken"], NatsAccess(token="t0ken"), NatsAccess(user="ada", password="t0ken")),
    ],
    ids=["user", "token"],
)
@pytest.mark.parametrize("is_secret", [False, True], ids=["plain", "tls"])
@pytest.mark.asyncio
async def test_a_server_lets_in_who_shows_what_it_asks_for(
    tmp_path: Path, signed: Signed, options: list[str], right: NatsAccess, wrong: NatsAccess, is_secret: bool
) -> None:
    tls = Tls(trusted=signed.certificate) if is_secret else None
    with NatsServer(tmp_path / "nats", options=[*options, *(secret(signed) if is_secret else [])]) as server:
        async with asyncio.timeout(PATIENCE_S):
            let_in = Transports(tls, right)
            assert await say_hello(let_in, let_in, server.address) == b"hello"
            for shown in (wrong, None):
                with pytest.raises(PeerUnreachable, match=r"[Aa]uth"):
                    await Transports(tls, shown).listen(f"{server.address}/notes/ben")
    assert "s3cret" not in repr(right)
    assert "t0ken" not in repr(right)


@dataclass(frozen=True)
class Nkey:
    """A key pair as NATS writes it."""

    seed: str
    public: str
    private: Ed25519PrivateKey

    @classmethod
    def made(cls, kind: int) -> Nkey:
        private = Ed25519PrivateKey.generate()
        head = bytes([18 << 3 | kind >> 5, (kind & 31) << 3])
        public = bytes([kind]) + private.public_key().public_bytes_raw()
        return cls(cls.text(head + private.private_bytes_raw()), cls.text(public), private)

    @staticmethod
    def text(data: bytes) -> str:
        return base64.b32encode(data + crc_hqx(data, 0).to_bytes(2, "little")).decode().rstrip("=")

    def jwt(self, subject: str, kind: str, **more: object) -> str:
        """Something that this key says of another one."""
        claims = {"jti": subject, "iss": self.public, "sub": subject, "nats": {"type": kind, "version": 2, **more}}
        parts = ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)
        body = ".".join(_unpadded(json.dumps(part).encode()) for part in parts)
        return f"{body}.{_unpadded(self.private.sign(body.encode()))}"


def _unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


USER, ACCOUNT, OPERATOR = 20 << 3, 0, 14 << 3


@pytest.mark.asyncio
async def test_a_server_lets_in_who_signs_with_the_nkey_that_it_knows(tmp_path: Path) -> None:
    ada, eve = Nkey.made(USER), Nkey.made(USER)
    (tmp_path / "seed").write_text(f"{ada.seed}\n")
    (tmp_path / "conf").write_text(f"authorization {{ users: [ {{ nkey: {ada.public} }} ] }}")
    access = NatsAccess.read(tmp_path / "seed")
    assert (access.public_key, ada.seed in repr(access)) == (ada.public, False)
    with NatsServer(tmp_path / "nats", options=["--config", str(tmp_path / "conf")]) as server:
        async with asyncio.timeout(PATIENCE_S):
            let_in = Transports(nats=access)
            assert await say_hello(let_in, let_in, server.address) == b"hello"
            for shown in (NatsAccess(seed=eve.seed), None):
                with pytest.raises(PeerUnreachable, match=r"[Aa]uth"):
                    await Transports(nats=shown).listen(f"{server.address}/notes/ben")


@pytest.mark.asyncio
async def test_a_server_lets_in_a_user_whom_its_account_signed_for(tmp_path: Path) -> None:
    operator, account, system, eve = (Nkey.made(kind) for kind in (OPERATOR, ACCOUNT, ACCOUNT, USER))
    some = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    stream = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
    accounts = {
        one.public: operator.jwt(one.public, "account", limits={**some, **more, "wildcards": True})
        for one, more in ((account, stream), (system, {}))
    }
    preloaded = ", ".join(f'{public}: "{jwt}"' for public, jwt in accounts.items())
    (tmp_path / "conf").write_text(
        f'operator: "{operator.jwt(operator.public, "operator")}"\nsystem_account: {system.public}\n'
        f"resolver: MEMORY\nresolver_preload: {{ {preloaded} }}"
    )

    def credentials(user: Nkey, signer: Nkey) -> NatsAccess:
        file = tmp_path / f"{user.public}.creds"
        jwt = signer.jwt(user.public, "user", pub={}, sub={}, subs=-1, data=-1, payload=-1)
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
        return NatsAccess.read(file)

    with NatsServer(tmp_path / "nats", options=["--config", str(tmp_path / "conf")]) as server:
        async with asyncio.timeout(PATIENCE_S):
            ada, forged = credentials(Nkey.made(USER), account), credentials(eve, eve)
            assert await say_hello(Transports(nats=ada), Transports(nats=ada), server.address) == b"hello"
            assert ada.jwt not in repr(ada)
            for shown in (forged, NatsAccess(seed=eve.seed, jwt=ada.jwt)):
                with pytest.raises(PeerUnreachable, match=r"[Aa]uth"):
                    await Transports(nats=shown).listen(f"{server.address}/notes/ben")


def test_a_seed_with_a_slip_is_refused_and_not_taken_for_a_token(tmp_path: Path) -> None:
    seed = Nkey.made(USER).seed
    slips = [seed[:30] + ("A" if seed[30] != "A" else "B") + seed[31:], Nkey.made(ACCOUNT).seed, seed[:-1], "SU"]
    for slip in slips:
        with pytest.raises(LocalViolation, match="no seed of a user's nkey") as refused:
            NatsAccess(seed=slip)
        assert slip == "SU" or slip not in str(refused.value)
    file = tmp_path / "access"
    file.write_text(slips[0])
    with pytest.raises(LocalViolation, match="no seed of a user's nkey"):
        NatsAccess.read(file)
    file.write_text("-----BEGIN NATS USER JWT-----\nx.y.z\n------END NATS USER JWT------\n")
    with pytest.raises(LocalViolation, match=r"has no USER NKEY SEED; expected a whole \.creds file"):
        NatsAccess.read(file)
    with pytest.raises(LocalViolation, match="give one of them"):
        NatsAccess(user="ada", password="x", jwt="x.y.z")


@pytest.mark.asyncio
async def test_a_server_is_believed_by_its_certificate_and_nothing_is_shown_to_one_in_plain(
    tmp_path: Path, signed: Signed
) -> None:
    other = make_certificate(tmp_path, "other")
    async with asyncio.timeout(PATIENCE_S):
        with NatsServer(tmp_path / "secret", options=secret(signed)) as server:
            with pytest.raises(PeerUnreachable, match=r"CERTIFICATE|certificate"):
                await Transports(Tls(trusted=other.certificate)).listen(f"{server.address}/notes/ada")
            with pytest.raises(PeerUnreachable, match="speaks TLS only"):
                await Transports().listen(f"{server.address}/notes/ada")
        with NatsServer(tmp_path / "plain") as server, pytest.raises(PeerUnreachable, match="speaks no TLS"):
            await Transports(Tls(trusted=signed.certificate)).listen(f"{server.address}/notes/ada")


def test_access_is_read_from_the_first_line_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "access"
    file.write_text("ada:s3:cret\nnotes of ours\n")
    assert NatsAccess.read(file) == NatsAccess(user="ada", password="s3:cret")
    file.write_text("t0ken")
    assert NatsAccess.read(file) == NatsAccess(token="t0ken")
    for text in ("", ":secret\n"):
        file.write_text(text)
        with pytest.raises(LocalViolation, match="expected user:password, or a token"):
            NatsAccess.read(file)
    with pytest.raises(LocalViolation, match="no access to a NATS server can be read"):
        NatsAccess.read(tmp_path / "missing")
    with pytest.raises(LocalViolation, match="give one of them"):
        NatsAccess(user="ada", token="t0ken")
