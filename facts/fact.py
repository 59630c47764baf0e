"""``Fact``: an immutable, typed, versioned assertion, and ``FactType``, what the journal must know of its class.

A fact does not know how it is stored or sent. Its identity is given by the journal at commit; until then ``meta`` is
absent.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from .encoding import (
    INTEGER_MAX,
    INTEGER_MIN,
    KIND_LENGTH_MAX,
    KIND_PATTERN,
    PAYLOAD_BYTES_MAX,
    FactRecord,
    check_canonical,
    dump_sorted,
)
from .errors import (
    FactError,
    InvalidPayload,
    LocalViolation,
    PayloadTooLarge,
    RegistrationError,
    UnencodableFact,
    VersionMismatch,
)
from .ids import AuthorityId, Namespace
from .schema import SchemaNode, can_change_in_place, describe_fields, field_type, is_flat, schema_hash

VERSION_MAX = 65_535
_RESERVED_FIELDS = {"meta", "fact_type", "record"}
_FIELD_NAME = re.compile(r"[a-z][a-zA-Z0-9_]*")

FactT = TypeVar("FactT", bound="Fact")
JsonObject = dict[str, Any]
Upcaster = Callable[[JsonObject], JsonObject]
ContextFunction = Callable[[Any], str]
"""From a fact to the namespace it belongs to; pure, since every replica asks it."""


class DerivedContext(str):
    """A context that a fact does not name itself, from a ``ContextFunction``: for a new fact, where it goes; one that
    is there already is at home in whatever chain it stands."""

    __slots__ = ()


class FactMeta(NamedTuple):
    """Where a committed fact stands.

    ``fact_id``, ``chain`` and ``authority`` are lowercase hex; ``author`` is the display label; ``at`` is the fact's
    own time in signed ms; ``hlc`` the packed hybrid clock; ``seq`` counts from 1 within the chain.
    """

    fact_id: str
    author: str
    authority: AuthorityId
    chain: str
    seq: int
    at: int
    hlc: int
    namespace: Namespace


class Fact(BaseModel):
    """Base of every fact type: name the kind and the version, then the fields.

    Class arguments: ``kind`` (dotted lowercase, at most 64 bytes), ``version`` (from 1), ``context`` (the field that
    names the namespace; without it facts go to the journal's default one), ``time`` (the integer field, in ms, that
    holds the fact's own time), ``min_version`` (the oldest version this class still reads).

    Fields are text, integers of 64 bits, bools, bytes, enums, frozen models, and lists, tuples and maps of these; a
    float is refused when the class is defined. Instances are immutable and compare by value.

    >>> class RoomOpened(Fact, kind="doc.room_opened", version=1):
    ...     room: str
    >>> RoomOpened(room="lobby").fact_type.kind
    'doc.room_opened'
    """

    __slots__ = ("_record",)
    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", validate_default=True
    )

    fact_type: ClassVar[FactType]

    def __init_subclass__(
        cls,
        *,
        kind: str | None = None,
        version: int = 1,
        context: str | None = None,
        time: str | None = None,
        min_version: int | None = None,
        **unknown: Any,
    ) -> None:
        """Take the class arguments; the type itself is built once pydantic knows the fields."""
        super().__init_subclass__()
        if unknown:  # pydantic has taken its own settings out
            raise RegistrationError(
                f"{cls.__name__}: {', '.join(map(repr, unknown))} is no argument of a fact class; "
                "expected kind, version, context, time, min_version"
            )
        # Here, since pydantic would warn before it is our turn; unevaluated, since they may name what comes later.
        for name in cls.__dict__.get("__annotations__", ()):  # noqa: RUF063
            if hasattr(Fact, name):
                raise RegistrationError(
                    f"{cls.__name__}.{name}: choose another field name; every fact has a {name} of its own"
                )

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        kind: str | None = None,
        version: int = 1,
        context: str | None = None,
        time: str | None = None,
        min_version: int | None = None,
        **config: Any,
    ) -> None:
        """Build the fact type; a class without ``kind=`` is a base for others and cannot be committed."""
        super().__pydantic_init_subclass__(**config)
        if kind is not None:
            cls.fact_type = FactType.of(
                cls,
                kind=kind,
                version=version,
                context=context,
                time=time,
                min_version=version if min_version is None else min_version,
            )

    @classmethod
    def model_construct(cls, _fields_set: set[str] | None = None, **values: Any) -> Self:
        """As the constructor: a fact that was never validated could not be read back, so there is no way around it."""
        return cls.model_validate(values)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy that has no place in a journal yet; with *update* it is validated like any new fact."""
        if update:
            return type(self).model_validate({**self.__dict__, **update})
        return super().model_copy(deep=deep)

    @property
    def record(self) -> FactRecord:
        """The journal's record of this fact; ``LocalViolation`` before it is committed."""
        try:
            return get_record(self)
        except AttributeError:
            raise LocalViolation(
                f"this {type(self).__name__} was never committed, so it has no place in a journal; commit it first"
            ) from None

    @property
    def meta(self) -> FactMeta:
        """Identity, author and place of a committed fact."""
        record = self.record
        chain = record.chain
        return FactMeta(
            record.fact_id.hex(),
            chain.label,
            chain.authority,
            chain.text,
            record.seq,
            record.at,
            record.hlc,
            chain.namespace,
        )

    @property
    def is_committed(self) -> bool:
        """Whether a journal has given this very object its place."""
        return type(self.__pydantic_fields_set__) is PlacedFields


class PlacedFields(set[str]):
    """The set of fields of every committed fact of one class, in place of a set each.

    Whether a fact is committed must be asked of every fact of every window, and an empty slot can only answer by
    raising; this slot is never empty. It also spares the garbage collector one object a fact. A copy is an ordinary
    set: a copied fact has no place yet.
    """

    def __copy__(self) -> set[str]:
        return set(self)

    def __deepcopy__(self, memo: object) -> set[str]:
        return set(self)

    def __reduce__(self) -> tuple[type[set[str]], tuple[list[str]]]:
        return (set, (sorted(self),))


# The slots' own descriptors: pydantic guards attribute access for frozen models, and this is the hot path.
get_record: Callable[[Fact], FactRecord] = Fact.__dict__["_record"].__get__
_set_record: Callable[[Fact, FactRecord], None] = Fact.__dict__["_record"].__set__
_drop_record: Callable[[Fact], None] = Fact.__dict__["_record"].__delete__
_set_fields: Callable[[Fact, set[str]], None] = BaseModel.__dict__["__pydantic_fields_set__"].__set__


def with_record(fact: FactT, record: FactRecord) -> FactT:
    """Give *fact* its place: itself the first time, a copy when another journal already placed it. ~0.2 µs."""
    if type(fact.__pydantic_fields_set__) is PlacedFields:
        fact = fact.model_copy()
    _set_record(fact, record)
    _set_fields(fact, fact.fact_type.placed_fields)
    return fact


def take_back(fact: Fact, record: FactRecord) -> None:
    """Take from *fact* the place that *record* gave it, when what was to be durable is not."""
    if fact.is_committed and get_record(fact) is record:
        _drop_record(fact)
        _set_fields(fact, set(fact.fact_type.placed_fields))


@dataclass(frozen=True, slots=True, eq=False)
class FactType:
    """A fact class as the registry sees it: how to name, encode, check and read its facts."""

    kind: str
    version: int
    min_version: int
    model: type[Fact]
    context: str | None
    context_function: ContextFunction | None
    """What names the namespace of a fact where no single field does."""
    time: str | None
    fields: Mapping[str, SchemaNode]
    schema_hash: str
    integers: tuple[str, ...]
    binaries: tuple[str, ...]
    needs_walk: bool
    upcasters: dict[int, Upcaster]
    has_validators: bool
    """Whether the class validates with code of its own, which may leave values that do not fit."""
    has_mutable_fields: bool
    """Whether a value in a fact (a list, a map) can still be changed by whoever holds the fact."""
    placed_fields: PlacedFields

    @classmethod
    def of(
        cls,
        model: type[Fact],
        *,
        kind: str,
        version: int,
        context: str | None,
        time: str | None,
        min_version: int,
        context_function: ContextFunction | None = None,
    ) -> FactType:
        """Check a declaration whole and describe it; raises ``RegistrationError``."""
        where = model.__name__
        _check_names(model, kind=kind, version=version, min_version=min_version)
        fields = describe_fields(where, model.model_fields)
        _check_role(where, "context", context, fields, ("text",))
        _check_role(where, "time", time, fields, ("integer",))
        kinds_of = {name: field_type(node) for name, node in fields.items()}
        integers = tuple(name for name, node in kinds_of.items() if node in ("integer", {"any": ["integer", "null"]}))
        binaries = tuple(name for name, node in kinds_of.items() if node in ("bytes", {"any": ["bytes", "null"]}))
        return cls(
            kind=kind,
            version=version,
            min_version=min_version,
            model=model,
            context=context,
            context_function=context_function,
            time=time,
            fields=fields,
            schema_hash=schema_hash(fields),
            integers=integers,
            binaries=binaries,
            needs_walk=not all(name in integers + binaries or is_flat(node) for name, node in kinds_of.items()),
            upcasters={},
            has_validators=_has_validators(model),
            has_mutable_fields=any(can_change_in_place(info.annotation) for info in model.model_fields.values()),
            placed_fields=PlacedFields(model.model_fields),
        )

    def encode(self, fact: Fact) -> bytes:
        """The payload's canonical bytes; raises ``UnencodableFact`` or ``PayloadTooLarge``. ~0.3 µs when flat."""
        values: JsonObject = fact.__dict__
        if self.has_validators:
            self._check_shape(values)
        if self.needs_walk:
            values = self._plain(values)
        else:
            for name in self.integers:
                number = values[name]
                if number is not None and not INTEGER_MIN <= number <= INTEGER_MAX:
                    raise UnencodableFact(
                        f"{self.kind}.{name} is {number}, beyond 64 bits; write large numbers as text"
                    )
            for name in self.binaries:
                if values[name] is not None:
                    values = values | {name: to_plain(values[name])}
        try:
            payload = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
        except TypeError:
            payload = dump_sorted(values, where=self.kind)  # raises, and names the place
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise PayloadTooLarge(
                f"a {self.kind} payload of {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX} are allowed, so store "
                "the rest elsewhere and keep a reference"
            )
        return payload

    def decode(self, payload: bytes, *, version: int | None = None) -> Fact:
        """Read a payload written at *version*, upcasting an older one; ~0.5 µs for a small current one.

        Raises ``VersionMismatch``, ``PayloadTooLarge`` or ``InvalidPayload``.
        """
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise PayloadTooLarge(
                f"a {self.kind} payload of {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX} are allowed"
            )
        actual = self.version if version is None else version
        try:
            if actual != self.version:
                payload = self._upcast(payload, actual)
            fact: Fact = self.model.__pydantic_validator__.validate_json(payload, strict=True)
            return fact
        except ValidationError as problem:
            raise InvalidPayload(f"{self.kind} v{actual}: {_first_of(problem)} ({len(payload)} bytes)") from problem
        except FactError:
            raise
        except Exception as problem:  # a user's validator or upcaster ends here: this fact is left out, others go on
            raise InvalidPayload(
                f"{self.kind} v{actual}: reading it failed with {type(problem).__name__}: {problem}"
            ) from problem

    def context_of(self, fact: Fact) -> str | None:
        """The namespace that *fact* names, or None when its type names none.

        Raises ``LocalViolation`` when the type's function gives anything but text.
        """
        if self.context is not None:
            return getattr(fact, self.context)  # type: ignore[no-any-return]  # a text field: checked when declared
        if self.context_function is None:
            return None
        named: object = self.context_function(fact)
        if not isinstance(named, str):
            raise LocalViolation(
                f"{self.kind}: its context_fn gave {named!r:.80} for this fact; expected the name of a context"
            )
        return named

    @property
    def names_context(self) -> bool:
        """Whether its facts say themselves to which namespace they belong."""
        return self.context is not None or self.context_function is not None

    def time_of(self, fact: Fact) -> int | None:
        """The fact's own time in ms, or None when its type declares none."""
        return getattr(fact, self.time) if self.time else None

    @property
    def sql_name(self) -> str:
        """The name of the SQL view that shows this kind."""
        return self.kind.replace(".", "_")

    def _upcast(self, payload: bytes, actual: int) -> bytes:
        # Below the oldest version that is read as it is, every single step must be there.
        has_steps = all(step in self.upcasters for step in range(actual, self.min_version))
        if not 1 <= actual < self.version or not has_steps:
            raise VersionMismatch(
                self.kind,
                actual=actual,
                min_supported=self.min_version,
                expected=self.version,
                model=self.model.__name__,
            )
        if not self.upcasters:
            return payload
        data: JsonObject = orjson.loads(payload)
        for step in range(actual, self.version):
            if step in self.upcasters:
                data = self.upcasters[step](data)
        check_canonical(data, where=self.kind)
        return dump_sorted(data, where=self.kind)

    def _check_shape(self, values: JsonObject) -> None:
        """Refuse what a validator of the class made of valid input, when it could not be read back."""
        try:
            self.model.__pydantic_validator__.validate_python(dict(values), strict=True)
        except ValidationError as problem:
            raise UnencodableFact(f"a {self.kind} that does not fit its own type: {_first_of(problem)}") from problem

    def _plain(self, values: JsonObject) -> JsonObject:
        try:
            plain = {name: to_plain(value) for name, value in values.items()}
        except RecursionError as problem:
            raise UnencodableFact(f"a {self.kind} nests without end; flatten it") from problem
        check_canonical(plain, where=self.kind)
        return plain


def _has_validators(model: type[BaseModel]) -> bool:
    decorators = model.__pydantic_decorators__
    own = decorators.validators or decorators.field_validators or decorators.root_validators
    metadata = [item for info in model.model_fields.values() for item in info.metadata]
    return bool(own or decorators.model_validators) or any(hasattr(item, "func") for item in metadata)


def _first_of(problem: ValidationError) -> str:
    """The first of a validation's complaints, with its place."""
    first = problem.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place or 'payload'}: {first['msg']}"


def upcast(model: type[Fact], *, from_: int, to: int) -> Callable[[Upcaster], Upcaster]:
    """Register how a payload of version *from_* becomes one of version *to* (always the next).

    Applied whenever an older fact is read, so that a fact written years ago still folds. Two upcasters for one step,
    a step that skips a version, and a step beyond the class's version raise ``RegistrationError``.

    >>> class Seen(Fact, kind="doc.seen", version=2):
    ...     who: str
    ...     lang: str
    >>> @upcast(Seen, from_=1, to=2)
    ... def add_language(old: dict[str, Any]) -> dict[str, Any]:
    ...     return old | {"lang": "und"}
    >>> Seen.fact_type.decode(b'{"who":"ada"}', version=1).lang
    'und'
    """
    fact_type: FactType | None = model.__dict__.get("fact_type")
    if fact_type is None:
        raise RegistrationError(f"{model.__name__} has no kind of its own, so nothing is written at any version of it")
    if [type(from_), type(to)] != [int, int] or to != from_ + 1 or not 1 <= from_ < fact_type.version:
        raise RegistrationError(
            f"{fact_type.kind}: upcast steps go from n to n+1 up to version {fact_type.version}; "
            f"got {from_!r} to {to!r}"
        )
    _refuse_second(fact_type, from_)

    def register(function: Upcaster) -> Upcaster:
        _refuse_second(fact_type, from_)
        fact_type.upcasters[from_] = function
        return function

    return register


def _refuse_second(fact_type: FactType, from_: int) -> None:
    if from_ in fact_type.upcasters:
        raise RegistrationError(f"{fact_type.kind}: there already is an upcaster from version {from_}; keep one")


def to_plain(value: object) -> object:
    """Turn a validated field value into JSON data: enums to their values, bytes to base64, models and tuples to
    data."""
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, bytes):
        return urlsafe_b64encode(value).decode()
    if isinstance(value, BaseModel):
        return {name: to_plain(item) for name, item in value.__dict__.items()}
    if isinstance(value, dict):
        return {name: to_plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def _check_names(model: type[Fact], *, kind: object, version: object, min_version: object) -> None:
    """Check what a declaration says beside its fields' types: frozen, a kind, versions in order, fields' names."""
    where = model.__name__
    if not model.model_config.get("frozen"):
        raise RegistrationError(f"{where}: a fact is frozen, or it could change after it was committed")
    if type(kind) is not str or type(version) is not int or type(min_version) is not int:
        raise RegistrationError(
            f"{where}: kind is text, and version and min_version are integers; "
            f"got {kind!r}, {version!r} and {min_version!r}"
        )
    if KIND_PATTERN.fullmatch(kind) is None or len(kind) > KIND_LENGTH_MAX:
        raise RegistrationError(
            f'{where}: kind {kind!r} must be dotted lowercase words such as "chat.message_sent", at most 64 bytes'
        )
    if not 1 <= min_version <= version <= VERSION_MAX:
        raise RegistrationError(
            f"{where}: versions run from 1 to {VERSION_MAX}, min_version first; got {min_version}..{version}"
        )
    for name in model.model_fields:
        if name in _RESERVED_FIELDS or _FIELD_NAME.fullmatch(name) is None:
            raise RegistrationError(
                f"{where}.{name}: choose another field name; {sorted(_RESERVED_FIELDS)} and odd spellings are reserved"
            )


def _check_role(
    where: str, role: str, name: str | None, fields: Mapping[str, SchemaNode], expected: tuple[str, ...]
) -> None:
    if name is None:
        return
    if name not in fields or field_type(fields[name]) not in expected:
        raise RegistrationError(
            f"{where}: {role}={name!r} must name a field of type {expected[0]}; fields are {sorted(fields)}"
        )
