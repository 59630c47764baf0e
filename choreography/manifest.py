"""The composition manifest: what a compiled protocol is, asks for and offers, as data for whoever admits it.

Admits nothing and grants nothing: `check_links` says whether bundles fit, the runtime decides who runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from .annotations import BundleLink
from .ast import Choreography, Let, ProofBundle, Transfer
from .core import Comm, GlobalType, Local, nodes_below
from .identity import content_id
from .node import JsonValue

# What a protocol runs under that names no profile.
DETERMINISM_DEFAULT = "antiphon.machine.default"


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A bundle some messages of a protocol belong to, with everything they export from it and import into it."""

    bundle: str
    exports: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delegation:
    """A transfer the protocol makes: what, from whom, to whom."""

    subject: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class CompositionManifest:
    """What a compiled protocol says of itself. Same protocol, same manifest.

    `required_capabilities` come from the proof bundles it requires, `guard_capabilities` are asked of its senders in
    the order of the text; `determinism` are the profiles it runs under.
    """

    name: str
    namespace: str | None
    qualified_name: str
    protocol_id: str
    roles: tuple[str, ...]
    required_capabilities: tuple[str, ...]
    guard_capabilities: tuple[str, ...]
    links: tuple[LinkSpec, ...]
    delegations: tuple[Delegation, ...]
    determinism: tuple[str, ...]

    def capability(self, path: str) -> str:
        """The name of one of this module's own capabilities: `module:<protocol id>:<path>`."""
        return f"module:{self.protocol_id}:{path}"

    def to_json(self) -> dict[str, JsonValue]:
        """Everything as data, in a fixed order."""
        return {
            "name": self.name,
            "namespace": self.namespace,
            "qualified_name": self.qualified_name,
            "protocol_id": self.protocol_id,
            "roles": list(self.roles),
            "required_capabilities": list(self.required_capabilities),
            "guard_capabilities": list(self.guard_capabilities),
            "links": [
                {"bundle": link.bundle, "exports": list(link.exports), "imports": list(link.imports)}
                for link in self.links
            ],
            "delegations": [{"subject": one.subject, "from": one.source, "to": one.target} for one in self.delegations],
            "determinism": list(self.determinism),
        }


class Compiled(Protocol):
    """What a manifest is made of; a ``CompiledProtocol`` is it."""

    @property
    def choreography(self) -> Choreography:
        """The tree."""
        ...

    @property
    def global_type(self) -> GlobalType:
        """What was projected."""
        ...

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role, families bound."""
        ...


def build_manifest(protocol: Compiled) -> CompositionManifest:
    """The manifest of a compiled protocol; O(nodes)."""
    tree = protocol.choreography
    return CompositionManifest(
        name=tree.name,
        namespace=tree.namespace,
        qualified_name=tree.qualified_name,
        protocol_id=content_id(protocol.global_type),
        roles=protocol.roles,
        required_capabilities=_required(tree),
        guard_capabilities=_guarded(protocol.global_type),
        links=_links(protocol.global_type),
        delegations=tuple(_delegations(protocol.global_type)),
        determinism=tree.under or (DETERMINISM_DEFAULT,),
    )


def _required(tree: Choreography) -> tuple[str, ...]:
    bundles = {one.name: one for one in tree.declarations if isinstance(one, ProofBundle)}
    wanted = (bundles[name].capabilities for name in tree.requires if name in bundles)
    return tuple(dict.fromkeys(capability for several in wanted for capability in several))


def _guarded(root: GlobalType) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for node in nodes_below(root):
        for branch in node.branches if isinstance(node, Comm) else ():
            found |= dict.fromkeys(branch.annotations.guard_capabilities if branch.annotations else ())
    return tuple(found)


def _links(root: GlobalType) -> tuple[LinkSpec, ...]:
    found: dict[str, list[BundleLink]] = {}
    for node in nodes_below(root):
        for branch in node.branches if isinstance(node, Comm) else ():
            for link in branch.annotations.links if branch.annotations else ():
                found.setdefault(link.bundle, []).append(link)
    return tuple(
        LinkSpec(
            bundle,
            tuple(dict.fromkeys(name for link in links for name in link.exports)),
            tuple(dict.fromkeys(name for link in links for name in link.imports)),
        )
        for bundle, links in found.items()
    )


def _delegations(root: GlobalType) -> Iterator[Delegation]:
    for node in nodes_below(root):
        actions = [node.action] if isinstance(node, Local) else []
        # What the sender does between taking a branch and announcing it is kept with the branch.
        actions += [one for branch in node.branches for one in branch.before] if isinstance(node, Comm) else []
        for action in actions:
            if isinstance(action, Let) and isinstance(action.expression, Transfer):
                transfer = action.expression
                yield Delegation(transfer.subject, transfer.source.name, transfer.target.name)


@dataclass(frozen=True, slots=True)
class LinkFinding:
    """Why bundles do not fit: an import that no bundle exports, or an export that several do."""

    bundle: str
    name: str
    message: str


def check_links(manifests: Sequence[CompositionManifest]) -> tuple[LinkFinding, ...]:
    """Everything that does not fit between the bundles of several protocols; empty when they can be linked.

    What a bundle imports must be exported by exactly one other.
    """
    exporters: dict[str, list[str]] = {}
    links = [link for manifest in manifests for link in manifest.links]
    for link in links:
        for name in link.exports:
            if link.bundle not in exporters.setdefault(name, []):
                exporters[name].append(link.bundle)
    findings = [
        LinkFinding(bundles[1], name, f"{name} is exported by {' and '.join(bundles)}; let one of them import it")
        for name, bundles in exporters.items()
        if len(bundles) > 1
    ]
    for link in links:
        for name in link.imports:
            others = [bundle for bundle in exporters.get(name, ()) if bundle != link.bundle]
            if not others:
                found = f"bundle {link.bundle} imports {name}, which no other bundle exports; add it to one's exports"
                findings.append(LinkFinding(link.bundle, name, found))
    return tuple(dict.fromkeys(findings))
