"""Messages as bytes: plain data, dataclasses, models, and classes with a codec of their own."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from antiphon.choreography import compile_choreography
from antiphon.choreography.payloads import Strictness
from antiphon.runtime.choreography import (
    Endpoint,
    InMemoryHandler,
    JsonCodec,
    Labelled,
    MalformedMessage,
    PayloadRefused,
    SerializationFailed,
)

DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


class Point:
    """Neither a dataclass nor a model."""

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y


def read_point(data: bytes) -> Point:
    x, y = data.decode().split(",")
    return Point(int(x), int(y))


@dataclass(frozen=True)
class Order:
    lines: list[int]


@dataclass(frozen=True)
class Weighed:
    grams: float


class Money(BaseModel):
    pence: int


@given(DATA)
def test_plain_data_comes_back(value: object) -> None:
    codec = JsonCodec()
    assert codec.decode(codec.encode(Labelled("X", value)), None, label="X") == value


LONG = st.recursive(
    st.integers(-(2**200), 2**200)
    | st.text('0123456789"\\é', max_size=40)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("0123456789", max_size=25), inner, max_size=3),
    max_leaves=10,
)


@given(LONG)
@example(2**64)
@example(2**64 - 1)
@example(-(2**63) - 1)
@example([1e22, 123456789012345678901.0, "12345678901234567890"])
def test_whole_numbers_stay_whole_whatever_their_size(value: object) -> None:
    codec = JsonCodec()
    assert repr(codec.decode(codec.encode(Labelled("X", value)), None, label="X")) == repr(value)


def test_who_knows_no_class_reads_the_whole_numbers_of_one() -> None:
    codec = JsonCodec()
    order = Order([10**30, -(10**30)])
    assert codec.decode(codec.encode(order), None, label="Order") == {"lines": order.lines}
    assert codec.decode(codec.encode(Labelled("Order", {"lines": order.lines})), Order, label="Order") == order
    assert codec.decode(codec.encode(Labelled("X", [order])), None, label="X") == [{"lines": order.lines}]


@pytest.mark.parametrize(
    "value", [[10**5000], {"n": 2**64, "x": math.nan}, [2**64, {1: 2}], [2**64, {1, 2}], {(1, 2): 2**64}]
)
def test_what_is_refused_is_refused_beside_a_long_number_too(value: object) -> None:
    with pytest.raises(SerializationFailed):
        JsonCodec().encode(Labelled("X", value))
    nested: list[object] = [2**64]
    nested.append(nested)
    with pytest.raises(SerializationFailed):
        JsonCodec().encode(Labelled("X", nested))


@pytest.mark.parametrize(
    "data",
    [
        b"1" * 5000,
        b"[11111111111111111111,NaN]",
        b'["11111111111111111111\\ud800"]',
        b"[" * 1000 + b"1" * 30 + b"]" * 1000,
    ],
)
def test_what_is_malformed_is_so_beside_a_long_number_too(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        JsonCodec().decode(data, None, label="X")


@given(st.lists(st.integers(-(2**60), 2**60), max_size=5), st.integers(-(2**60), 2**60))
def test_dataclasses_and_models_come_back(lines: list[int], pence: int) -> None:
    codec = JsonCodec()
    for message in (Order(lines), Money(pence=pence)):
        assert codec.decode(codec.encode(message), type(message), label="X") == message


@pytest.mark.parametrize("data", [b"", b"{", b'{"lines": "no"}', b'{"lines": ["1"]}', b"{}", b"\xff"])
def test_what_is_not_of_a_class_is_malformed_and_nothing_is_guessed(data: bytes) -> None:
    with pytest.raises(MalformedMessage, match="no Order"):
        JsonCodec().decode(data, Order, label="Order")


def test_the_bound_holds_in_both_directions() -> None:
    codec = JsonCodec(bytes_max=10)
    assert codec.decode(codec.encode("x" * 8), None, label="str") == "x" * 8
    with pytest.raises(SerializationFailed, match="11 bytes; at most 10"):
        codec.encode("x" * 9)
    with pytest.raises(MalformedMessage, match="11 bytes; at most 10"):
        codec.decode(b'"' + b"x" * 9 + b'"', None, label="str")


@pytest.mark.parametrize(
    "value", [math.nan, {"x": math.inf}, {"of": [None, (-math.inf,)]}, {"order": Weighed(math.nan)}]
)
def test_a_number_that_json_cannot_say_is_the_senders_error(value: object) -> None:
    with pytest.raises(SerializationFailed, match="no number that JSON can say"):
        JsonCodec().encode(Labelled("X", value))


def test_a_class_without_a_codec_says_what_to_do() -> None:
    with pytest.raises(SerializationFailed, match="cannot be written"):
        JsonCodec().encode(Point(1, 2))
    with pytest.raises(SerializationFailed, match="register a codec"):
        JsonCodec().decode(b"1,2", Point, label="Point")


@pytest.mark.asyncio
async def test_a_registered_codec_carries_a_class_through_an_endpoint() -> None:
    protocol = compile_choreography("protocol P =\n  roles A, B\n  A -> B : Point(x : i8, y : i8)\n")
    codec = JsonCodec()
    codec.register(Point, write=lambda point: f"{point.x},{point.y}".encode(), read=read_point)
    handlers = InMemoryHandler.network("A", "B", codec=codec)
    ends = [Endpoint.of(protocol, one.role, one, messages=[Point], codec=codec) for one in handlers]
    with pytest.raises(PayloadRefused, match="y is 200, not -128 to 127"):
        await ends[0].send("B", Point(1, 200))
    await ends[0].send("B", Point(1, 2))
    arrived = await ends[1].recv("A", Point)
    assert (arrived.x, arrived.y) == (1, 2)
    other = Endpoint.of(protocol, "B", handlers[1], messages=[Point], codec=codec)
    await handlers[0].send(None, "B", Labelled("Point", {"x": 1}))
    with pytest.raises(MalformedMessage, match="no Point"):
        await other.recv("A", Point)


BLOBS = compile_choreography("protocol P =\n  roles A, B\n  A -> B : Blob(data : bytes)\n  A -> B : Raw of bytes\n")


@dataclass(frozen=True)
class Blob:
    data: bytes


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xfe\xfb", bytes(range(256))])
@pytest.mark.parametrize("ours", [(), (Blob,)])
@pytest.mark.parametrize("theirs", [(), (Blob,)])
@pytest.mark.parametrize("strictness", ["off", "strict"])
@pytest.mark.asyncio
async def test_bytes_come_back_as_they_were(
    data: bytes, ours: tuple[type, ...], theirs: tuple[type, ...], strictness: Strictness
) -> None:
    one, other = InMemoryHandler.network("A", "B")
    sender = Endpoint.of(BLOBS, "A", one, messages=ours, strictness=strictness)
    receiver = Endpoint.of(BLOBS, "B", other, messages=theirs, strictness=strictness)
    await sender.send("B", Blob(data) if ours else {"data": data}, label="Blob")
    assert await receiver.recv("A") == (Blob(data) if theirs else {"data": data})
    await sender.send("B", Labelled("Raw", data))
    assert await receiver.recv("A") == data


@pytest.mark.parametrize("found", ["not base64!", 7, None])
@pytest.mark.asyncio
async def test_what_is_no_base64_is_no_bytes(found: object) -> None:
    one, other = InMemoryHandler.network("A", "B")
    await one.send(None, "B", Labelled("Blob", {"data": found}))
    with pytest.raises(MalformedMessage, match="not a bytes"):
        await Endpoint.of(BLOBS, "B", other).recv("A")
