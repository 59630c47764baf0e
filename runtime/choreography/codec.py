"""Messages as bytes: JSON for plain data, dataclasses and pydantic models, or whatever was registered for a class.

What is read is checked against the class it is read as, without guessing: ``"1"`` is no number. What would not be read
is not written, nor a number that would come back as none. Whole numbers stay whole, whatever their size. Bytes are
base64 with the letters of URLs; a model says for itself how it writes its own. Knows no protocol: plain data gets its
bytes back from the endpoint.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from functools import partial
from math import isfinite
from typing import Any, NewType, Protocol

import orjson
from pydantic import BaseModel, ConfigDict, PydanticSchemaGenerationError, TypeAdapter
from pydantic_core import PydanticSerializationError

from .errors import MalformedMessage, SerializationFailed
from .handler import Labelled, label_of

# More than any message that people or protocols wait for; what is larger is a file.
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
_BYTES = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
# A dataclass by another name: pydantic takes settings for that, and none for the dataclass itself.
_RENAMED: Any = NewType
# What orjson writes and reads as a whole number; others are written as they are, and read by `json`.
_WHOLE_MIN, _WHOLE_MAX = -(2**63), 2**64 - 1
# The fewest digits of a whole number that orjson would take for a float.
_LONG_DIGITS = b"0" * 19
_DIGITS_ALIKE = bytes(ord("0") if chr(byte).isascii() and chr(byte).isdigit() else ord(" ") for byte in range(256))


class Codec(Protocol):
    """How a message becomes bytes and comes back."""

    def encode(self, message: object) -> bytes:
        """The bytes of a message. Raises ``SerializationFailed``."""
        ...

    def decode(self, data: bytes, kind: type[object] | None, *, label: str) -> object:
        """The message, as a *kind* or as plain data. Raises ``MalformedMessage``."""
        ...


class JsonCodec:
    """JSON, at most ``bytes_max`` a message. Dataclasses and pydantic models are validated when they are read.

    >>> codec = JsonCodec()
    >>> codec.decode(codec.encode({"nights": 2}), None, label="Ask")
    {'nights': 2}
    """

    def __init__(self, *, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        # One a class that was met, so that a message costs a look-up: classes live as long as the program.
        self._writers: dict[type[object], Callable[[Any], bytes]] = {}
        self._readers: dict[type[object] | None, Callable[[bytes], object]] = {None: _read_plain}

    def register(self, kind: type[object], *, write: Callable[[Any], bytes], read: Callable[[bytes], object]) -> None:
        """Give a class a codec of its own. *read* raises ValueError for what is not of it."""
        self._writers[kind] = write
        self._readers[kind] = read

    def encode(self, message: object) -> bytes:
        """See ``Codec``."""
        if type(message) is Labelled:
            if message.written is not None and message.written.codec is self:
                return message.written.data
            value = message.value
        else:
            value = message
        write = self._writers.get(type(value)) or self._writer(type(value))
        try:
            data = write(value)
        except (ValueError, TypeError, PydanticSerializationError) as problem:
            raise SerializationFailed(label_of(message), str(problem)) from problem
        if len(data) > self._bytes_max:
            raise SerializationFailed(label_of(message), f"{len(data):,} bytes; at most {self._bytes_max:,} travel")
        return data

    def decode(self, data: bytes, kind: type[object] | None, *, label: str) -> object:
        """See ``Codec``."""
        if len(data) > self._bytes_max:
            raise MalformedMessage(label, f"{len(data):,} bytes; at most {self._bytes_max:,} travel")
        read = self._readers.get(kind) or self._reader(kind)
        try:
            return read(data)
        except ValueError as problem:
            raise MalformedMessage(label, str(problem)) from problem

    def _writer(self, kind: type[object]) -> Callable[[Any], bytes]:
        is_described = is_dataclass(kind) or issubclass(kind, BaseModel)
        write = self._writers[kind] = _checked_writer(_adapter(kind)) if is_described else _write_plain
        return write

    def _reader(self, kind: type[object] | None) -> Callable[[bytes], object]:
        assert kind is not None, "plain data has its reader from the beginning"
        read = self._readers[kind] = partial(_adapter(kind).validator.validate_json, strict=True)
        return read


def _write_plain(value: object) -> bytes:
    """JSON of plain data. Raises ValueError where JSON has no such number: orjson would write `null`."""
    try:
        data = orjson.dumps(value, default=_bytes_as_text)
    except TypeError:
        # It may be a whole number of more than 64 bits; if it was something else, that is said again.
        data = orjson.dumps(_with_long_numbers(value), default=_bytes_as_text)
    if b"null" in data and (strange := _strange_number(value)) is not None:
        raise ValueError(f"{strange} is no number that JSON can say")
    return data


def _with_long_numbers(value: object) -> object:
    """A copy of plain data in which the whole numbers that orjson cannot write are their digits."""
    try:
        return _spelt_out(value)
    except RecursionError as problem:
        raise ValueError("it is nested too deeply") from problem


def _spelt_out(value: object) -> object:
    match value:
        case int(number) if not _WHOLE_MIN <= number <= _WHOLE_MAX:
            return orjson.Fragment(str(number).encode())
        case dict() as fields:
            return {name: _spelt_out(inner) for name, inner in fields.items()}
        case list() | tuple() as items:
            return [_spelt_out(inner) for inner in items]
        case other if is_dataclass(other):
            shown = (one.name for one in fields_of(other) if not one.name.startswith("_"))
            return {name: _spelt_out(getattr(other, name)) for name in shown}
    return value


def _read_plain(data: bytes) -> object:
    """Plain data. orjson decides what is JSON; only where a number is long is it read once more, digit by digit."""
    value = orjson.loads(data)
    if len(data) >= len(_LONG_DIGITS) and _LONG_DIGITS in data.translate(_DIGITS_ALIKE):
        try:
            return json.loads(data)
        except RecursionError as problem:
            raise ValueError("it is nested too deeply") from problem
    return value


def _bytes_as_text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return urlsafe_b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is no plain data")


def _strange_number(value: object) -> float | None:
    """A float in plain data that is infinite, or not a number; None when there is none."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case float(number) if not isfinite(number):
                return number
            case dict() as fields:
                waiting += fields.values()
            case list() | tuple() as items:
                waiting += items
            case other if is_dataclass(other):
                waiting += (getattr(other, one.name) for one in fields_of(other))
    return None


def _checked_writer(adapter: TypeAdapter[object]) -> Callable[[Any], bytes]:
    """Reading back costs less than asking the serializer to be strict, and finds more: what validators forbid, too."""
    write, read = adapter.serializer.to_json, adapter.validator.validate_json

    def write_checked(value: object) -> bytes:
        data = write(value, warnings=False)
        read(data, strict=True)
        return data

    return write_checked


def _adapter(kind: type[object]) -> TypeAdapter[object]:
    try:
        if issubclass(kind, BaseModel):
            return TypeAdapter(kind)
        return TypeAdapter(_RENAMED(kind.__name__, kind), config=_BYTES)
    except PydanticSchemaGenerationError as problem:
        advice = "make it a dataclass or a pydantic model, or register a codec for it"
        raise SerializationFailed(kind.__name__, advice) from problem


JSON = JsonCodec()
"""The codec of whoever names no other; give a ``JsonCodec`` of your own to register classes."""
