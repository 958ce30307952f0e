"""What a step saw, gathered from several processes."""

from __future__ import annotations

import torch

from pivotal.training.batch import Batch
from pivotal.training.batch_loss import BatchLoss
from pivotal.training.ranks import Alone
from pivotal.training.seen import Seen, fetched, together


class Second(Alone):
    """The second of two processes, whose peer gives `theirs`."""

    index, count = 1, 2

    def __init__(self, theirs):
        self._theirs = theirs

    def join(self, parameters, values):
        self.given = list(values)
        return [one + other for one, other in zip(values, self._theirs, strict=True)]


def told(items, errors, timesteps):
    batch = Batch(torch.zeros(len(errors), 4, 1, 1), (), torch.zeros(len(errors), 6), items=items)
    errors = torch.tensor(errors)
    return batch, BatchLoss(errors.mean(), errors, torch.tensor(timesteps))


def test_batches_are_fetched_with_their_losses_images_and_timesteps():
    values, seen = fetched([told([4, 0], [0.25, 0.75], [999, 0]), told([], [2.0], [7])])
    assert values == [0.5, 2.0]
    assert seen == [Seen([4, 0], [0.25, 0.75], [999.0, 0.0]), Seen([], [2.0], [7.0])]


def test_every_process_gets_all_batches_in_the_order_of_the_step():
    first = Second([0.0] * 13)  # a loss, two batches of two images, three numbers each
    together(first, (), 0.5, {0: Seen([0, 3], [0.1, 0.2], [10, 20])}, 2, 2)
    ours = {1: Seen([], [0.3], [30])}  # one image of unknown name
    total, seen = together(Second(first.given), (), 0.25, ours, 2, 2)
    assert total == 0.75
    assert seen == [Seen([0, 3], [0.1, 0.2], [10, 20]), Seen([], [0.3], [30])]
    assert together(Alone(), (), 0.25, ours, 2, 2) == (0.25, [ours[1]])
