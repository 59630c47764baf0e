"""The nerves: facts in, changed values out."""

if __name__ == "reactive":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.reactive")

from .commit import PendingCommit as PendingCommit
from .derived import LiveSignal as LiveSignal
from .errors import BackPressure as BackPressure
from .errors import CycleDetected as CycleDetected
from .errors import EmissionFailed as EmissionFailed
from .errors import HandlerUnavailable as HandlerUnavailable
from .errors import ReactiveError as ReactiveError
from .errors import SchedulerShutdown as SchedulerShutdown
from .errors import SignalAlreadyRegistered as SignalAlreadyRegistered
from .errors import SignalNotFound as SignalNotFound
from .errors import SubscriptionClosed as SubscriptionClosed
from .errors import TypeMismatch as TypeMismatch
from .hub import SignalHub as SignalHub
from .hub import SignalOwner as SignalOwner
from .hub import SignalStatistics as SignalStatistics
from .predicate import FactPredicate as FactPredicate
from .scheduler import BatchDone as BatchDone
from .scheduler import Clock as Clock
from .scheduler import SchedulerConfig as SchedulerConfig
from .scheduler import SchedulerStatistics as SchedulerStatistics
from .scheduler import ViewChanged as ViewChanged
from .scheduler import ViewStatistics as ViewStatistics
from .signal import ERROR_SIGNAL as ERROR_SIGNAL
from .signal import AppError as AppError
from .signal import Signal as Signal
from .signal import Snapshot as Snapshot
from .signal import Update as Update
from .sink import FactSink as FactSink
from .streams import CommitTicket as CommitTicket
from .streams import ReactiveScheduler as ReactiveScheduler
from .streams import SignalStream as SignalStream
from .streams import open_stream as open_stream
from .subscription import DeliveryMode as DeliveryMode
from .subscription import LagWarning as LagWarning
from .subscription import Policy as Policy
from .subscription import Subscription as Subscription
from .unchanged import UNCHANGED as UNCHANGED
from .unchanged import Unchanged as Unchanged
from .view import Batch as Batch
from .view import SelectiveView as SelectiveView
from .view import View as View
from .view import WakingView as WakingView
from .view import plan_order as plan_order
from .window import Window as Window
from .window import WindowStatistics as WindowStatistics
