"""Every view comes exactly as often as its rate says, in batches of one size; any place can be asked for by itself."""

from __future__ import annotations

import math
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from pivotal.data.order import Order, Place
from pivotal.data.view import Fit, View


def view(index: int, size=(64, 64), rate: float = 1.0, phase: float = 0.0) -> View:
    return View(index, Fit(size, size, (0, 0), size), rate, phase)


def plain(count: int, size: int, seed: int = 3) -> Order:
    return Order([view(index) for index in range(count)], size, seed)


def batches(order: Order, count: int, first: int = 0) -> list[list[Place]]:
    return [order.at(number * order.size) for number in range(first, first + count)]


def flat(order: Order, count: int) -> list[Place]:
    return [place for batch in batches(order, count) for place in batch]


def test_each_epoch_has_every_image_once_and_orders_differ():
    places = flat(plain(7, 1), 21)
    epochs = [[place.view for place in places if place.epoch == number] for number in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_images_of_one_size_come_as_pythons_own_shuffle_has_them_whatever_the_batch():
    expected = []
    for epoch in range(4):
        indices = list(range(5))
        random.Random(f"3/order/{epoch}").shuffle(indices)
        expected += [Place(index, epoch, epoch) for index in indices]
    for size in (1, 2, 4, 5, 10, 20):
        assert flat(plain(5, size), 20 // size) == expected


def test_a_place_is_the_same_whatever_was_asked_before():
    whole = batches(mixed(3), 60)
    order = mixed(3)
    for number in (59, 7, 33, 0, 34, 58):
        assert order.at(number * 3) == whole[number]
    assert batches(mixed(3, seed=9), 60) != whole


def test_a_batch_larger_than_the_dataset_repeats_it():
    assert [place.view for place in plain(2, 6).at(0)].count(0) == 3


def test_a_place_between_batches_is_refused():
    with pytest.raises(ValueError, match="whole batches"):
        plain(5, 2).at(3)


SIZES = [(64, 64)] * 7 + [(64, 128)] * 4 + [(128, 64)] + [(96, 96)] * 3


def mixed(size: int, seed: int = 3, incomplete="carry over") -> Order:
    return Order([view(index, shape) for index, shape in enumerate(SIZES)], size, seed, incomplete)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_batches_are_full_of_one_size_and_no_image_gets_ahead_of_another_of_its_size(size):
    order, seen = mixed(size), Counter()
    for batch in batches(order, 200):
        assert len(batch) == size and len({SIZES[place.view] for place in batch}) == 1
        for place in batch:
            assert place.time == seen[place.view] == place.epoch  # each time counted once, none left out
            seen[place.view] += 1
    for shape in set(SIZES):
        times = [seen[index] for index, other in enumerate(SIZES) if other == shape]
        assert max(times) - min(times) <= 1


@pytest.mark.parametrize("size", [2, 3, 4])
def test_over_a_whole_round_every_image_was_seen_equally_often(size):
    rounds = 12  # a multiple of every size: then 12 epochs are whole batches of each shape
    seen = Counter(place.view for place in flat(mixed(size), rounds * len(SIZES) // size))
    assert set(seen.values()) == {rounds} and len(seen) == len(SIZES)


def test_a_size_with_less_than_a_batch_comes_in_the_first_epoch_and_sizes_are_mixed():
    firsts = batches(mixed(4), sum(math.ceil(SIZES.count(shape) / 4) for shape in set(SIZES)))
    shapes = [SIZES[batch[0].view] for batch in firsts]
    assert set(shapes) == set(SIZES)
    assert any(shapes[index] != shapes[index + 1] for index in range(len(shapes) - 2))
    orders = {tuple(SIZES[batch[0].view] for batch in batches(mixed(4, seed=seed), 5)) for seed in range(20)}
    assert len(orders) > 3


def test_filled_up_every_epoch_ends_with_each_size():
    order = mixed(4, incomplete="fill")
    each = sum(math.ceil(SIZES.count(shape) / 4) for shape in set(SIZES))
    assert order.images == each * 4
    for epoch in range(5):
        made = batches(order, each, first=epoch * each)
        assert {place.epoch for batch in made for place in batch} == {epoch}
        assert {place.view for batch in made for place in batch} == set(range(len(SIZES)))
        assert all(len({SIZES[place.view] for place in batch}) == 1 for batch in made)
    assert batches(mixed(4, incomplete="fill"), 3, first=17) == batches(order, 3, first=17)


@pytest.mark.parametrize("incomplete", ["carry over", "fill"])
def test_rates_are_met_exactly_over_time(incomplete):
    rates = [1, 3, 0.1, 0.1, 2.5, 0.4]
    order = Order([view(index, rate=rate, phase=index / 6 if rate % 1 else 0) for index, rate in enumerate(rates)], 1, 1,
                  incomplete)
    seen: Counter[int] = Counter()
    for place in flat(order, 710):
        assert place.time == seen[place.view]
        seen[place.view] += 1
    assert all(abs(seen[index] - 100 * rate) <= max(2, rate) for index, rate in enumerate(rates))
    if incomplete == "carry over":
        assert order.images == pytest.approx(7.1)


def test_a_tenth_of_an_epoch_takes_turns_so_that_none_is_left_out():
    order = Order([view(index, rate=0.1, phase=index / 40) for index in range(40)], 1, 1)
    places = flat(order, 40)
    assert [sum(place.epoch == epoch for place in places) for epoch in range(10)] == [4] * 10
    assert sorted(place.view for place in places) == list(range(40))
    thirds = [view(index, rate=0.1, phase=index / 30) for index in range(30)]
    assert Order(thirds, 3, 1).images == 3 == Order(thirds, 3, 1, "fill").images


def test_a_hundred_thousand_images_and_a_late_epoch_are_no_burden():
    order = Order([view(index, (64, 64 * (1 + index % 5)), 1 if index % 2 else 0.3, 0 if index % 2 else index / 100_000)
                   for index in range(100_000)], 4, 1)
    assert order.at(4 * 16_250_000)[0].epoch in (999, 1000)


def test_two_threads_may_ask_at_once():
    order, whole = mixed(2, incomplete="fill"), batches(mixed(2, incomplete="fill"), 300)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: order.at(2 * number), [number for start in range(7) for number in
                                                                   range(start, 300, 7)]))
    assert found == [whole[number] for start in range(7) for number in range(start, 300, 7)]
