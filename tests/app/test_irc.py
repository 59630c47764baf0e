"""The parser of IRC logs: every form, every line accounted for, times that order."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.app.irc import (
    LogLine,
    Reply,
    UndatedLog,
    day_of,
    nick_key,
    parse_annotations,
    parse_log,
    split_lines,
)
from antiphon.testing.irc_logs import make_irc_log

DAY = date(2007, 1, 21)
MIDNIGHT = int(datetime(2007, 1, 21, tzinfo=UTC).timestamp()) * 1000
MINUTE = 60_000


def only(text: str | bytes) -> LogLine:
    log = parse_log(text.encode() if isinstance(text, str) else text, DAY)
    assert (len(log.lines), log.problems) == (1, ())
    return log.lines[0]


def check_line(text: str, style: str, nick: str, said: str) -> None:
    line = only(text)
    assert (line.style, line.nick, line.text) == (style, nick, said)
    assert line.raw == text.encode()


def times(*texts: str) -> list[int]:
    """When each line was, in minutes and thousandths since midnight."""
    log = parse_log("\n".join(texts).encode(), DAY)
    assert not log.problems
    return [(line.at - MIDNIGHT) // MINUTE * 1000 + (line.at - MIDNIGHT) % MINUTE for line in log.lines]


def test_a_message_names_who_spoke() -> None:
    check_line("[08:30] <ada> hello  world ", "message", "ada", "hello  world ")


def test_a_message_may_be_empty() -> None:
    check_line("[08:30] <ada>", "message", "ada", "")
    check_line("[08:30] <ada> ", "message", "ada", "")


def test_a_message_may_look_like_another_form() -> None:
    check_line("[08:30] <ada> === ben has joined #x", "message", "ada", "=== ben has joined #x")
    check_line("[08:30] <ada> > <ben> quoted", "message", "ada", "> <ben> quoted")


def test_nicks_keep_brackets_pipes_and_inner_blanks() -> None:
    check_line("[08:30] <Guard] [an> hi", "message", "Guard] [an", "hi")
    check_line("[08:30] <[FiDo] > hi", "message", "[FiDo]", "hi")
    check_line("[08:30] <d|away\\`^{}> hi", "message", "d|away\\`^{}", "hi")


def test_marks_of_a_role_are_no_part_of_a_nick() -> None:
    check_line("[08:30] <@ada> hi", "message", "ada", "hi")
    check_line("[08:30] < ada> hi", "message", "ada", "hi")


def test_two_spellings_of_one_nick_have_one_key() -> None:
    assert nick_key("Guard] [an") == nick_key("guard][AN")
    assert nick_key("ada") != nick_key("ada_")


def test_an_action_names_who_acts() -> None:
    check_line("[08:30]  * ada waves at ben", "action", "ada", "waves at ben")
    check_line("[08:30]  * ada", "action", "ada", "")


def test_a_notice_names_its_sender() -> None:
    check_line("[08:30] -bot:#ubuntu- read - the topic", "notice", "bot", "read - the topic")
    check_line("[08:30] -bot- hush", "notice", "bot", "hush")


def test_joins_and_leaves_name_who_moves() -> None:
    assert only("=== ada [n=a@host]  has joined #ubuntu")[2:4] == ("joined", "ada")
    assert only('=== g[r] eek [n=a@host]  has left #ubuntu ["bye"] ')[2:4] == ("left", "g[r] eek")
    assert only("=== ada [n=a@host] has quit [Ping timeout]")[2:4] == ("left", "ada")
    assert only("[08:30] === ada [n=a@host]  has joined #ubuntu")[2:4] == ("joined", "ada")


def test_a_change_of_nick_names_both() -> None:
    check_line("=== ada is now known as ada_away", "renamed", "ada", "ada_away")


def test_a_mode_names_who_set_it() -> None:
    check_line("=== mode/#ubuntu [+o ada]  by ChanServ", "system", "ChanServ", "mode/#ubuntu [+o ada]  by ChanServ")


def test_old_logs_mark_actions_like_system_lines() -> None:
    check_line("=== ada changes subject", "action", "ada", "changes subject")


@pytest.mark.parametrize(
    "text",
    [
        "Topic for #ubuntu: be nice",
        "You're now talking on #ubuntu",
        "ada was kicked off #ubuntu by ben (ben)",
        "ada changed the topic of #ubuntu to: be nice",
        "#ubuntu: something",
    ],
)
def test_what_a_server_says_is_a_system_line(text: str) -> None:
    check_line(f"=== {text}", "system", "", text)


def test_an_action_gets_back_the_blank_in_a_nick_that_the_log_shows_elsewhere() -> None:
    log = parse_log(b"[08:30] <g[r] eek> hi\n=== g[r] eek bows\n[08:31]  * g[r] eek waves\n", DAY)
    assert [(line.nick, line.text) for line in log.lines[1:]] == [("g[r] eek", "bows"), ("g[r] eek", "waves")]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", "empty"),
        (b"   ", "empty"),
        (b"[24:00] <ada> hi", "bad-time"),
        (b"[08:60] <ada> hi", "bad-time"),
        (b"[08:30] <> hi", "no-nick"),
        (b"[08:30]  * ", "no-nick"),
        (b"[8:30] <ada> hi", "unknown-form"),
        (b"hello", "unknown-form"),
        (b"\x00", "unknown-form"),
        (b"===", "unknown-form"),
    ],
)
def test_what_is_no_line_is_reported_with_its_number_and_reason(line: bytes, code: str) -> None:
    log = parse_log(b"[08:29] <ada> before\n" + line + b"\n[08:31] <ada> after\n", DAY)
    assert [(problem.line, problem.code) for problem in log.problems] == [(1, code)]
    assert log.problems[0].reason
    assert [entry.number for entry in log.lines] == [0, 2]


def test_lines_of_a_minute_are_ordered_by_their_numbers() -> None:
    assert times("[08:30] <a> x", "[08:30] <b> y", "=== c is now known as d", "[08:31] <a> z") == [
        510_000,
        510_001,
        510_002,
        511_000,
    ]


def test_a_line_without_a_time_has_that_of_the_line_before_or_of_the_first_after() -> None:
    assert times("=== a is now known as b", "[08:30] <b> x", "=== b is now known as a") == [510_000, 510_001, 510_002]


def test_a_log_without_any_time_is_at_midnight() -> None:
    assert times("=== a is now known as b", "=== b is now known as c") == [0, 1]


def test_after_midnight_the_next_day_begins() -> None:
    assert times("[23:59] <a> x", "[00:00] <a> y", "=== a is now known as b", "[00:10] <a> z") == [
        1_439_000,
        1_440_000,
        1_440_001,
        1_450_000,
    ]


def test_midnight_comes_as_often_as_the_clock_says() -> None:
    assert times("[22:00] <a> x", "[03:00] <a> y", "[23:00] <a> z", "[01:00] <a> z") == [
        1_320_000,
        1_620_000,
        2_820_000,
        2_940_000,
    ]


def test_a_clock_of_twelve_hours_passes_noon() -> None:
    assert times("[09:00] <a> x", "[11:55] <a> y", "[00:05] <a> z") == [540_000, 715_000, 725_000]


def test_a_corrected_clock_keeps_the_order_of_lines() -> None:
    assert times("[02:59] <a> x", "[02:00] <a> y", "[02:58] <a> z", "[03:00] <a> z") == [
        179_000,
        179_001,
        179_002,
        180_000,
    ]


def test_a_minute_holds_no_more_thousandths_than_it_has() -> None:
    log = parse_log(b"[08:30] <a> x\n" * 60_002 + b"[08:31] <a> y\n", DAY)
    assert [line.at - MIDNIGHT for line in log.lines[-3:]] == [511 * MINUTE - 1, 511 * MINUTE - 1, 511 * MINUTE]


def test_bytes_that_are_not_utf8_are_kept_beside_the_text() -> None:
    log = parse_log(b"[08:30] <zo\xeb> caf\xe9\n[08:30] <zo\xc3\xab> caf\xc3\xa9\n", DAY)
    assert [(line.nick, line.text, line.is_decodable) for line in log.lines] == [
        ("zo\ufffd", "caf\ufffd", False),
        ("zo\u00eb", "caf\u00e9", True),
    ]
    assert log.lines[0].raw == b"[08:30] <zo\xeb> caf\xe9"
    assert log.undecodable_count == 1


def test_a_replacement_character_of_the_writer_is_no_undecodable_byte() -> None:
    assert only("[08:30] <ada> \ufffd").is_decodable


def test_lines_end_in_any_of_three_ways_and_a_byte_order_mark_is_none() -> None:
    assert split_lines(b"\xef\xbb\xbfone\r\ntwo\rthree\n\nfive\x0bstill\x85five") == [
        b"one",
        b"two",
        b"three",
        b"",
        b"five\x0bstill\x85five",
    ]


def test_an_empty_file_has_no_lines_and_no_problems() -> None:
    assert parse_log(b"", DAY) == ((), (), 0)


@pytest.mark.parametrize(
    "name", ["2007-01-21.train-c.raw.txt", "20070121.log", "ubuntu_2007_01_21.txt", "a/b/2007.01.21"]
)
def test_the_day_is_in_the_name(name: str) -> None:
    assert day_of(name) == DAY


@pytest.mark.parametrize(
    "name", ["ubuntu.txt", "2007-13-01.txt", "2007-02-30.txt", "1200701219.txt", "2007-01-21/log.txt"]
)
def test_a_name_without_a_day_says_what_to_do(name: str) -> None:
    with pytest.raises(UndatedLog, match="--day YYYY-MM-DD"):
        day_of(name)


def test_annotations_link_answers_to_the_nearest_of_their_parents() -> None:
    replies, problems = parse_annotations(b"3 3 -\n3 5 -\n1 5 -\n\n0 6 -\n2 6 -\n9 8 -\n", 10)
    assert replies == (Reply(3, 5), Reply(2, 6), Reply(9, 8))
    assert problems == ()


@pytest.mark.parametrize("line", [b"x y -", b"1", b"-1 2 -", b"1 99 -", b"9" * 40 + b" 1 -", b"\xff 1"])
def test_annotations_that_say_nothing_are_reported(line: bytes) -> None:
    replies, problems = parse_annotations(b"0 1 -\n" + line + b"\n", 10)
    assert replies == (Reply(0, 1),)
    assert [problem.line for problem in problems] == [1]


_PARTS = st.sampled_from(
    [
        *(b"[08:30]", b"[23:59]", b"[99:99]", b" ", b"  ", b"<", b">", b"*", b"-", b":", b"===", b" has joined #x"),
        *(b" [h]", b" is now known as ", b"mode/#x", b" by ", b"ada", b"hi", b"\xff", b"\x00", b"\xc3\xab"),
        *(b"\n", b"\r", b"\r\n"),
    ]
)


@given(st.one_of(st.binary(max_size=200), st.lists(_PARTS, max_size=40).map(b"".join)))
@example(b"=== [x] has joined ")
@example(b"===  is now known as ")
def test_whatever_the_bytes_every_line_is_accounted_for_in_order(data: bytes) -> None:
    log = parse_log(data, DAY)
    raw = split_lines(data)
    numbers = sorted([line.number for line in log.lines] + [problem.line for problem in log.problems])
    assert numbers == list(range(len(raw)))
    assert all(line.raw == raw[line.number] for line in log.lines)
    assert all(before.at < after.at for before, after in zip(log.lines, log.lines[1:], strict=False))
    assert all(line.is_decodable or "\ufffd" in line.raw.decode(errors="replace") for line in log.lines)
    assert all(line.nick == line.nick.strip() for line in log.lines)


@given(st.binary(max_size=200), st.integers(min_value=0, max_value=30))
def test_whatever_the_annotations_links_stay_inside_the_log(data: bytes, line_count: int) -> None:
    replies, _ = parse_annotations(data, line_count)
    assert all(reply.parent != reply.child and max(reply) < line_count for reply in replies)


@given(st.integers(min_value=0, max_value=10_000))
def test_a_made_up_log_is_read_as_it_was_made(seed: int) -> None:
    made = make_irc_log(seed, line_count=60)
    log = parse_log(made.data, DAY)
    assert log.line_count == made.line_count
    assert log.undecodable_count == made.undecodable_count
    assert tuple(problem.line for problem in log.problems) == made.refused_lines


def test_every_line_of_the_corpus_is_read(corpus: list[Path]) -> None:
    for path in corpus:
        data = path.read_bytes()
        log = parse_log(data, day_of(path.name))
        assert log.line_count == len(split_lines(data))
        if path.name.endswith((".train-a.raw.txt", ".train-b.raw.txt", ".train-c.raw.txt")):
            assert log.problems == ()
        assert all(before.at < after.at for before, after in zip(log.lines, log.lines[1:], strict=False))
