from __future__ import annotations

import pytest
import torch
from coral_pytorch.dataset import corn_label_from_logits
from coral_pytorch.losses import corn_loss as corn_loss_of_the_authors
from torch import Tensor
from torch.nn import functional as F

import oracles
from functional.cases import assert_close, random_batch, ranks, value_and_gradient
from ludwig_losses.functional import corn_loss, corn_probabilities, corn_rank
from ludwig_losses.functional.corn import corn_tasks


def test_is_the_negative_logarithm_of_the_probability_of_the_true_rank() -> None:
    logits, target = random_batch((40, 6), ranks)
    p = corn_probabilities(logits)
    assert_close(corn_loss(logits, target), -p.gather(1, target.unsqueeze(1)).squeeze(1).log(), 1e-12)
    assert_close(p.sum(dim=1), torch.ones(40), 1e-14)


def test_two_classes_are_binary_cross_entropy() -> None:
    logits, target = random_batch((20, 1), ranks)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], target.double(), reduction="none")
    assert_close(corn_loss(logits, target), expected, 1e-14)


def test_its_mean_is_over_the_pairs_of_the_paper() -> None:
    logits, target = random_batch((40, 4), ranks)

    def of_task(k: int) -> tuple[Tensor, int]:
        asked = target > k - 1
        answer = (target[asked] > k).double()
        return F.binary_cross_entropy_with_logits(logits[asked, k], answer, reduction="sum"), int(asked.sum())

    sums, counts = zip(*map(of_task, range(4)), strict=True)
    assert int(corn_tasks(target, 4).sum()) == sum(counts)
    assert_close(corn_loss(logits, target).sum(), sum(sums), 1e-13)


def test_the_rank_is_the_median() -> None:
    logits, _ = random_batch((200, 5), ranks)
    rank, p = corn_rank(logits), corn_probabilities(logits)
    assert torch.equal(rank, oracles.corn_rank(logits))
    assert torch.equal(rank, (p.cumsum(dim=1) < 0.5).sum(dim=1))
    assert rank.unique().numel() > 4


def test_probabilities_of_sure_networks_keep_their_digits() -> None:
    # 1 - sigmoid(40) is 4e-18, which a difference of running products in float64 does not see.
    p = corn_probabilities(torch.tensor([40.0, 40.0]))
    assert_close(p, torch.tensor([4.248354e-18, 4.248354e-18, 1.0]), 1e-6)
    assert abs(p[0] / 4.248354e-18 - 1) < 1e-5
    assert torch.equal(corn_probabilities(torch.tensor([-torch.inf, 3.0])), torch.tensor([1.0, 0.0, 0.0]))


@pytest.mark.parametrize("shape", [(40, 4), (7, 1), (3, 9)])
def test_is_the_loss_of_the_authors(shape: tuple[int, int]) -> None:
    logits, target = random_batch(shape, ranks)

    def ours(logits: Tensor, target: Tensor) -> Tensor:
        return corn_loss(logits, target).sum() / corn_tasks(target, shape[1]).sum()

    def theirs(logits: Tensor, target: Tensor) -> Tensor:
        return corn_loss_of_the_authors(logits, target, shape[1] + 1)

    for mine, expected in zip(*(value_and_gradient(loss, logits, target) for loss in (ours, theirs)), strict=True):
        assert_close(mine, expected, 1e-12)
    assert torch.equal(corn_rank(logits), corn_label_from_logits(logits))
