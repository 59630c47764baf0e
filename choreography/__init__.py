"""The language: who says what to whom."""

if __name__ == "choreography":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.choreography")

from .annotations import (
    AnnotationRecord,
    GuardCommand,
    MessageAnnotations,
    annotation_records,
    guard_commands,
    lower_annotations,
    read_annotations,
)
from .ast import Choreography
from .core import GlobalType
from .dsl.extensions import ExtensionConflict, Extensions, StatementExtension
from .dsl.format import format_choreography
from .dsl.parse import ParseResult, parse, parse_choreography_file, parse_choreography_str
from .errors import ChoreographyError, Problem, render, render_all
from .lower import Lowered, explain_lowering, inline, lower
from .node import Span
from .roles import BindResult, bind
from .validate import TierResult, tier_of, validate

__all__ = [
    "AnnotationRecord",
    "BindResult",
    "Choreography",
    "ChoreographyError",
    "ExtensionConflict",
    "Extensions",
    "GlobalType",
    "GuardCommand",
    "Lowered",
    "MessageAnnotations",
    "ParseResult",
    "Problem",
    "Span",
    "StatementExtension",
    "TierResult",
    "annotation_records",
    "bind",
    "explain_lowering",
    "format_choreography",
    "guard_commands",
    "inline",
    "lower",
    "lower_annotations",
    "parse",
    "parse_choreography_file",
    "parse_choreography_str",
    "read_annotations",
    "render",
    "render_all",
    "tier_of",
    "validate",
]
