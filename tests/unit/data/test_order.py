"""Each epoch has every image once; any place can be asked for by itself."""

from __future__ import annotations

from pivotal.data.order import Order


def test_each_epoch_has_every_image_once_and_orders_differ():
    order = Order(7, seed=3)
    places = order.at(0, 21)
    epochs = [[index for index, epoch in places if epoch == number] for number in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_place_is_the_same_whatever_was_asked_before():
    whole = Order(5, seed=1).at(0, 40)
    order = Order(5, seed=1)
    assert order.at(33, 7) == whole[33:] and order.at(4, 3) == whole[4:7]
    assert Order(5, seed=2).at(0, 40) != whole


def test_a_batch_larger_than_the_dataset_repeats_it():
    assert [index for index, _ in Order(2, seed=0).at(0, 6)].count(0) == 3
