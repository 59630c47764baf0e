"""Topologies that run: handlers and addresses that follow from where roles are."""

from .addresses import own_address, peer_addresses
from .deployment import Deployment
from .door import TurnedAway
from .factory import MeetingPlace, Places, TransportFactory
from .handler import TopologyHandler, TopologyStatistics

__all__ = [
    "Deployment",
    "MeetingPlace",
    "Places",
    "TopologyHandler",
    "TopologyStatistics",
    "TransportFactory",
    "TurnedAway",
    "own_address",
    "peer_addresses",
]
