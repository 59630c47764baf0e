"""The demo: two replicas in two processes converse, part, edit while apart, meet again and agree."""

from .command import run_demo

__all__ = ["run_demo"]
