from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import oracles
from functional.cases import MakeTarget, assert_close, consecutive, per_row, random_batch, value_and_gradient
from ludwig_losses.functional import nt_xent_loss


def embeddings(rows: int, width: int = 5) -> Tensor:
    return random_batch((rows, width), consecutive)[0]


def shuffled(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("temperature", [0.07, 0.5, 3.0])
def test_pairs_are_a_cross_entropy_over_the_other_rows(temperature: float) -> None:
    rows = embeddings(8)
    similarity = F.cosine_similarity(rows.unsqueeze(0), rows.unsqueeze(1), dim=-1) / temperature
    logits = similarity.masked_fill(torch.eye(8, dtype=torch.bool), -torch.inf)
    expected = F.cross_entropy(logits, torch.tensor([1, 0, 3, 2, 5, 4, 7, 6]))
    assert_close(nt_xent_loss(rows, temperature=temperature), expected, 1e-14)


def test_consecutive_rows_are_pairs_unless_there_are_labels() -> None:
    rows = embeddings(9)
    labels = torch.tensor([5, 5, -1, -1, 0, 0, 9, 9, 3])
    assert_close(nt_xent_loss(rows, labels), nt_xent_loss(rows), 1e-15)
    assert nt_xent_loss(rows, labels.roll(1)) != nt_xent_loss(rows)


def test_order_of_pairs_and_within_a_pair_does_not_matter() -> None:
    rows = embeddings(8)
    pairs = rows.reshape(4, 2, 5)
    for other in (pairs[shuffled(4)], pairs.flip(1)):
        assert_close(nt_xent_loss(other.reshape(8, 5)), nt_xent_loss(rows), 1e-14)


def test_order_of_labelled_rows_does_not_matter() -> None:
    rows, labels = random_batch((9, 5), per_row)
    order = shuffled(9)
    assert_close(nt_xent_loss(rows[order], labels[order]), nt_xent_loss(rows, labels), 1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_length_of_the_rows_does_not_matter(dtype: torch.dtype) -> None:
    rows = embeddings(8).to(dtype)
    # Squares of the outer ones leave the range of float32.
    lengths = torch.tensor([1e-10, 1e30, 1.0, 1e4, 1e-4, 7.0, 1e10, 1e-2], dtype=dtype).unsqueeze(1)
    assert_close(nt_xent_loss(rows * lengths), nt_xent_loss(rows), 1e-6 if dtype == torch.float32 else 1e-13)


def test_odd_last_row_is_a_negative_only() -> None:
    rows = embeddings(7).requires_grad_()
    loss = nt_xent_loss(rows)
    assert_close(loss, oracles.nt_xent_loss(rows), 1e-13)
    assert loss > nt_xent_loss(rows[:6])
    (gradient,) = torch.autograd.grad(loss, rows)
    assert gradient[6].count_nonzero() > 0


@pytest.mark.parametrize("zero_rows", [[2], [0, 1], [0, 3, 6], range(7)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_rows_of_zeros_are_similar_to_nothing(zero_rows: list[int], dtype: torch.dtype) -> None:
    rows = embeddings(7).to(dtype)
    rows[list(zero_rows)] = 0
    value, gradient = value_and_gradient(nt_xent_loss, rows, None)
    assert gradient.isfinite().all()
    assert_close(value, oracles.nt_xent_loss(rows.double()), 1e-6)


@pytest.mark.parametrize(
    ("rows", "labels"), [(1, None), (1, [4]), (5, [0, 1, 2, 3, 4])], ids=["one row", "one label", "no equal labels"]
)
def test_no_pair_gives_0_and_no_gradient(rows: int, labels: list[int] | None) -> None:
    target = None if labels is None else torch.tensor(labels)
    value, gradient = value_and_gradient(nt_xent_loss, embeddings(rows), target)
    assert value == 0
    assert gradient.count_nonzero() == 0


def test_rows_of_one_label_are_pairs_of_each_other() -> None:
    # Five equal rows: each of four others is as likely as the next.
    loss = nt_xent_loss(torch.ones(5, 3, dtype=torch.float64), torch.zeros(5))
    assert loss.item() == pytest.approx(torch.tensor(4.0).log().item(), rel=1e-7)


def test_equal_pairs_far_from_each_other_cost_nothing() -> None:
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert nt_xent_loss(rows, temperature=0.02).item() == pytest.approx(0, abs=1e-12)


def test_embeddings_without_rows_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"got embeddings \(\) and labels None"):
        nt_xent_loss(torch.zeros(()))


@pytest.mark.parametrize("chunk_size", [1, 2, 4, 9, 100, None])
@pytest.mark.parametrize("make_target", [consecutive, per_row])
def test_chunks_change_nothing(make_target: MakeTarget, chunk_size: int | None) -> None:
    rows, labels = random_batch((9, 5), make_target)
    value, gradient = value_and_gradient(lambda z, y: nt_xent_loss(z, y, chunk_size=chunk_size), rows, labels)
    expected, expected_gradient = value_and_gradient(oracles.nt_xent_loss, rows, labels)
    assert_close(value, expected, 1e-12)
    assert_close(gradient, expected_gradient, 1e-12)


def test_chunks_of_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="chunk_size must be a whole number >= 1, or None; got 0"):
        nt_xent_loss(embeddings(4), chunk_size=0)


def test_value_without_a_gradient_is_the_same() -> None:
    rows = embeddings(8)
    assert torch.equal(nt_xent_loss(rows), nt_xent_loss(rows.clone().requires_grad_()))


def test_rows_of_one_partner_weigh_the_same_as_pairs_and_as_anchors() -> None:
    rows = embeddings(9)
    assert_close(nt_xent_loss(rows, average="anchors"), nt_xent_loss(rows), 1e-14)


def test_an_anchor_weighs_the_same_however_many_partners_it_has() -> None:
    # Three equal rows and two that are orthogonal to them and to each other.
    rows = torch.eye(4, dtype=torch.float64)[[0, 0, 0, 1, 2]]
    labels = torch.tensor([0, 0, 0, 1, 1])
    three, two = torch.tensor([torch.e, torch.e, 1, 1]).log(), torch.zeros(4)
    cost_of_three, cost_of_two = three.exp().sum().log() - 1, two.exp().sum().log()
    by_anchor = nt_xent_loss(rows, labels, temperature=1.0, average="anchors")
    by_pair = nt_xent_loss(rows, labels, temperature=1.0)
    assert by_anchor.item() == pytest.approx((3 * cost_of_three + 2 * cost_of_two).item() / 5, rel=1e-6)
    assert by_pair.item() == pytest.approx((6 * cost_of_three + 2 * cost_of_two).item() / 8, rel=1e-6)


@pytest.mark.parametrize("average", ["pairs", "anchors"])
def test_nothing_to_remember_changes_nothing(average: str) -> None:
    rows, labels = random_batch((9, 5), per_row)
    empty, expected = torch.zeros(0, 5), nt_xent_loss(rows, labels, average=average)
    assert_close(nt_xent_loss(rows, labels, average=average, memory=empty), expected, 1e-14)
    no_labels = labels[:0]
    assert_close(nt_xent_loss(rows, labels, average=average, memory=empty, memory_labels=no_labels), expected, 1e-14)


def test_the_memory_gets_no_gradient_and_may_be_of_any_length() -> None:
    rows, memory = embeddings(8), embeddings(6, 5).roll(1, 0)
    leaf = memory.clone().requires_grad_()
    loss = nt_xent_loss(rows.requires_grad_(), memory=leaf)
    loss.backward()
    assert leaf.grad is None and rows.grad.count_nonzero() > 0
    assert_close(nt_xent_loss(rows, memory=7 * memory), loss, 1e-14)


def test_a_single_row_may_have_its_partner_in_the_memory() -> None:
    row = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    memory = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    loss = nt_xent_loss(row, torch.tensor([3]), temperature=1.0, memory=memory, memory_labels=torch.tensor([3, 4]))
    assert loss.item() == pytest.approx(torch.tensor([1.0, 0.0]).exp().sum().log().item() - 1, rel=1e-6)
    assert nt_xent_loss(row, torch.tensor([3]), memory=memory) == 0


@pytest.mark.parametrize("chunk_size", [1, 2, 4, 9, 100])
@pytest.mark.parametrize("average", ["pairs", "anchors"])
def test_chunks_change_nothing_beside_a_memory(average: str, chunk_size: int) -> None:
    rows, labels = random_batch((9, 5), per_row)
    options = {"average": average, "memory": embeddings(4), "memory_labels": torch.tensor([0, 1, 1, 9])}
    value, gradient = value_and_gradient(
        lambda z, y: nt_xent_loss(z, y, chunk_size=chunk_size, **options), rows, labels
    )
    expected, expected_gradient = value_and_gradient(lambda z, y: oracles.nt_xent_loss(z, y, **options), rows, labels)
    assert_close(value, expected, 1e-12)
    assert_close(gradient, expected_gradient, 1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average": "rows"}, "average must be 'pairs' or 'anchors'; got 'rows'"),
        ({"memory": torch.zeros(3, 4)}, r"memory must be \[M, 5\], as embeddings; got \(3, 4\)"),
        ({"memory_labels": torch.zeros(3)}, r"got memory_labels \(3,\), memory None and labels \(8,\)"),
        ({"memory": torch.zeros(3, 5), "memory_labels": torch.zeros(2)}, r"got memory_labels \(2,\), memory \(3, 5\)"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nt_xent_loss(embeddings(8), torch.zeros(8), **options)


def test_labels_of_the_memory_need_labels() -> None:
    with pytest.raises(ValueError, match="and labels None"):
        nt_xent_loss(embeddings(8), memory=embeddings(2), memory_labels=torch.zeros(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("columns", [4, 4000])
def test_a_row_of_next_to_nothing_is_a_row_of_zeros(columns: int, dtype: torch.dtype) -> None:
    """Of which the direction is noise, and the gradient would be as large as the row is small."""
    rows = torch.randn(6, columns, dtype=dtype, generator=torch.Generator().manual_seed(0))
    rows[2] = 0
    expected = value_and_gradient(nt_xent_loss, rows, None)
    rows[2, 0] = 5e-13
    for actual, wanted in zip(value_and_gradient(nt_xent_loss, rows, None), expected, strict=True):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("memory", [None, torch.randn(4, 5, dtype=torch.float64)], ids=["batch", "memory"])
@pytest.mark.parametrize("labels", [None, torch.arange(8) % 3], ids=["consecutive", "labels"])
def test_a_temperature_has_a_gradient(labels: Tensor | None, memory: Tensor | None, chunk_size: int | None) -> None:
    rows, _ = random_batch((8, 5), consecutive)
    ways = (partial(nt_xent_loss, chunk_size=chunk_size), oracles.nt_xent_loss)
    gradients = []
    for loss in ways:
        leaves = rows.clone().requires_grad_(), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        value = loss(leaves[0], labels, temperature=leaves[1], memory=memory)
        gradients.append([value.detach(), *torch.autograd.grad(value, leaves)])
    for found, expected in zip(*gradients, strict=True):
        assert_close(found, expected, 1e-12)
    fixed = nt_xent_loss(rows, labels, temperature=0.3, memory=memory)
    assert_close(gradients[0][0], fixed, 1e-14)
    of_model = torch.tensor(0.3, requires_grad=True)  # of another type, on rows that need no gradient
    nt_xent_loss(rows, labels, temperature=of_model, memory=memory).backward()
    assert_close(of_model.grad, gradients[0][2], 1e-6)


def test_without_a_pair_a_temperature_has_a_gradient_of_0() -> None:
    temperature = torch.tensor(0.3, requires_grad=True)
    nt_xent_loss(torch.randn(1, 5), temperature=temperature).backward()
    assert temperature.grad == 0
