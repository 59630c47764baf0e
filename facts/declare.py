"""The decorators that make a class a fact type: ``@domain_fact``, and ``@ceremony_facts`` for the parts of a ceremony.

For classes that derive from ``Fact`` without a kind of their own. Everything is checked when the module is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, TypeVar

from .errors import RegistrationError
from .fact import ContextFunction, Fact, FactT, FactType
from .schema import field_type

CeremonyStage = Literal["initiated", "acceptance_received", "committed", "aborted", "superseded"]

ModelT = TypeVar("ModelT", bound=type[Fact])


def domain_fact(
    *,
    type_id: str,
    version: int = 1,
    min_version: int | None = None,
    context: str | None = None,
    context_fn: ContextFunction | None = None,
    time: str | None = None,
) -> Callable[[type[FactT]], type[FactT]]:
    """Make a subclass of ``Fact`` the fact type *type_id*, which belongs to a context that the fact itself names.

    Exactly one of *context* (the text field that names the namespace) and *context_fn* (a pure function from the fact
    to it) is given; *time* names the integer field with the fact's own time in ms. Raises ``RegistrationError`` when
    the module is imported: both or neither, an unknown field, or a class that has a kind already.

    >>> @domain_fact(type_id="doc.rated", context_fn=lambda fact: f"doc.{fact.book}")
    ... class Rated(Fact):
    ...     book: str
    >>> Rated.fact_type.context_of(Rated(book="emma"))
    'doc.emma'
    """
    if (context is None) == (context_fn is None):
        raise RegistrationError(
            f"@domain_fact(type_id={type_id!r}): give exactly one of context= (a field's name) and context_fn= "
            f"(a function of the fact); got {'neither' if context is None else 'both'}"
        )
    if context_fn is not None and not callable(context_fn):
        raise RegistrationError(
            f"@domain_fact(type_id={type_id!r}): context_fn takes a function of the fact; got {context_fn!r}. A field "
            "is named with context="
        )

    def declare(model: type[FactT]) -> type[FactT]:
        given: object = model
        if not isinstance(given, type) or not issubclass(given, Fact):
            raise RegistrationError(
                f"@domain_fact(type_id={type_id!r}) takes a class that derives from Fact; got {given!r}"
            )
        if "fact_type" in model.__dict__:
            raise RegistrationError(
                f"{model.__name__} is {model.fact_type.kind} already; leave kind= out where @domain_fact names the type"
            )
        model.fact_type = FactType.of(
            model,
            kind=type_id,
            version=version,
            context=context,
            time=time,
            min_version=version if min_version is None else min_version,
            context_function=context_fn,
        )
        return model

    return declare


_STAGES: Mapping[str, CeremonyStage] = MappingProxyType(
    {
        "Initiated": "initiated",
        "AcceptanceReceived": "acceptance_received",
        "Committed": "committed",
        "Aborted": "aborted",
        "Superseded": "superseded",
    }
)


def ceremony_facts(model: ModelT) -> ModelT:
    """Give a fact class the two accessors that every part of a domain with ceremonies has.

    ``ceremony_id`` is its ceremony (for one that was superseded the superseded one) and ``ceremony_timestamp_ms``
    when it was said; both are None for a fact that is no part of a ceremony. A class is one when its name ends in
    Initiated, AcceptanceReceived, Committed, Aborted or Superseded after ``Ceremony``, which also gives it its stage
    for ``ceremony_status``. Takes no arguments; raises ``RegistrationError`` when the fields for it are missing.

    >>> @ceremony_facts
    ... class PactCeremonyAborted(Fact, kind="doc.pact_aborted", version=1):
    ...     ceremony_id: str
    ...     reason: str
    ...     timestamp_ms: int
    >>> fact = PactCeremonyAborted(ceremony_id="c", reason="rain", timestamp_ms=7)
    >>> ceremony_id_of(fact), ceremony_timestamp_of(fact), ceremony_stage_of(fact)
    ('c', 7, 'aborted')
    """
    given: object = model
    if not isinstance(given, type) or not issubclass(given, Fact):
        raise RegistrationError(f"@ceremony_facts is written without arguments above a class of facts; got {given!r}")
    _, found, ending = model.__name__.rpartition("Ceremony")
    stage = _STAGES.get(ending) if found else None
    fields = model.fact_type.fields if "fact_type" in model.__dict__ else None
    if fields is None:
        raise RegistrationError(f"{model.__name__} has no kind; name it first, then put @ceremony_facts above")
    if stage is not None:
        named = ("superseded_ceremony_id", "superseding_ceremony_id") if stage == "superseded" else ("ceremony_id",)
        wanted = {**dict.fromkeys(named, "text"), "timestamp_ms": "integer"}
        missing = [name for name, kind in wanted.items() if name not in fields or field_type(fields[name]) != kind]
        if missing:
            raise RegistrationError(
                f"{model.__name__} is the {stage} part of a ceremony, so it needs {', '.join(missing)} "
                "(ids are text, the timestamp an integer in ms)"
            )
    _accessor(model, "ceremony_id", "superseded_ceremony_id" if stage == "superseded" else None)
    _accessor(model, "ceremony_timestamp_ms", "timestamp_ms" if stage else None)
    setattr(model, _STAGE, stage)
    return model


_STAGE = "__ceremony_stage__"


def ceremony_stage_of(fact: Fact) -> CeremonyStage | None:
    """Which part of a ceremony *fact* is; None when it is none."""
    return getattr(type(fact), _STAGE, None)


def ceremony_id_of(fact: Fact) -> str | None:
    """The ceremony that *fact* is a part of; None when it is none."""
    return None if ceremony_stage_of(fact) is None else getattr(fact, "ceremony_id")  # noqa: B009


def ceremony_timestamp_of(fact: Fact) -> int | None:
    """When *fact* was said in its ceremony, in ms; None when it is no part of one."""
    return None if ceremony_stage_of(fact) is None else getattr(fact, "ceremony_timestamp_ms")  # noqa: B009


def _accessor(model: type[Fact], name: str, field: str | None) -> None:
    """Make *name* readable on facts of *model*: the field of that name when there is one, *field*, or None."""
    if name not in model.model_fields:
        setattr(model, name, property(lambda fact: None if field is None else getattr(fact, field)))
