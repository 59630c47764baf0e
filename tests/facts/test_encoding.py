"""The bytes of the format, frozen: whoever changes one of these files costs every user a migration.

Fixed keys, nonce, salts and clock; ``UPDATE_GOLDEN=1`` rewrites ``tests/golden/encoding/`` for a reviewer to read.
"""

import os
from binascii import b2a_base64
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from random import Random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import AfterLink, ChainId, InvalidLine, UnencodableFact, canonical_bytes, parse_line
from antiphon.facts.encoding import (
    DEPTH_MAX,
    LINE_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    build_erased_line,
    build_header,
    build_line,
    check_canonical,
    compute_fact_id,
    is_canonical,
    parse_header,
    payload_digest,
    salt_text,
)
from antiphon.facts.ids import authority_id, chain_id
from antiphon.journal import Draft, build_frame
from antiphon.journal.chain import build_seal_line
from antiphon.journal.frame import FileHeader, build_file_header
from antiphon.journal.stores.position import NO_FRAME
from antiphon.testing.records import ChainWriter

GOLDEN = Path(__file__).parents[1] / "golden" / "encoding"

CHAIN = "0f" * 16
SALT = bytes(range(16))
AFTER = (AfterLink(ChainId(b"\x01" * 16), 7, b"\xaa" * 16), AfterLink(ChainId(b"\x02" * 16), 123456, b"\xbb" * 16))
PAYLOAD = b'{"room":"lobby","text":"gr\xc3\xbc\xc3\x9f dich \\"Ada\\"\\n"}'


def header(*, after: tuple[AfterLink, ...] = ()) -> bytes:
    return build_header(
        chain_text=CHAIN,
        kind="demo.message_sent",
        version=1,
        seq=42,
        hlc=111_681_581_875_200_003,
        at=-1500,
        after=after,
    )


def live_line() -> bytes:
    return build_line(header(), PAYLOAD, salt_text(SALT))


def erased_line() -> bytes:
    return build_erased_line(header(), payload_digest(salt_text(SALT), PAYLOAD))


def ids() -> bytes:
    """The id of the line behind the first fact's place, and behind another; live and erased agree."""
    digest = payload_digest(salt_text(SALT), PAYLOAD)
    chain = chain_id(public_key=bytes([0x22]) * 32, nonce=bytes([0x33]) * 16, namespace="antiphon.default")
    lines = [
        f"payload digest {digest.hex()}",
        f"as a chain's first fact {compute_fact_id(bytes(32), header(), digest).hex()}",
        f"behind 32 bytes of 0x11 {compute_fact_id(bytes([0x11]) * 32, header(), digest).hex()}",
        f"chain of key 0x22, nonce 0x33, antiphon.default {chain.hex()}",
        f"authority of key 0x22 {authority_id(bytes([0x22]) * 32)}",
    ]
    return "\n".join(lines).encode()


def opening_fact() -> bytes:
    return ChainWriter("ada").say().lines[0]


def seal_line() -> bytes:
    return ChainWriter("ada").say(Draft("demo.message_sent", 1, PAYLOAD, None)).seal_line


def frame() -> bytes:
    writer = ChainWriter("ada")
    run = writer.seal(Draft("demo.message_sent", 1, PAYLOAD, -1500))
    assert build_seal_line(run.seal) in run.text
    return build_frame(NO_FRAME, [run], chains=[writer.chain.info]).data


def file_header() -> bytes:
    return build_file_header(FileHeader(1, "0123456789abcdef" * 2, 3, 2, "ab" * 32))


def canonical_json() -> bytes:
    return canonical_bytes(
        {
            "z": [1, -(2**63), 2**63 - 1, True, False, None],
            "a": {"é": "e\u0301 is not é", "e": "", "E": '\x00\x1f\x7f\u2028/\\"'},
            "emoji": "\U0001f642",
        }
    )


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("canonical_json", canonical_json),
        ("header", header),
        ("header_with_after", lambda: header(after=AFTER)),
        ("live_line", live_line),
        ("erased_line", erased_line),
        ("ids", ids),
        ("opening_fact", opening_fact),
        ("seal_line", seal_line),
        ("frame", frame),
        ("file_header", file_header),
    ],
)
def test_the_bytes_of_the_format_are_the_frozen_ones(name: str, build: Callable[[], bytes]) -> None:
    path = GOLDEN / f"{name}.txt"
    written = build()
    written = written if written.endswith(b"\n") else written + b"\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(written)
    assert written == path.read_bytes(), f"{path} is frozen: a change of the format is a migration for every user"


def test_ids_are_what_the_format_says_word_by_word() -> None:
    """Against the sentence in FORMAT and not against our own helpers."""
    salt = b2a_base64(SALT, newline=False)
    inner = sha256(salt + PAYLOAD).digest()
    fact_id = sha256(b"antiphon.fact.1" + bytes([0x11]) * 32 + header() + inner).hexdigest()
    assert f"behind 32 bytes of 0x11 {fact_id}".encode() in (GOLDEN / "ids.txt").read_bytes()
    assert live_line() == b'{"h":' + header() + b',"p":' + PAYLOAD + b',"r":"' + salt + b'"}'
    assert erased_line() == b'{"e":"' + inner.hex().encode() + b'","h":' + header() + b"}"


def test_a_live_line_and_its_erased_form_have_one_id_and_one_header() -> None:
    live, erased = parse_line(live_line()), parse_line(erased_line())
    assert live.header == erased.header
    assert live.digest == erased.digest
    assert (live.payload, erased.payload) == (PAYLOAD, None)


def test_one_changed_byte_of_payload_salt_or_header_changes_the_id() -> None:
    seen = {compute_fact_id(bytes(32), header(), payload_digest(salt_text(SALT), PAYLOAD))}
    seen.add(compute_fact_id(bytes(32), header(), payload_digest(salt_text(SALT), PAYLOAD.replace(b"Ada", b"Eda"))))
    seen.add(compute_fact_id(bytes(32), header(), payload_digest(salt_text(bytes(16)), PAYLOAD)))
    seen.add(compute_fact_id(bytes(32), header(after=AFTER), payload_digest(salt_text(SALT), PAYLOAD)))
    seen.add(compute_fact_id(bytes([1]) + bytes(31), header(), payload_digest(salt_text(SALT), PAYLOAD)))
    assert len(seen) == 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(min_value=-(2**63), max_value=2**63 - 1) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=6)


@given(json_objects)
def test_canonical_json_is_read_back_and_is_canonical(value: dict[str, object]) -> None:
    data = canonical_bytes(value)
    assert orjson.loads(data) == value
    assert is_canonical(data)
    assert canonical_bytes(orjson.loads(data)) == data


@given(json_objects, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: dict[str, object], random: Random) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert canonical_bytes({key: value[key] for key in keys}) == canonical_bytes(value)


@given(st.binary(max_size=200))
def test_bytes_are_canonical_only_when_they_are_what_we_would_write(data: bytes) -> None:
    try:
        again = canonical_bytes(orjson.loads(data))
    except (orjson.JSONDecodeError, UnencodableFact):
        assert not is_canonical(data)
    else:
        assert is_canonical(data) == (again == data and data.startswith(b"{"))


def nested(depth: int) -> object:
    value: object = "core"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": {"b": [1, 2.5]}}, r"payload\.a\.b\[1\] is the float 2\.5"),
        ({"a": float("nan")}, r"payload\.a is the float nan"),
        ({"a": 2**63}, r"payload\.a is 9223372036854775808, beyond 64 bits"),
        ({"a": [-(2**63) - 1]}, r"payload\.a\[0\] is -9223372036854775809, beyond 64 bits"),
        ({"a": {1: "x"}}, r"payload\.a has the key 1; keys are text"),
        ({"a": ["ok", "half \ud800"]}, r"payload\.a\[1\] holds half a surrogate pair"),
        ({"a": {"\udfff": 1}}, r"a key of payload\.a holds half a surrogate pair"),
        ({"a": {"b"}}, r"payload\.a is a set, which has no JSON form"),
        ({"a": b"raw"}, r"payload\.a is a bytes, which has no JSON form"),
        ({"a": nested(DEPTH_MAX)}, r"nests deeper than 32 levels"),
    ],
)
def test_what_canonical_json_cannot_hold_is_refused_with_its_place(value: object, place: str) -> None:
    with pytest.raises(UnencodableFact, match=place):
        canonical_bytes(value)


def test_the_depth_bound_itself_is_allowed() -> None:
    check_canonical({"a": nested(DEPTH_MAX - 1)})


@pytest.mark.parametrize(
    "payload",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":18446744073709551615}',
        b'{"a":18446744073709551616}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":1}\n',
        b"[1]",
        b'"a"',
        b"null",
        b"",
        b"{",
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"[" * 100_000,
        b'{"a":"' + b"x" * PAYLOAD_BYTES_MAX + b'"}',
    ],
)
def test_foreign_payloads_have_one_spelling(payload: bytes) -> None:
    assert not is_canonical(payload)


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        (b'"at":-1500', b'"at":-0'),
        (b'"at":-1500', b'"at":01'),
        (b'"at":-1500', b'"at":9223372036854775808'),
        (b'"at":-1500', b'"at":1.5'),
        (b'"at":-1500,', b""),
        (b'"s":42', b'"s":0'),
        (b'"s":42', b'"s":-1'),
        (b'"s":42', b'"s":9223372036854775808'),
        (b'"s":42', b'"s":042'),
        (b'"t":1', b'"t":-1'),
        (b'"t":1', b'"t":911'),
        (b'"v":1', b'"v":0'),
        (b'"v":1', b'"v":100000'),
        (b'"v":1', b'"v":1,"w":1'),
        (b"demo.message_sent", b"demo"),
        (b"demo.message_sent", b"Demo.sent"),
        (b"demo.message_sent", b"demo.1sent"),
        (b"demo.message_sent", b"demo." + b"a" * 60),
        (b"demo.message_sent", b"demo.sent\\n"),
        (b"0f" * 16, b"0F" * 16),
        (b"0f" * 16, b"0f" * 15),
        (b'"c":', b'"c": '),
    ],
)
def test_a_header_has_one_spelling(part: bytes, wrong: bytes) -> None:
    assert part in header()
    with pytest.raises(InvalidLine):
        parse_header(header().replace(part, wrong))


def with_after(*links: tuple[str, int, str]) -> bytes:
    return orjson.dumps({"after": links})[:-1] + b"," + header()[1:]


@pytest.mark.parametrize(
    "raw",
    [
        with_after(),
        with_after(("02" * 16, 1, "aa" * 16), ("01" * 16, 1, "aa" * 16)),
        with_after(("01" * 16, 1, "aa" * 16), ("01" * 16, 1, "aa" * 16)),
        with_after(("01" * 16, 0, "aa" * 16)),
        with_after(("01" * 16, 2**63, "aa" * 16)),
        with_after(("01" * 15, 1, "aa" * 16)),
        with_after(*((f"{number:032x}", 1, "aa" * 16) for number in range(1, 66))),
    ],
)
def test_causal_links_are_sorted_distinct_bounded_and_of_one_form(raw: bytes) -> None:
    with pytest.raises(InvalidLine):
        parse_header(raw)


def test_sixty_four_causal_links_are_allowed_and_the_line_still_fits() -> None:
    links = tuple(AfterLink(ChainId(n.to_bytes(16, "big")), 2**63 - 1, b"\xff" * 16) for n in range(64))
    line = build_line(header(after=links), b'{"a":"' + b"x" * (PAYLOAD_BYTES_MAX - 8) + b'"}', salt_text(SALT))
    assert len(line) <= LINE_BYTES_MAX
    assert parse_line(line).header.after == links


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        live_line()[:-1],
        live_line() + b"\n",
        b" " + live_line(),
        live_line().replace(b',"r":"', b',"r": "'),
        live_line().replace(b'=="}', b'==="}'),
        live_line().replace(salt_text(SALT), salt_text(SALT)[:-4] + b"D==="),
        live_line().replace(salt_text(SALT), salt_text(SALT).replace(b"Dw==", b"Dx==")),  # bits behind the last byte
        live_line().replace(salt_text(SALT), b2a_base64(bytes(15), newline=False)),
        live_line().replace(b',"p":', b',"q":'),
        build_line(header(), b"x" * (PAYLOAD_BYTES_MAX + 1), salt_text(SALT)),
        erased_line().replace(b'{"e":"', b'{"e":"0'),
        erased_line()[:6] + erased_line()[6:70].upper() + erased_line()[70:],
        erased_line()[:-1],
        erased_line() + b"}",
        b"{" * 100_000,
    ],
)
def test_a_line_has_one_spelling(line: bytes) -> None:
    with pytest.raises(InvalidLine):
        parse_line(line)


@given(st.binary(max_size=300))
def test_reading_a_line_of_anything_raises_nothing_but_invalid_line(data: bytes) -> None:
    for line in (data, live_line()[: len(data)] + data, b'{"h":' + data, b'{"e":"' + data):
        with suppress(InvalidLine):
            assert parse_line(line).header.raw in line
