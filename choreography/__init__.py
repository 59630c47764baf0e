"""The language: who says what to whom."""

if __name__ == "choreography":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.choreography")

from importlib import import_module
from typing import TYPE_CHECKING

from .annotations import (
    AnnotationRecord,
    GuardCommand,
    MessageAnnotations,
    annotation_records,
    guard_commands,
    lower_annotations,
    read_annotations,
)
from .ast import Choreography, Extension
from .compiled import (
    Checked,
    CompiledProtocol,
    check_text,
    check_tree,
    choreography,
    compile_choreography,
    project,
    protocol_of,
)
from .core import GlobalType
from .dsl.extensions import ExtensionConflict, Extensions, StatementExtension
from .dsl.format import format_choreography
from .dsl.parse import ParseResult, parse, parse_choreography_file, parse_choreography_str
from .duality import dual, is_dual
from .errors import ChoreographyError, Problem, render, render_all
from .local import (
    LocalAct,
    LocalBranch,
    LocalEnd,
    LocalRec,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalTimeout,
    LocalType,
    LocalVar,
    is_equivalent,
    show_local,
)
from .lower import Lowered, explain_lowering, inline, lower
from .merge import Conflict, MergeMode, merge_local
from .node import Span
from .project import ProjectableExtension, Projections, Refusal, project_all, project_global
from .refusal import ProjectionError, explain_refusals
from .roles import BindResult, bind
from .validate import TierResult, tier_of, validate

if TYPE_CHECKING:
    from .bounded import until_label as until_label
    from .bounded import with_actions_at_most as with_actions_at_most
    from .bounded import with_fuel as with_fuel
    from .coherence import Coherence as Coherence
    from .coherence import form_findings as form_findings
    from .draw import machine_mermaid as machine_mermaid
    from .draw import machine_svg as machine_svg
    from .draw import sequence_mermaid as sequence_mermaid
    from .draw import sequence_svg as sequence_svg
    from .explain import explain_protocol as explain_protocol
    from .exploring import Exploration as Exploration
    from .exploring import Fault as Fault
    from .exploring import explore as explore
    from .fsm import State as State
    from .fsm import StateMachine as StateMachine
    from .fsm import Transition as Transition
    from .fsm import Violation as Violation
    from .fsm import build_machine as build_machine
    from .identity import content_id as content_id
    from .knowledge import ChoiceKnowledge as ChoiceKnowledge
    from .knowledge import RoleKnowledge as RoleKnowledge
    from .knowledge import choice_knowledge as choice_knowledge
    from .manifest import CompositionManifest as CompositionManifest
    from .manifest import build_manifest as build_manifest
    from .manifest import check_links as check_links
    from .payloads import MessageSpec as MessageSpec
    from .program import FootprintOverlap as FootprintOverlap
    from .program import Program as Program
    from .program import ProgramFault as ProgramFault
    from .program import Tried as Tried
    from .program import check_program as check_program
    from .semantics import LocalSystem as LocalSystem
    from .semantics import Move as Move
    from .semantics import global_moves as global_moves
    from .semantics import global_step as global_step
    from .simulation import Run as Run
    from .simulation import RunEvent as RunEvent
    from .simulation import simulate as simulate
    from .stubs import generate_stubs as generate_stubs
    from .subtyping import is_async_subtype as is_async_subtype
    from .subtyping import is_subtype as is_subtype
    from .subtyping import subtype_mismatch as subtype_mismatch

__all__ = [
    "FootprintOverlap",
    "Program",
    "ProgramFault",
    "Tried",
    "check_program",
    "AnnotationRecord",
    "BindResult",
    "Checked",
    "ChoiceKnowledge",
    "Choreography",
    "ChoreographyError",
    "Coherence",
    "CompiledProtocol",
    "CompositionManifest",
    "Conflict",
    "Exploration",
    "Extension",
    "ExtensionConflict",
    "Extensions",
    "Fault",
    "GlobalType",
    "GuardCommand",
    "LocalAct",
    "LocalBranch",
    "LocalEnd",
    "LocalRec",
    "LocalRecv",
    "LocalRepeat",
    "LocalSend",
    "LocalSystem",
    "LocalTimeout",
    "LocalType",
    "LocalVar",
    "Lowered",
    "MergeMode",
    "MessageSpec",
    "MessageAnnotations",
    "Move",
    "ParseResult",
    "Problem",
    "ProjectableExtension",
    "ProjectionError",
    "Projections",
    "Refusal",
    "RoleKnowledge",
    "Run",
    "RunEvent",
    "Span",
    "State",
    "StateMachine",
    "StatementExtension",
    "TierResult",
    "Transition",
    "Violation",
    "annotation_records",
    "bind",
    "build_machine",
    "build_manifest",
    "check_links",
    "check_text",
    "check_tree",
    "choice_knowledge",
    "choreography",
    "compile_choreography",
    "content_id",
    "dual",
    "explain_lowering",
    "explain_protocol",
    "explain_refusals",
    "explore",
    "form_findings",
    "format_choreography",
    "generate_stubs",
    "global_moves",
    "global_step",
    "guard_commands",
    "inline",
    "is_async_subtype",
    "is_dual",
    "is_equivalent",
    "is_subtype",
    "lower",
    "lower_annotations",
    "machine_mermaid",
    "machine_svg",
    "merge_local",
    "parse",
    "parse_choreography_file",
    "parse_choreography_str",
    "project",
    "project_all",
    "project_global",
    "protocol_of",
    "read_annotations",
    "render",
    "render_all",
    "sequence_mermaid",
    "sequence_svg",
    "show_local",
    "simulate",
    "subtype_mismatch",
    "tier_of",
    "until_label",
    "validate",
    "with_actions_at_most",
    "with_fuel",
]

# Loaded on first use: checking a protocol needs none of them, and a command line pays for every import.
_LAZY = {
    "until_label": "bounded",
    "with_actions_at_most": "bounded",
    "with_fuel": "bounded",
    "Coherence": "coherence",
    "form_findings": "coherence",
    "machine_mermaid": "draw",
    "machine_svg": "draw",
    "sequence_mermaid": "draw",
    "sequence_svg": "draw",
    "explain_protocol": "explain",
    "Exploration": "exploring",
    "Fault": "exploring",
    "explore": "exploring",
    "State": "fsm",
    "StateMachine": "fsm",
    "Transition": "fsm",
    "Violation": "fsm",
    "build_machine": "fsm",
    "content_id": "identity",
    "ChoiceKnowledge": "knowledge",
    "RoleKnowledge": "knowledge",
    "choice_knowledge": "knowledge",
    "CompositionManifest": "manifest",
    "build_manifest": "manifest",
    "check_links": "manifest",
    "MessageSpec": "payloads",
    "FootprintOverlap": "program",
    "Program": "program",
    "ProgramFault": "program",
    "Tried": "program",
    "check_program": "program",
    "LocalSystem": "semantics",
    "Move": "semantics",
    "global_moves": "semantics",
    "global_step": "semantics",
    "Run": "simulation",
    "RunEvent": "simulation",
    "simulate": "simulation",
    "generate_stubs": "stubs",
    "is_async_subtype": "subtyping",
    "is_subtype": "subtyping",
    "subtype_mismatch": "subtyping",
}


def __getattr__(name: str) -> object:
    home = _LAZY.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value
