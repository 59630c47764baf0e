"""Choice knowledge: who learns each choice, from whom, by what, and after how many messages."""

from antiphon.choreography.compiled import check_text
from antiphon.choreography.explain import explain_protocol
from antiphon.choreography.knowledge import ChoiceKnowledge, Clue, choice_knowledge, knowledge_by_role

RELAY = """\
protocol Booking =
  roles Guest, Hotel, Bank, Maid
  Guest -> Hotel : Ask
  choice Hotel at
    | Free =>
      Hotel -> Guest : Free
      Hotel -> Bank : Charge
    | Full =>
      Hotel -> Guest : Full
      Hotel -> Bank : Void
  Hotel -> Maid : Tidy
"""


def known(text: str) -> tuple[ChoiceKnowledge, ...]:
    checked = check_text(text)
    assert checked.global_type is not None
    return choice_knowledge(checked.global_type, checked.roles)


def awareness(choice: ChoiceKnowledge) -> dict[str, str]:
    return {one.role: one.awareness for one in choice.roles}


def test_everybody_is_chooser_informed_or_unconcerned_in_a_relay() -> None:
    (choice,) = known(RELAY)
    assert awareness(choice) == {
        "Guest": "informed",
        "Hotel": "chooser",
        "Bank": "informed",
        "Maid": "unconcerned",
    }
    bank = choice.of("Bank")
    assert bank is not None
    assert bank.clues == (Clue("Free", "Hotel", ("Charge",), 0), Clue("Full", "Hotel", ("Void",), 0))


def test_a_clue_may_come_after_messages_that_are_the_same_in_both_branches() -> None:
    text = (
        "protocol P =\n  roles A, B, C\n  choice A at\n    | l =>\n      A -> B : l\n      B -> C : same\n"
        "      B -> C : left\n    | r =>\n      A -> B : r\n      B -> C : same\n      B -> C : right\n"
    )
    (choice,) = known(text)
    told = choice.of("C")
    assert told is not None
    assert told.clues == (Clue("l", "B", ("left",), 1), Clue("r", "B", ("right",), 1))


def test_a_role_outside_a_loop_waits_through_the_rounds() -> None:
    (choice,) = known("protocol U =\n  roles A, B, C\n  loop decide by A\n    A -> B : More\n  A -> C : Fin\n")
    assert awareness(choice)["C"] == "waiting"


def test_who_is_not_told_is_said_so_although_there_is_no_view() -> None:
    text = (
        "protocol P =\n  roles A, B, C\n  choice A at\n    | yes =>\n      A -> B : yes\n      B -> C : Extra\n"
        "    | no =>\n      A -> B : no\n"
    )
    (choice,) = known(text)
    assert awareness(choice)["C"] == "uninformed"
    assert "C is not told" in explain_protocol(check_text(text))


def test_choices_are_found_by_role() -> None:
    found = knowledge_by_role(known(RELAY))
    assert sorted(found) == ["Bank", "Guest"]


def test_knowledge_is_data() -> None:
    (choice,) = known(RELAY)
    shown = choice.to_json()
    assert (shown["chooser"], shown["labels"], shown["line"]) == ("Hotel", ["Free", "Full"], 4)


def test_an_explanation_tells_lowering_knowledge_and_views_and_is_stable() -> None:
    checked = check_text(RELAY)
    text = explain_protocol(checked)
    assert text == explain_protocol(check_text(RELAY))
    for part in (
        "protocol Booking",
        "tier     session_projectable",
        "Hotel → Guest {Free, Full}",
        "line 4: Hotel chooses Free or Full and tells Guest",
        "Bank learns Free by Charge from Hotel; Full by Void from Hotel",
        "Maid does the same either way",
        "Bank   ?Hotel{Charge: end, Void: end}",
    ):
        assert part in text


def test_what_is_not_parsed_is_not_explained() -> None:
    assert "no protocol" in explain_protocol(check_text("prot"))
