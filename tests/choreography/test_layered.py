"""Layered drawings: nothing overlaps, layers go down, crossings that need not be are not there."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from antiphon.choreography.layered import Box, place_layers


@st.composite
def drawings(draw: st.DrawFn) -> tuple[list[Box], list[list[int]], list[tuple[int, int]]]:
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    number, layers = 0, []
    for size in sizes:
        layers.append(list(range(number, number + size)))
        number += size
    side = st.integers(1, 200)
    boxes = [Box(draw(side), draw(side), draw(st.integers(0, 40))) for _ in range(number)]
    links = [
        (one, other) for upper, lower in pairwise(layers) for one in upper for other in lower if draw(st.booleans())
    ]
    return boxes, layers, links


@given(drawings())
def test_boxes_of_a_layer_keep_their_distance_and_layers_go_down(
    drawing: tuple[list[Box], list[list[int]], list[tuple[int, int]]],
) -> None:
    boxes, layers, links = drawing
    placed = place_layers(boxes, layers, links, gap=10, margin=20)
    for layer in layers:
        ordered = sorted(layer, key=lambda number: placed.places[number].x)
        for one, other in pairwise(ordered):
            left = placed.places[one].x + boxes[one].right
            assert placed.places[other].x - boxes[other].left >= left + 10 - 1  # places are rounded
        assert len({placed.places[number].y for number in layer}) == 1
    heights = [placed.places[layer[0]].y for layer in layers]
    assert heights == sorted(set(heights))


@given(drawings())
def test_everything_stands_inside_the_drawing(
    drawing: tuple[list[Box], list[list[int]], list[tuple[int, int]]],
) -> None:
    boxes, layers, links = drawing
    placed = place_layers(boxes, layers, links, margin=20)
    for box, place in zip(boxes, placed.places, strict=True):
        assert 19 <= place.x - box.left <= place.x + box.right <= placed.width - 19
        assert 19 <= place.y - box.height / 2 <= place.y + box.height / 2 <= placed.height - 19


def test_a_chain_is_one_straight_line() -> None:
    places = place_layers([Box(9, 9, 18)] * 5, [[0], [1], [2], [3], [4]], [(0, 1), (1, 2), (2, 3), (3, 4)]).places
    assert len({place.x for place in places}) == 1


def test_lines_that_need_not_cross_do_not() -> None:
    # Given crossed: 0 leads to 3 and 1 leads to 2.
    places = place_layers([Box(9, 9, 18)] * 4, [[0, 1], [2, 3]], [(0, 3), (1, 2)]).places
    assert (places[0].x < places[1].x) == (places[3].x < places[2].x)


def test_what_two_lead_to_stands_between_them() -> None:
    places = place_layers([Box(9, 9, 18)] * 3, [[0, 1], [2]], [(0, 2), (1, 2)]).places
    assert places[2].x * 2 == places[0].x + places[1].x
