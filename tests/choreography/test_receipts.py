"""Every receipt is consumed exactly once on every way through a protocol, calls and loops included."""

import pytest

from antiphon.choreography import parse


def body(*lines: str, where: str = "") -> str:
    return "\n".join(["protocol P =", "  roles A, B, C", *("  " + line for line in lines)]) + "\n" + where


def local(name: str, *lines: str) -> str:
    return "\n".join([f"  protocol {name} =", *("    " + line for line in lines)]) + "\n"


TAKE = "let r = transfer S from A to B"
GIVE = "handoff op to B with r"

REFUSED = {
    # The way that goes round ends without the receipt's use; the other way uses it after the choice.
    "leaks on the way back": (
        body(
            "rec X",
            f"  {TAKE}",
            "  choice A at",
            "    | again =>",
            "      A -> B : again",
            "      continue X",
            "    | done =>",
            "      A -> B : done",
            f"  {GIVE}",
        ),
        [("receipt_leaks", 8)],
    ),
    "leaks on the way back from both": (
        body("rec X", f"  {TAKE}", "  A -> B : m", "  continue X"),
        [("receipt_leaks", 6)],
    ),
    "leaks to the outer loop only": (
        body(
            "rec Y",
            f"  {TAKE}",
            "  rec X",
            "    choice A at",
            "      | inner => ",
            "        A -> B : inner",
            "        continue X",
            "      | outer =>",
            "        A -> B : outer",
            "        continue Y",
            "      | done => A -> B : done",
            f"  {GIVE}",
        ),
        [("receipt_leaks", 12)],
    ),
    "nothing ever ends": (body(TAKE, "loop forever", "  A -> B : m"), [("receipt_unused", 3)]),
    "no way out of the loop": (body(TAKE, "rec X", "  A -> B : m", "  continue X"), [("receipt_unused", 3)]),
    "twice, once in a call": (
        body(TAKE, GIVE, "call Q", "A -> B : m", where="where\n" + local("Q", GIVE)),
        [("receipt_twice", 9)],
    ),
    "twice, in two calls": (
        body(TAKE, "call Q", "call Q", "A -> B : m", where="where\n" + local("Q", GIVE)),
        [("receipt_twice", 9)],
    ),
    "twice, in a call of a call": (
        body(TAKE, "call Q", "A -> B : m", GIVE, where="where\n" + local("Q", "call R") + local("R", GIVE)),
        [("receipt_twice", 6)],
    ),
    "a call in a loop": (
        body(TAKE, "loop decide by A", "  A -> B : m", "  call Q", where="where\n" + local("Q", GIVE)),
        [("receipt_in_loop", 9)],
    ),
    "never, though something is called": (
        body(TAKE, "call Q", where="where\n" + local("Q", "A -> B : m")),
        [("receipt_unused", 3)],
    ),
    "bound in a call and never used": (
        body("call Q", "A -> B : m", where="where\n" + local("Q", TAKE)),
        [("receipt_unused", 7)],
    ),
    "nobody bound it": (body("A -> B : m", "handoff op to B with zz"), [("receipt_unbound", 4)]),
    "nobody bound it in what is called": (
        body("call Q", "A -> B : m", where="where\n" + local("Q", "handoff op to B with zz")),
        [("receipt_unbound", 7)],
    ),
    "bound in another branch": (
        body(
            "choice A at",
            "  | x =>",
            "    A -> B : x",
            f"    {TAKE}",
            f"    {GIVE}",
            "  | y =>",
            "    A -> B : y",
            f"    {GIVE}",
        ),
        [("receipt_unbound", 10)],
    ),
    "hidden by a binder": (
        body(TAKE, "case q of", "  | Ok(r) => A -> B : x(r)", "  | Err(e) => A -> B : y"),
        [("receipt_unused", 3)],
    ),
    "diverges although a third branch goes round": (
        body(
            "rec X",
            f"  {TAKE}",
            "  choice A at",
            "    | again =>",
            "      A -> B : again(r)",
            "      continue X",
            "    | one => A -> B : one(r)",
            "    | two => A -> B : two",
        ),
        [("receipt_diverges", 9)],
    ),
    "unused in an operation": (
        "operation o at A progress Q =\n  let r = transfer S from A to B\n  A -> B : n\n" + body("A -> B : m"),
        [("receipt_unused", 2)],
    ),
}

ACCEPTED = {
    "consumed on the way back": body(
        "rec X",
        f"  {TAKE}",
        "  choice A at",
        "    | again =>",
        "      A -> B : again(r)",
        "      continue X",
        "    | done =>",
        "      A -> B : done",
        f"  {GIVE}",
    ),
    "consumed before the inner loop goes on": body(
        TAKE,
        "rec X",
        "  choice A at",
        "    | again =>",
        "      A -> B : again",
        "      continue X",
        "    | done => A -> B : done",
        GIVE,
    ),
    "consumed in what is called": body(TAKE, "call Q", "A -> B : m", where="where\n" + local("Q", GIVE)),
    "consumed in a call of a call": body(
        TAKE, "call Q", "A -> B : m", where="where\n" + local("Q", "call R") + local("R", GIVE)
    ),
    "bound in what is called": body("call Q", "A -> B : m", GIVE, where="where\n" + local("Q", TAKE)),
    "bound and consumed in what is called twice": body(
        "call Q", "call Q", where="where\n" + local("Q", TAKE, "A -> B : m", GIVE)
    ),
    "a call in each branch": body(
        TAKE,
        "choice A at",
        "  | x =>",
        "    A -> B : x",
        "    call Q",
        "  | y =>",
        "    A -> B : y",
        "    call Q",
        where="where\n" + local("Q", GIVE),
    ),
    "a value of another kind": body("A -> B : m", "let t = f(x)", "handoff op to B with t"),
    "a value that a case binds": body(
        "case q of", "  | Just(t) =>", "    A -> B : x", "    handoff op to B with t", "  | Nothing => A -> B : y"
    ),
    "the parameter of an operation": (
        "operation o(t : Key) at A progress Q =\n  A -> B : n\n  handoff op to B with t\n" + body("A -> B : m")
    ),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_receipt_that_is_not_consumed_once_is_refused_at_its_place(
    text: str, expected: list[tuple[str, int]]
) -> None:
    found = [(item.code, item.span.line) for item in parse(text).problems if item.kind == "LinearReceipt"]
    assert found == expected


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_a_receipt_that_is_consumed_once_on_every_way_is_accepted(text: str) -> None:
    assert parse(text).render() == ""


def test_calls_that_double_each_time_are_followed_no_further_than_they_could_be_written_out() -> None:
    doubling = "".join(local(f"Q{n}", f"call Q{n + 1}", f"call Q{n + 1}") for n in range(60))
    text = body(TAKE, GIVE, "call Q0", "A -> B : m", where="where\n" + doubling + local("Q60", "A -> B : n"))
    assert parse(text).render() == ""


def test_long_chains_of_calls_are_no_trouble() -> None:
    chain = "".join(local(f"Q{n}", f"call Q{n + 1}") for n in range(2_000))
    text = body(TAKE, "call Q0", "A -> B : m", where="where\n" + chain + local("Q2000", GIVE))
    assert parse(text).render() == ""
