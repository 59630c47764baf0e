"""``FactRegistry``: which fact types exist, at which versions, and how a record becomes a typed fact.

In memory and per journal; never module state. What a journal has met before is kept by the journal (registrations in
its log, the ``fact_types`` table in DuckDB) and compared here for drift.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import orjson

from .encoding import FactRecord, is_canonical
from .errors import DuplicateFactType, FactError, InvalidPayload, RegistrationError, SchemaDrift
from .fact import DerivedContext, Fact, FactType, with_record


class Registration(NamedTuple):
    """A type as a journal remembers it: kind, version, oldest readable version, schema (normal form as JSON) and its
    hash."""

    kind: str
    version: int
    min_version: int
    schema: str
    schema_hash: str


class GenericFact(NamedTuple):
    """A fact whose kind is not registered here (or is newer than the registered type): kept, relayed, shown as it
    is."""

    record: FactRecord
    payload: object


class FactProblem(NamedTuple):
    """A member fact that views must not show, with the reason: bad payload, erased, defective time."""

    record: FactRecord
    code: str
    text: str


Decoded = Fact | GenericFact | FactProblem
"""What decoding a record gives."""


class FactRegistry:
    """The fact types that one journal understands.

    >>> class Waved(Fact, kind="doc.waved", version=1):
    ...     to: str
    >>> registry = FactRegistry([Waved])
    >>> registry.is_registered("doc.waved"), registry.kinds()
    (True, ('doc.waved',))
    """

    def __init__(self, models: Iterable[type[Fact]] = ()) -> None:
        self._types: dict[str, FactType] = {}
        self._sql_names: dict[str, str] = {}
        self._known: dict[tuple[str, int], Registration] = {}
        self._has_unrecorded = True
        for model in models:
            self.register(model)

    def register(self, model: type[Fact]) -> FactType:
        """Make *model* known. The same declaration again is a no-op (the newest class object wins), and a newer version
        takes the place of the one before.

        Raises ``RegistrationError`` for a class without kind or with a gap between its upcasters, ``DuplicateFactType``
        when the kind or its SQL name is taken by another declaration, ``SchemaDrift`` when the journal knows this
        version with other fields.
        """
        fact_type: FactType | None = getattr(model, "fact_type", None)
        if fact_type is None or fact_type.model is not model:
            raise RegistrationError(
                f"{model.__name__} has no kind of its own; "
                f"declare it as class {model.__name__}(Fact, kind=..., version=...)"
            )
        _refuse_gap(fact_type)
        current = self._types.get(fact_type.kind)
        is_same_or_next = current is None or fact_type.version > current.version
        if current is not None and fact_type.version == current.version:
            is_same_or_next = fact_type.schema_hash == current.schema_hash
        if current is not None and not is_same_or_next:
            raise DuplicateFactType(
                f"{fact_type.kind} is already registered as {current.model.__qualname__} v{current.version}; "
                f"{model.__qualname__} v{fact_type.version} has other fields, so give it another kind or the next "
                "version"
            )
        holder = self._sql_names.get(fact_type.sql_name, fact_type.kind)
        if holder != fact_type.kind:
            raise DuplicateFactType(
                f"{fact_type.kind} and {holder} would share the SQL name {fact_type.sql_name}; rename one"
            )
        self._refuse_drift(fact_type)
        self._sql_names[fact_type.sql_name] = fact_type.kind
        self._types[fact_type.kind] = fact_type
        self._has_unrecorded = True
        return fact_type

    def remember(self, known: Iterable[Registration]) -> None:
        """Take over what the journal's log already holds; types registered here are checked against it at once."""
        for registration in known:
            self._known[registration.kind, registration.version] = registration
        for fact_type in self._types.values():
            self._refuse_drift(fact_type)

    def forget(self, known: Iterable[Registration]) -> None:
        """Take back registrations that did not become durable after all."""
        for registration in known:
            self._known.pop((registration.kind, registration.version), None)
        self._has_unrecorded = True

    def unrecorded(self) -> tuple[Registration, ...]:
        """Registered types that the journal's log does not hold yet; asked once a window, usually answered for free."""
        if not self._has_unrecorded:
            return ()
        self._has_unrecorded = False
        return tuple(
            registration_of(fact_type)
            for fact_type in self._types.values()
            if (fact_type.kind, fact_type.version) not in self._known
        )

    def get(self, kind: str) -> FactType | None:
        """The type of a kind, or None."""
        return self._types.get(kind)

    def is_registered(self, kind: str) -> bool:
        """Whether facts of *kind* can be decoded here."""
        return kind in self._types

    def kinds(self) -> tuple[str, ...]:
        """All registered kinds, sorted."""
        return tuple(sorted(self._types))

    def registered_types(self) -> Iterator[FactType]:
        """All registered types, by kind."""
        return (self._types[kind] for kind in sorted(self._types))

    def recorded(self) -> Mapping[tuple[str, int], Registration]:
        """What the journal's log holds, by kind and version."""
        return dict(self._known)

    def decode(self, record: FactRecord, *, is_trusted: bool = False) -> Decoded:
        """Turn a record into its typed fact, a generic one, or the reason why views must not show it. Never raises.

        *is_trusted* (written by this journal itself) skips the canonical check of the payload.
        """
        payload = record.payload
        if payload is None:
            return FactProblem(record, "erased", "the payload was erased")
        if not is_trusted and not is_canonical(payload):
            return FactProblem(
                record, "not-canonical", f"a {record.kind} payload is not canonical JSON (payload len={len(payload)})"
            )
        fact_type = self._types.get(record.kind)
        if fact_type is None or record.version > fact_type.version:
            return GenericFact(record, orjson.loads(payload))
        try:
            fact = fact_type.decode(payload, version=record.version)
        except FactError as problem:
            return FactProblem(
                record,
                "undecodable",
                f"Failed to decode {record.kind} envelope (payload len={len(payload)}): {problem}",
            )
        if fact_type.time is not None and getattr(fact, fact_type.time) != record.at:
            return FactProblem(
                record, "time-mismatch", f"{record.kind}.{fact_type.time} disagrees with the header's time {record.at}"
            )
        if fact_type.names_context and not _is_at_home(fact_type, fact, record):
            return FactProblem(
                record,
                "context-mismatch",
                f"{record.kind}.{fact_type.context or 'context'} disagrees with the namespace {record.chain.namespace}",
            )
        return with_record(fact, record)

    def _refuse_drift(self, fact_type: FactType) -> None:
        known = self._known.get((fact_type.kind, fact_type.version))
        if known is not None and known.schema_hash != fact_type.schema_hash:
            raise SchemaDrift(
                f"{fact_type.kind} v{fact_type.version} has other fields here than in this journal "
                f"(schema {fact_type.schema_hash[:8]}, journal {known.schema_hash[:8]}); raise version= and add an "
                "@upcast"
            )


def _refuse_gap(fact_type: FactType) -> None:
    """Refuse upcasters that lead nowhere: from the oldest one on, each step must be there up to what is readable."""
    steps = range(min(fact_type.upcasters, default=fact_type.version), fact_type.min_version)
    missing = [step for step in steps if step not in fact_type.upcasters]
    if missing:
        raise RegistrationError(
            f"{fact_type.kind}: there are upcasters from version {steps.start} on, but none from {missing[0]} to "
            f"{missing[0] + 1}; add it before the type is registered"
        )


def _is_at_home(fact_type: FactType, fact: Fact, record: FactRecord) -> bool:
    """Whether a fact stands in the namespace that it names, or names none itself."""
    try:
        named = fact_type.context_of(fact)
        return named == record.chain.namespace or isinstance(named, DerivedContext)
    except Exception:  # a user's function ends here: this fact is left out, others go on
        return False


def registration_of(fact_type: FactType) -> Registration:
    """What the journal writes down about a type."""
    schema = orjson.dumps(fact_type.fields, option=orjson.OPT_SORT_KEYS).decode()
    return Registration(fact_type.kind, fact_type.version, fact_type.min_version, schema, fact_type.schema_hash)


def check_payload(fact_type: FactType, payload: bytes) -> Fact:
    """Decode a payload of the current version or raise; what an importer uses before committing foreign data."""
    if not is_canonical(payload):
        raise InvalidPayload(f"a {fact_type.kind} payload is not canonical JSON")
    return fact_type.decode(payload)
