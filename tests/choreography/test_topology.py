"""Topologies: the text, the verdicts in their order, what resolves where, what lies between."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.choreography import compile_choreography
from antiphon.choreography.topology import (
    LOCAL,
    AboveMaximum,
    BelowMinimum,
    Boundary,
    BranchRequirement,
    Colocated,
    ColocatedRoles,
    ConstraintViolation,
    InsufficientCapacity,
    InvalidTopology,
    MissingRole,
    ParsedTopology,
    PinnedRole,
    Placement,
    RegionConflict,
    RegionOfRole,
    Remote,
    RoleFamilyConstraint,
    SeparatedRoles,
    Topology,
    TopologyEndpoint,
    TopologyError,
    TopologyLoadError,
    TopologySyntaxError,
    UnknownMode,
    UnknownRoleNamed,
    UnresolvedRole,
    boundaries,
    branch_requirements,
    load_topology,
    parse_topology,
    placements,
    region_of,
    resolve,
    transport_for,
    validate_topology,
)

FULL = """
topology Lend_Prod for Lend {
  mode: local                            // optional
  Shelf: shelf.lan:9000;
  Reader: local   /* here */
  Helper: colocated(Reader)
  Far: [2001:db8::1]:80
  role_constraints   { Voter: max = 5, min = 2; Peer: min = 1  Late: max = 3 }
  channel_capacities { Shelf -> Reader: 4  Reader -> Shelf: 0; }
  constraints {
    separated: Shelf, Reader
    colocated: Helper, Reader;
    pinned: Shelf -> shelf.lan:9000
    region: Shelf -> eu_west
  }
}
"""


def test_three_roles_of_a_constraint_are_every_pair_of_them() -> None:
    """Not the first two alone: the third would stand where it may not."""
    text = "topology T for P {{ A: local B: b.lan:1 C: local constraints {{ {}: A, B, C; region: A -> here }} }}".format
    parsed = parse_topology(text("separated"))
    topology = parsed.topology
    pairs = [SeparatedRoles("A", "B"), SeparatedRoles("A", "C"), SeparatedRoles("B", "C")]
    assert list(topology.constraints) == [*pairs, RegionOfRole("A", "here")]
    assert parse_topology(parsed.to_text()) == parsed
    verdict = topology.validate(["A", "B", "C"])
    assert isinstance(verdict, ConstraintViolation)
    assert verdict.constraint == SeparatedRoles("A", "C")
    assert len(parse_topology(text("colocated")).topology.constraints) == 4
    with pytest.raises(TopologySyntaxError, match="a role's name"):
        parse_topology(text("separated").replace("A, B, C", "A, B,"))


def test_every_form_of_the_text_is_read() -> None:
    name, protocol, topology = parse_topology(FULL)
    assert (name, protocol, topology.mode) == ("Lend_Prod", "Lend", "local")
    shelf = Remote(TopologyEndpoint("shelf.lan", 9000))
    assert topology.locations == {
        "Shelf": shelf,
        "Reader": LOCAL,
        "Helper": Colocated("Reader"),
        "Far": Remote(TopologyEndpoint("2001:db8::1", 80)),
    }
    assert topology.role_constraints == {
        "Voter": RoleFamilyConstraint(2, 5),
        "Peer": RoleFamilyConstraint(1),
        "Late": RoleFamilyConstraint(0, 3),
    }
    assert topology.channel_capacities == {("Shelf", "Reader"): 4, ("Reader", "Shelf"): 0}
    assert topology.constraints == (
        SeparatedRoles("Shelf", "Reader"),
        ColocatedRoles("Helper", "Reader"),
        PinnedRole("Shelf", shelf),
        RegionOfRole("Shelf", "eu_west"),
    )


@pytest.mark.parametrize("mode", ["per_role", "kubernetes(prod)", "consul(dc1)", "nonsense"])
def test_another_mode_is_refused_with_its_text_and_place(mode: str) -> None:
    with pytest.raises(UnknownMode) as caught:
        parse_topology(f"topology A for B {{\n  mode: {mode}\n}}")
    assert (caught.value.mode, caught.value.line, caught.value.column) == (mode, 2, 9)


@pytest.mark.parametrize(
    ("body", "line", "column", "says"),
    [
        ("Ada: ada.lan", 2, 6, "no port"),
        ("Ada: ada.lan:", 2, 6, "no port"),
        ("Ada: ada.lan:0", 2, 6, "port 0"),
        ("Ada: ada.lan:65536", 2, 6, "65536"),
        ("Ada: -ada:1", 2, 6, "no host"),
        ("Ada: ::1:80", 2, 6, "brackets"),
        ("Ada: [ada]:80", 2, 6, "brackets"),
        ("Ada local", 2, 5, "`:`"),
        ("Ada: local\nAda: local", 3, 1, "already"),
        ("Ada: colocated(", 3, 1, "role's name"),
        ("Ada: local\nmode: local", 3, 1, "before all roles"),
        ("channel_capacities { A -> B: 1025 }", 2, 30, "0..1024"),
        ("channel_capacities { A -> B: 99999999999999999999 }", 2, 30, "0..1024"),
        ("channel_capacities { A -> B: 1 A -> B: 2 }", 2, 32, "already"),
        ("channel_capacities { A: 1 }", 2, 23, "`->`"),
        ("role_constraints { V: min = 5, max = 2 }", 2, 20, "exchange"),
        ("role_constraints { V: some = 5 }", 2, 23, "`min` or `max`"),
        ("role_constraints { V: min = 1, min = 2 }", 2, 32, "`min` or `max`"),
        ("role_constraints { V: min = 1 V: min = 2 }", 2, 31, "already"),
        ("constraints { near: A, B }", 2, 15, "colocated"),
        ("constraints { }\nchannel_capacities { }", 3, 1, "order"),
        ("constraints { }\nAda: local", 3, 1, "order"),
        ("/* open", 2, 1, "never closed"),
    ],
)
def test_what_is_no_topology_is_refused_where_it_is_wrong(body: str, line: int, column: int, says: str) -> None:
    text = f"topology A for B {{\n{body}\n}}"
    with pytest.raises(TopologySyntaxError) as caught:
        parse_topology(text)
    assert (caught.value.line, caught.value.column) == (line, column), str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["", "topology", "topology A {", "topology A for B", "topology A for B { } x"])
def test_half_a_topology_is_none(text: str) -> None:
    with pytest.raises(TopologySyntaxError):
        parse_topology(text)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for whole in (text, f"topology A for B {{ {text} }}"):
        try:
            parse_topology(whole)
        except TopologySyntaxError as problem:
            place = (problem.line, problem.column)
        else:
            place = (1, 1)
        assert min(place) >= 1


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name != "mode")
ROLES = st.one_of(NAMES, st.builds(lambda name, number: f"{name}[{number}]", NAMES, st.integers(0, 9)))
HOSTS = st.one_of(
    st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,3})?(\.[a-z0-9]{1,4}){0,2}", fullmatch=True),
    st.ip_addresses().map(str),
)
ENDPOINTS = st.builds(TopologyEndpoint.of, HOSTS, st.integers(1, 65_535))
LOCATIONS = st.one_of(st.just(LOCAL), st.builds(Remote, ENDPOINTS), st.builds(Colocated, ROLES))
FAMILIES = st.builds(
    lambda least, more: RoleFamilyConstraint(least, None if more is None else least + more),
    st.integers(0, 9),
    st.none() | st.integers(0, 9),
)
CONSTRAINTS = st.one_of(
    st.builds(ColocatedRoles, ROLES, ROLES),
    st.builds(SeparatedRoles, ROLES, ROLES),
    st.builds(PinnedRole, ROLES, LOCATIONS),
    st.builds(RegionOfRole, ROLES, st.from_regex(r"[a-z][a-z0-9]{0,3}([_-][a-z0-9]{1,3})?", fullmatch=True)),
)
TOPOLOGIES = st.builds(
    Topology,
    st.dictionaries(ROLES, LOCATIONS, max_size=5),
    st.dictionaries(st.tuples(ROLES, ROLES), st.integers(0, 1024), max_size=4),
    st.lists(CONSTRAINTS, max_size=5).map(tuple),
    st.dictionaries(NAMES, FAMILIES, max_size=3),
    st.sampled_from(["local", None]),
)


@given(NAMES, NAMES, TOPOLOGIES)
def test_what_is_written_is_read_back(name: str, protocol: str, topology: Topology) -> None:
    parsed = ParsedTopology(name, protocol, topology)
    text = parsed.to_text()
    again = parse_topology(text)
    assert again == parsed
    assert again.to_text() == text


def test_a_file_that_is_missing_and_one_that_is_wrong_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(TopologyLoadError) as missing:
        load_topology(tmp_path / "none.topology")
    assert missing.value.kind == "io"
    assert isinstance(missing.value.__cause__, FileNotFoundError)
    for number, bad in enumerate((b"topology ?", b"\xff\xfe")):
        path = tmp_path / f"bad{number}.topology"
        path.write_bytes(bad)
        with pytest.raises(TopologyLoadError) as wrong:
            load_topology(path)
        assert wrong.value.kind == "parse"
    good = tmp_path / "good.topology"
    good.write_text(FULL, encoding="utf-8")
    assert load_topology(good).name == "Lend_Prod"


def build(text: str) -> Topology:
    return parse_topology(f"topology T for P {{ {text} }}").topology


ADA_BOB = ["Ada", "Bob"]
HERE = "Ada: local Bob: local"
APART = "Ada: a.lan:1 Bob: b.lan:1"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (HERE, None),
        ("mode: local", None),
        ("Ada: local Eve: local", UnknownRoleNamed("Eve")),
        ("Ada: colocated(Eve) Bob: local", UnknownRoleNamed("Eve")),
        ("Ada: local", MissingRole("Bob")),
        # The order: an unknown place before a missing one, that before an unknown name, that before what must hold.
        ("Eve: local channel_capacities { Zoe -> Ada: 1 }", UnknownRoleNamed("Eve")),
        ("Ada: local channel_capacities { Eve -> Ada: 1 }", MissingRole("Bob")),
        (f"{HERE} channel_capacities {{ Eve -> Ada: 1 }}", UnknownRoleNamed("Eve")),
        (f"{HERE} constraints {{ separated: Ada, Bob separated: Ada, Eve }}", UnknownRoleNamed("Eve")),
        (f"{HERE} constraints {{ pinned: Ada -> colocated(Eve) }}", UnknownRoleNamed("Eve")),
        (f"{HERE} constraints {{ separated: Ada, Bob }}", "both are at local"),
        (f"{APART} constraints {{ separated: Ada, Bob }}", None),
        (f"{APART} constraints {{ colocated: Ada, Bob }}", "Ada is at a.lan:1, Bob at b.lan:1"),
        ("Ada: a.lan:1 Bob: colocated(Ada) constraints { colocated: Ada, Bob }", None),
        ("Ada: a.lan:1 Bob: colocated(Ada) constraints { separated: Ada, Bob }", "both are at a.lan:1"),
        (f"{APART} constraints {{ pinned: Ada -> a.lan:1 }}", None),
        (f"{APART} constraints {{ pinned: Ada -> a.lan:2 }}", "Ada is at a.lan:1"),
        ("Ada: colocated(Bob) Bob: colocated(Ada)", "cyclic colocated placement"),
        (f"{HERE} constraints {{ region: Ada -> x region: Ada -> x region: Bob -> y }}", None),
        (f"{HERE} constraints {{ region: Ada -> x region: Ada -> y }}", "Ada: it is in y and in x"),
        (
            "Ada: local Bob: colocated(Ada) constraints { region: Ada -> x region: Bob -> y }",
            "Bob: it is in y, and Ada, whose place it shares, in x",
        ),
        (
            "Ada: local Bob: colocated(Ada) constraints { region: Bob -> y region: Ada -> x }",
            "Ada: it is in x, and Bob, whose place it shares, in y",
        ),
    ],
)
def test_the_first_failure_is_the_verdict(text: str, verdict: object) -> None:
    found = validate_topology(build(text), ADA_BOB)
    if verdict is None:
        assert found.is_valid
        found.raise_for_failure()
    elif isinstance(verdict, str):
        assert isinstance(found, ConstraintViolation)
        assert verdict in found.reason
    else:
        assert found == verdict
        with pytest.raises(InvalidTopology):
            found.raise_for_failure()


FOUR_WAYS = """
protocol Pick =
  roles Ada, Bob
  choice Ada at
    | One => Ada -> Bob : One
    | Two => Ada -> Bob : Two
    | Three => Ada -> Bob : Three
  Bob -> Ada : Thanks
"""


@pytest.mark.parametrize(("bits", "is_enough"), [(0, False), (1, False), (2, True), (1024, True)])
def test_a_choice_must_fit_its_channel(bits: int, is_enough: bool) -> None:
    needs = branch_requirements(compile_choreography(FOUR_WAYS).global_type)
    topology = build(f"{HERE} channel_capacities {{ Ada -> Bob: {bits} Bob -> Ada: 0 }}")
    verdict = validate_topology(topology, ADA_BOB, needs)
    assert verdict.is_valid is is_enough
    if not is_enough:
        assert verdict == InsufficientCapacity("Ada", "Bob", 2, bits)


def test_a_channel_without_a_capacity_has_no_bound() -> None:
    needs = branch_requirements(compile_choreography(FOUR_WAYS).global_type)
    assert validate_topology(build(HERE), ADA_BOB, needs).is_valid


def test_families_keep_their_bounds() -> None:
    topology = build("role_constraints { Voter: min = 2, max = 5 }")
    for count in (2, 5):
        topology.validate_family("Voter", count)
    topology.validate_family("Anybody", 0)
    with pytest.raises(BelowMinimum, match=r"1 instances; at least 2"):
        topology.validate_family("Voter", 1)
    with pytest.raises(AboveMaximum, match=r"6 instances; at most 5"):
        topology.validate_family("Voter", 6)
    RoleFamilyConstraint.min_only(3).validate(10_000)
    with pytest.raises(TopologyError):
        RoleFamilyConstraint.bounded(5, 2)


PLACES = """
  Shelf: shelf.lan:9000 Copy: colocated(Shelf) Reader: local Helper: colocated(Reader) Friend: local
  constraints { region: Shelf -> eu region: Reader -> us region: Friend -> us }
"""


def test_places_are_followed_and_regions_inherited() -> None:
    topology = build(PLACES)
    assert resolve(topology, "Copy") == Remote(TopologyEndpoint("shelf.lan", 9000))
    assert [region_of(topology, role) for role in ("Copy", "Helper", "Friend")] == ["eu", "us", "us"]
    assert placements(topology, ["Helper", "Shelf", "Friend"]) == (
        Placement("Helper", "colocated", None, "Reader", "us"),
        Placement("Shelf", "remote", TopologyEndpoint("shelf.lan", 9000), None, "eu"),
        Placement("Friend", "local", None, None, "us"),
    )


def test_boundaries_are_told_for_each_pair() -> None:
    found = boundaries(build(PLACES), ["Reader", "Shelf", "Copy", "Helper", "Friend"])
    assert found == (
        Boundary("Copy", "Friend", "network", True),
        Boundary("Copy", "Helper", "network", True),
        Boundary("Copy", "Reader", "network", True),
        Boundary("Copy", "Shelf", "network", False),
        Boundary("Friend", "Helper", "shared_memory", False),
        Boundary("Friend", "Reader", "in_process", False),
        Boundary("Friend", "Shelf", "network", True),
        Boundary("Helper", "Reader", "shared_memory", False),
        Boundary("Helper", "Shelf", "network", True),
        Boundary("Reader", "Shelf", "network", True),
    )


def test_what_has_no_place_is_told() -> None:
    with pytest.raises(UnresolvedRole, match="no location"):
        resolve(build("Ada: colocated(Bob)"), "Ada")
    with pytest.raises(UnresolvedRole, match="cyclic"):
        resolve(build("Ada: colocated(Bob) Bob: colocated(Cyd) Cyd: colocated(Bob)"), "Ada")
    with pytest.raises(RegionConflict, match="one region"):
        region_of(build(f"{HERE} constraints {{ region: Ada -> x region: Ada -> y }}"), "Ada")


@pytest.mark.parametrize(
    ("role", "kind"),
    [("Reader", "in_memory"), ("Copy", "shared_memory"), ("Helper", "shared_memory"), ("Shelf", "tcp")],
)
def test_the_receivers_location_decides_what_carries(role: str, kind: str) -> None:
    assert transport_for(build(PLACES), role) == kind


def test_the_builder_says_the_same_as_the_text() -> None:
    shelf = Remote(TopologyEndpoint("shelf.lan", 9000))
    made = (
        Topology.builder()
        .mode("local")
        .remote_role("Shelf", "shelf.lan:9000")
        .local_role("Reader")
        .colocated_role("Helper", "Reader")
        .remote_role("Far", TopologyEndpoint("2001:db8::1", 80))
        .role_family_constraint("Voter", RoleFamilyConstraint.bounded(2, 5))
        .role_family_constraint("Peer", RoleFamilyConstraint.min_only(1))
        .role_family_constraint("Late", RoleFamilyConstraint(max=3))
        .channel_capacity("Shelf", "Reader", 4)
        .channel_capacity("Reader", "Shelf", 0)
        .separated("Shelf", "Reader")
        .colocated("Helper", "Reader")
        .pinned("Shelf", shelf)
        .region("Shelf", "eu_west")
        .build()
    )
    assert made == parse_topology(FULL).topology
    with pytest.raises(TopologyError, match=r"0\.\.1024"):
        Topology.builder().channel_capacity("A", "B", 1025).build()


def test_a_topology_answers_for_itself(tmp_path: Path) -> None:
    """What the functions say, a topology says too; and a file is read where it stands."""
    file = tmp_path / "prod.topology"
    file.write_text(
        "topology Prod for TwoPhaseCommit { Coordinator: local; A: localhost:9001; B: colocated(A) "
        "role_constraints { Participant: min = 2, max = 5 } channel_capacities { Coordinator -> A: 1 } "
        "constraints { region: A -> us_east_1 } }"
    )
    parsed = Topology.load(file)
    assert parsed == Topology.parse(file.read_text())
    topology, roles = parsed.topology, ["Coordinator", "A", "B"]
    assert topology.validate(roles).is_valid
    assert not topology.validate(roles[:2]).is_valid
    assert not topology.validate_with_branches(roles, [BranchRequirement("Coordinator", "A", 3)]).is_valid
    assert topology.resolve("B") == topology.locations["A"]
    assert (topology.region_for_role("B"), topology.region_for_role("Coordinator")) == ("us_east_1", None)
    assert topology.placement_observations_for_roles(roles) == placements(topology, roles)
    assert topology.transport_boundaries_for_roles(roles) == boundaries(topology, roles)


@pytest.mark.parametrize("mode", ["kubernetes(my ns)", "consul(a, b)", "per_role"])
def test_an_unknown_mode_is_told_with_its_whole_text(mode: str) -> None:
    with pytest.raises(UnknownMode) as caught:
        Topology.parse(f"topology Near for Lend {{ mode: {mode}\n A: local }}")
    assert caught.value.mode == mode


def test_a_topology_may_be_for_a_protocol_of_a_namespace() -> None:
    parsed = Topology.parse("topology Near for shop.lend.Lend { A: local }")
    assert parsed.for_protocol == "shop.lend.Lend"
    assert Topology.parse(parsed.to_text()) == parsed
