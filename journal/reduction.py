"""Context reduction: what the facts of one namespace bind, who may have learned how much, and which epochs are final.

A pure function of the set of facts; no signal, no screen. Rights are not judged here but for the actor being the
signer: views do that. Source of the channel rules: ``facts/protocol.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from antiphon.facts import Binding, FactId, FactRecord, FactRegistry, Namespace
from antiphon.facts.bindings import binding_of_decoded
from antiphon.facts.encoding import INTEGER_MAX
from antiphon.facts.protocol import ChannelEpochCommitted, LeakageRecorded, ObserverClass, is_certified

from .errors import NamespaceMismatch
from .state import JournalState


class ContextMismatch(NamespaceMismatch):
    """The facts of one context were to be reduced as those of another; nothing was reduced."""


class ContextAsAuthority(ContextMismatch):
    """The facts of a context that several share were to be reduced as one authority's own."""


class AuthorityAsContext(ContextMismatch):
    """The facts of an authority's own context were to be reduced as those of a context that several share."""


# What an authority says to itself alone: its notes, and what it keeps to itself about others.
_OWN_CONTEXT = re.compile(r"(note|contacts)\.[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ChannelEpoch:
    """How far a channel is: its epoch, and whether two ways lead out of it, so that none counts."""

    epoch: int = 0
    is_contested: bool = False


@dataclass(frozen=True, slots=True)
class RelationalState:
    """What a context's facts amount to. Bindings by fact; leakage by class of observer, held at 2^63 - 1."""

    namespace: Namespace
    bindings: Mapping[FactId, Binding] = field(default_factory=dict)
    leakage: Mapping[ObserverClass, int] = field(default_factory=dict)
    epochs: Mapping[str, ChannelEpoch] = field(default_factory=dict)

    def of_type(self, binding_type: str) -> frozenset[Binding]:
        """The distinct bindings of one sub-type, such as ``guardian-binding``."""
        return frozenset(each for each in self.bindings.values() if each.binding_type == binding_type)


def reduce_context(state: JournalState, registry: FactRegistry, *, context_id: str) -> RelationalState:
    """Reduce the facts of *context_id*: every member binds, also one that cannot be read (as generic).

    Costs one decoding a fact. Raises ``ContextMismatch`` when *state* is another namespace's: ``AuthorityAsContext`` or
    ``ContextAsAuthority`` when one of the two is an authority's own (``note.<authority>``, ``contacts.<authority>``).

    >>> from antiphon.facts import DEFAULT_NAMESPACE, build_fact_registry
    >>> empty = JournalState(DEFAULT_NAMESPACE)
    >>> dict(reduce_context(empty, build_fact_registry(), context_id=DEFAULT_NAMESPACE).bindings)
    {}
    """
    if state.namespace != context_id:
        raise _mismatch_of(state.namespace, context_id)(
            f"these are facts of {state.namespace}, not of {context_id}; reduce each namespace as what it is"
        )
    bindings: dict[FactId, Binding] = {}
    leakage: dict[ObserverClass, int] = {}
    ways: dict[str, dict[int, set[str]]] = {}
    for record in state.iter_facts():
        fact = registry.decode(record)
        bindings[record.fact_id] = binding_of_decoded(fact, record, context_id=context_id)
        if isinstance(fact, LeakageRecorded) and _is_signed(fact.actor_id, record):
            leakage[fact.observer] = min(leakage.get(fact.observer, 0) + fact.amount, INTEGER_MAX)
        elif isinstance(fact, ChannelEpochCommitted) and _is_signed(fact.actor_id, record) and is_certified(fact):
            ways.setdefault(fact.channel_id, {}).setdefault(fact.parent_epoch, set()).add(fact.transition_id)
    epochs = {channel: _walk(by_parent) for channel, by_parent in sorted(ways.items())}
    return RelationalState(
        state.namespace, MappingProxyType(bindings), MappingProxyType(leakage), MappingProxyType(epochs)
    )


def _mismatch_of(namespace: str, wanted: str) -> type[ContextMismatch]:
    """Which mistake it was."""
    is_own, is_own_wanted = (_OWN_CONTEXT.fullmatch(each) is not None for each in (namespace, wanted))
    if is_own == is_own_wanted:
        return ContextMismatch
    return AuthorityAsContext if is_own else ContextAsAuthority


def _is_signed(actor: str, record: FactRecord) -> bool:
    return bool(actor) and actor == record.chain.authority


def _walk(by_parent: Mapping[int, set[str]]) -> ChannelEpoch:
    """From epoch 0 on, as long as exactly one way leads out."""
    epoch = 0
    while len(by_parent.get(epoch, ())) == 1:
        epoch += 1
    return ChannelEpoch(epoch, is_contested=len(by_parent.get(epoch, ())) > 1)
