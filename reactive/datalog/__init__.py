"""A small Datalog: rules over tables, stratified negation, a few builtins, named rows, and a bound on everything."""

from .engine import LimitExceeded as LimitExceeded
from .engine import Limits as Limits
from .engine import Table as Table
from .engine import solve as solve
from .parser import parse_datalog as parse_datalog
from .program import DatalogError as DatalogError
from .program import DatalogProgram as DatalogProgram
