from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import openloss
import pytest
import pytorch_ood.loss
import torch
from torch import Tensor
from torch.nn import functional as F

import oracles
from functional.cases import assert_close, class_last, per_element, random_batch, value_and_gradient
from ludwig_losses.functional import entropic_open_set_loss, known_score, known_softmax, objectosphere_loss
from ludwig_losses.functional.open_set import known_logits, magnitude

KNOWN = torch.tensor([0, 2, 3])
# The others are not in order: without the first and the last class, and with every class.
EACH_KNOWN = [KNOWN, torch.tensor([3, 1]), torch.tensor([4, 0, 1, 2, 3])]

every_known = pytest.mark.parametrize("known", EACH_KNOWN, ids=lambda known: str(known.tolist()))
every_loss = pytest.mark.parametrize("loss", [entropic_open_set_loss, objectosphere_loss])


def unknown_batch(shape: tuple[int, ...] = (6, 5), unknown: int = 4) -> tuple[Tensor, Tensor]:
    """Random logits, all of a class that is not known."""
    logits, target = random_batch(shape, class_last)
    return logits, torch.full_like(target, unknown)


@pytest.mark.parametrize("known", [None, torch.arange(7)], ids=["unset", "all"])
@pytest.mark.parametrize("shape", [(6, 7), (3, 4, 7), (7,)])
def test_without_an_unknown_class_it_is_cross_entropy(shape: tuple[int, ...], known: Tensor | None) -> None:
    logits, target = random_batch(shape, class_last)
    expected = F.cross_entropy(logits.reshape(-1, 7), target.flatten(), reduction="none").reshape(target.shape)
    assert_close(entropic_open_set_loss(logits, target, known=known), expected, 1e-15)


@every_known
def test_known_examples_get_the_cross_entropy_among_the_known_classes(known: Tensor) -> None:
    logits, _ = random_batch((len(known), 5), class_last)
    expected = F.cross_entropy(logits[:, known], torch.arange(len(known)), reduction="none")
    assert_close(entropic_open_set_loss(logits, known, known=known), expected, 1e-15)


def test_unknown_examples_get_the_cross_entropy_to_uniform() -> None:
    logits, target = unknown_batch()
    uniform = torch.full((6, 3), 1 / 3, dtype=torch.float64)
    expected = F.cross_entropy(logits[:, KNOWN], uniform, reduction="none")
    assert_close(entropic_open_set_loss(logits, target, known=KNOWN), expected, 1e-15)


def test_every_unknown_class_is_treated_alike() -> None:
    logits, target = unknown_batch(unknown=4)
    for other in (1, -1, 127):
        for loss in (entropic_open_set_loss, objectosphere_loss):
            value = loss(logits, torch.full_like(target, other), known=KNOWN)
            assert torch.equal(value, loss(logits, target, known=KNOWN))


def test_unknown_examples_rest_at_equal_probabilities() -> None:
    logits = torch.tensor([[2.0, 9.0, 2.0, 2.0, -7.0]], dtype=torch.float64)
    loss = partial(entropic_open_set_loss, known=KNOWN)
    value, gradient = value_and_gradient(loss, logits, torch.tensor([4]))
    assert value.item() == pytest.approx(math.log(3), abs=1e-15)
    assert gradient.abs().max() < 1e-15
    noise, target = unknown_batch((1000, 5))
    assert loss(noise, target).min() > math.log(3)


@every_loss
def test_order_of_the_known_classes_does_not_matter(loss: Callable[..., Tensor]) -> None:
    logits, target = random_batch((20, 5), class_last)
    assert_close(loss(logits, target, known=KNOWN.flip(0)), loss(logits, target, known=KNOWN), 1e-14)


def test_pair_without_an_unknown_class_is_binary_cross_entropy() -> None:
    z, target = random_batch((20,), per_element)
    pair = torch.stack([torch.zeros_like(z), z], dim=-1)
    expected = F.binary_cross_entropy_with_logits(z, target.double(), reduction="none")
    assert_close(entropic_open_set_loss(pair, target), expected, 1e-14)


@pytest.mark.parametrize("known", [0, 1])
def test_pair_draws_its_unknown_class_to_one_half(known: int) -> None:
    z, target = random_batch((20,), per_element)
    pair = torch.stack([torch.zeros_like(z), z], dim=-1)
    probability = torch.where(target == known, float(known), 0.5).double()
    expected = F.binary_cross_entropy_with_logits(z, probability, reduction="none")
    one = torch.tensor([known])
    assert_close(entropic_open_set_loss(pair, target, known=one), expected, 1e-14)
    wish = torch.where(target == known, (10 - z.abs()).clamp_min(0), z) ** 2
    assert_close(objectosphere_loss(pair, target, known=one), expected + 0.1 * wish, 1e-14)


def test_nothing_is_left_out_where_one_class_is_known() -> None:
    logits, _ = random_batch((6, 5), class_last)
    loss = partial(entropic_open_set_loss, known=torch.tensor([2]))
    value, gradient = value_and_gradient(loss, logits, torch.full((6,), 2))
    assert_close(value, F.cross_entropy(logits, torch.full((6,), 2), reduction="none"), 1e-15)
    assert gradient.count_nonzero() == gradient.numel()
    assert_close(loss(logits, torch.full((6,), 4)), -logits.log_softmax(1).mean(1), 1e-15)
    assert_close(magnitude(logits, torch.tensor([2])), logits.norm(dim=1), 1e-15)


def test_entropic_is_unchanged_by_a_constant_shift() -> None:
    logits, target = random_batch((20, 5), class_last)
    shifted = entropic_open_set_loss(logits + 1000, target, known=KNOWN)
    assert_close(shifted, entropic_open_set_loss(logits, target, known=KNOWN), 1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_confidently_wrong_unknowns_are_corrected(dtype: torch.dtype) -> None:
    """The negative entropy, which some take for this loss, has next to no gradient where it is needed most."""
    logits = torch.tensor([[20.0, 0, 0, 0, 0, 7]], dtype=dtype)
    leaf = logits.requires_grad_()
    loss = entropic_open_set_loss(leaf, torch.tensor([5]), known=torch.arange(5)).sum()
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert gradient.norm().item() == pytest.approx(math.sqrt(1 - 1 / 5), abs=1e-6)
    log_p = leaf[:, :5].double().log_softmax(dim=1)
    (vanishing,) = torch.autograd.grad((log_p.exp() * log_p).sum(), leaf)
    assert vanishing.norm() < 1e-6


@every_loss
@every_known
def test_logits_left_out_change_nothing_and_get_no_gradient(known: Tensor, loss: Callable[..., Tensor]) -> None:
    logits, target = random_batch((40, 5), class_last)
    left_out = torch.tensor([c for c in range(5) if c not in known], dtype=torch.long)
    value, gradient = value_and_gradient(partial(loss, known=known), logits, target)
    assert gradient[:, left_out].count_nonzero() == 0
    assert gradient[:, known].count_nonzero() == gradient[:, known].numel()
    for other in (1e4, -torch.inf):
        assert torch.equal(loss(logits.index_fill(1, left_out, other), target, known=known), value)


def test_entropic_can_be_differentiated_twice() -> None:
    logits, target = random_batch((6, 5), class_last)
    loss = partial(entropic_open_set_loss, target=target, known=KNOWN)
    assert torch.autograd.gradgradcheck(loss, logits.requires_grad_())


@every_loss
def test_no_known_class_is_refused(loss: Callable[..., Tensor]) -> None:
    logits, target = random_batch((6, 5), class_last)
    with pytest.raises(
        ValueError, match=r"known must be \[K\], the indices of one class or more; got the shape \(0,\)"
    ):
        loss(logits, target, known=torch.tensor([], dtype=torch.long))


def test_zeta_0_is_entropic() -> None:
    logits, target = random_batch((20, 5), class_last)
    expected = value_and_gradient(partial(entropic_open_set_loss, known=KNOWN), logits, target)
    actual = value_and_gradient(partial(objectosphere_loss, known=KNOWN, zeta=0), logits, target)
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one, other)


def test_wishes_by_hand() -> None:
    """The known logits [3, 4] have magnitude 5."""
    logits = torch.tensor([3.0, 100.0, 4.0], dtype=torch.float64).expand(3, 3)
    target = torch.tensor([0, 2, 1])
    known = torch.tensor([0, 2])

    def wish(**options: float) -> list[float]:
        added = objectosphere_loss(logits, target, known=known, **options)
        return pytest.approx((added - entropic_open_set_loss(logits, target, known=known)).tolist(), abs=1e-14)

    assert wish() == [2.5, 2.5, 2.5]
    assert wish(xi=7) == [0.4, 0.4, 2.5]
    assert wish(zeta=2) == [50, 50, 50]
    assert wish(xi=5, zeta=1) == [0, 0, 25]
    assert wish(xi=4.5, zeta=1) == [0, 0, 25]
    assert wish(xi=0, zeta=1) == [0, 0, 25]


def test_without_an_unknown_class_all_examples_should_be_large() -> None:
    logits, target = random_batch((20, 4), class_last)
    expected = entropic_open_set_loss(logits, target) + 0.1 * (10 - logits.norm(dim=1)).clamp_min(0) ** 2
    assert_close(objectosphere_loss(logits, target), expected, 1e-14)


def test_xi_0_wishes_nothing_of_known_examples() -> None:
    logits, target = random_batch((40, 5), class_last)
    value, gradient = value_and_gradient(partial(objectosphere_loss, known=KNOWN, xi=0), logits, target)
    expected, expected_gradient = value_and_gradient(partial(entropic_open_set_loss, known=KNOWN), logits, target)
    is_known = torch.isin(target, KNOWN)
    assert torch.equal(value[is_known], expected[is_known])
    assert torch.equal(gradient[is_known], expected_gradient[is_known])
    assert (value > expected)[~is_known].all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("known", [None, torch.tensor([2]), KNOWN], ids=["all", "one", "some"])
def test_magnitude_of_zero_logits_has_a_finite_gradient(known: Tensor | None, dtype: torch.dtype) -> None:
    logits, target = torch.zeros(2, 5, dtype=dtype), torch.tensor([2, 4])
    value, gradient = value_and_gradient(partial(objectosphere_loss, known=known), logits, target)
    _, expected_gradient = value_and_gradient(partial(entropic_open_set_loss, known=known), logits, target)
    assert value.isfinite().all()
    # At the corner of the norm there is no direction in which to grow.
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=0)
    leaf = logits.clone().requires_grad_()
    magnitude(leaf, known).sum().backward()
    assert leaf.grad.count_nonzero() == 0


def test_features_take_the_place_of_the_logits_in_the_wish() -> None:
    logits, target = random_batch((4, 6, 5), class_last)
    features, _ = random_batch((4, 6, 16), class_last)
    leaves = [logits.requires_grad_(), features.requires_grad_()]
    objectospheres = (objectosphere_loss, oracles.objectosphere_loss)
    losses = [f(logits, target, known=KNOWN, xi=13.0, features=features) for f in objectospheres]
    assert_close(losses[0], losses[1], 1e-12)
    weights = torch.linspace(0.5, 1.5, 24, dtype=torch.float64).reshape(4, 6)
    actual, expected = (torch.autograd.grad(value, leaves, weights) for value in losses)
    for one, other in zip(actual, expected, strict=True):
        assert_close(one, other, 1e-12)
    entropic = entropic_open_set_loss(logits, target, known=KNOWN)
    assert_close(actual[0], torch.autograd.grad(entropic, logits, weights)[0], 1e-15)
    # Some of the known examples are beyond xi, some are not.
    idle = actual[1][torch.isin(target, KNOWN)].count_nonzero(dim=-1) == 0
    assert 0 < idle.sum() < idle.numel()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_features_of_half_precision(dtype: torch.dtype) -> None:
    logits, target = random_batch((6, 5), class_last, torch.float32)
    features = torch.full((6, 64), 6e4, dtype=dtype)
    value = objectosphere_loss(logits, target, known=KNOWN, features=features)
    assert value.dtype == torch.float32
    assert torch.equal(value, objectosphere_loss(logits, target, known=KNOWN, features=features.float()))
    assert value.isfinite().all()


def test_zero_features_have_a_finite_gradient() -> None:
    logits, target = random_batch((6, 5), class_last)
    features = torch.zeros(6, 3, dtype=torch.float64, requires_grad=True)
    objectosphere_loss(logits, target, known=KNOWN, features=features).sum().backward()
    assert features.grad.count_nonzero() == 0


@pytest.mark.parametrize("known", [*EACH_KNOWN, torch.tensor([1])], ids=lambda known: str(known.tolist()))
@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 7), (5,)])
def test_known_softmax_is_that_of_the_oracle(shape: tuple[int, ...], known: Tensor) -> None:
    logits, _ = random_batch(shape, class_last)
    assert_close(known_softmax(logits, known), oracles.known_softmax(logits, known), 1e-14)


@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@every_known
def test_known_softmax_sums_to_1_without_the_unknown(known: Tensor, dtype: torch.dtype, size: float) -> None:
    logits = (size * random_batch((50, 6), class_last)[0]).clamp(-6e4, 6e4).to(dtype)
    p = known_softmax(logits, known)
    assert p.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert p.min() >= 0
    assert_close(p.sum(dim=-1), torch.ones(50), 1e-6)
    unknown = [c for c in range(6) if c not in known]
    assert p[:, unknown].count_nonzero() == 0
    assert torch.equal(p, known_softmax(logits.index_fill(1, torch.tensor(unknown), -torch.inf), known))


def test_known_softmax_of_one_known_class_is_softmax() -> None:
    logits, _ = random_batch((6, 5), class_last)
    assert torch.equal(known_softmax(logits, torch.tensor([3])), logits.softmax(dim=-1))
    assert torch.equal(known_score(logits, torch.tensor([3])), logits.softmax(dim=-1)[:, 3])


def test_known_softmax_is_differentiable_for_explanations() -> None:
    logits, _ = random_batch((3, 5), class_last)
    for function in (known_softmax, known_score):
        assert torch.autograd.gradcheck(partial(function, known=KNOWN), logits.requires_grad_())


@every_known
def test_score_is_the_largest_known_probability(known: Tensor) -> None:
    logits, _ = random_batch((20, 5), class_last)
    score = known_score(logits, known)
    assert_close(score, logits[:, known].softmax(dim=-1).amax(dim=-1), 1e-15)
    assert (score > 1 / len(known)).all()
    assert_close(known_score(torch.zeros(2, 5), known), torch.full((2,), 1 / len(known)), 1e-6)


def test_score_tells_trained_unknown_examples_from_known_ones() -> None:
    target = torch.tensor([0, 2, 3, 1, 4])
    logits = torch.zeros(5, 5, requires_grad=True)
    for _ in range(50):
        (gradient,) = torch.autograd.grad(entropic_open_set_loss(logits, target, known=KNOWN).sum(), logits)
        logits = (logits - gradient).detach().requires_grad_()
    score = known_score(logits, KNOWN)
    assert score[:3].min() > 0.95
    assert score[3:].max() < 0.34


@pytest.mark.parametrize("shape", [(0, 5), (2, 0, 5)])
def test_empty_batches_of_probabilities(shape: tuple[int, ...]) -> None:
    logits = torch.zeros(shape)
    assert known_softmax(logits, KNOWN).shape == shape
    assert known_score(logits, KNOWN).shape == magnitude(logits, KNOWN).shape == shape[:-1]
    assert known_logits(logits, KNOWN).shape == (*shape[:-1], 3)


def test_magnitude_counts_the_known_logits() -> None:
    logits = torch.tensor([[3.0, 100.0, 4.0], [0.0, 7.0, 0.0], [-6.0, 0.0, 8.0]])
    assert magnitude(logits, torch.tensor([0, 2])).tolist() == [5, 0, 10]
    assert_close(magnitude(logits), logits.norm(dim=-1), 1e-7)
    assert magnitude(torch.full((5,), 6e4, dtype=torch.float16), KNOWN).item() == pytest.approx(6e4 * 3**0.5, rel=1e-6)


@pytest.mark.parametrize("function", [known_softmax, known_score, known_logits, magnitude])
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
def test_predictions_can_be_scripted(function: Callable[..., Tensor]) -> None:
    logits, _ = random_batch((3, 4, 5), class_last)
    scripted = torch.jit.script(function)
    for known in (KNOWN, torch.tensor([1])):
        for dtype in (torch.float16, torch.float32, torch.float64):
            # Twice: the second run is the optimised one.
            for _ in range(2):
                value = scripted(logits.to(dtype), known)
            assert torch.equal(value, function(logits.to(dtype), known))


@every_loss
def test_inputs_are_left_as_they_are(loss: Callable[..., Tensor]) -> None:
    logits, target = random_batch((6, 5), class_last)
    known = KNOWN.clone()
    before = logits.clone(), target.clone()
    value_and_gradient(partial(loss, known=known), logits, target)
    known_softmax(logits, known)
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])
    assert torch.equal(known, KNOWN)


# Both packages are right about both losses: unknown examples get the cross-entropy to uniform, and the mean is over all
# examples, not over each group. They know the unknown by a negative label and have no logit for it. They compute in the
# default dtype (and fail on others), hence float32. Each judges the function of known and unknown classes together,
# once as it would be called here, with a logit that is left out, and once with negative labels.


def background(logits: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Logits, target and known classes where the fifth class is the background: with its logit, and without."""
    return [
        (logits, target, torch.arange(4)),
        (logits[:, :4], torch.where(target == 4, -1, target), torch.arange(4)),
    ]


def assert_as_package(loss: Callable[..., Tensor], package: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits, target = random_batch((200, 5), class_last, torch.float32)
    (logits, target, known), (without, negative, _) = background(logits, target)
    expected, expected_gradient = value_and_gradient(package, without, negative)
    value, gradient = value_and_gradient(partial(loss, known=known), without, negative)
    assert_close(value, expected, 1e-6)
    assert_close(gradient, expected_gradient, 1e-6)
    value, gradient = value_and_gradient(partial(loss, known=known), logits, target)
    assert_close(value, expected, 1e-6)
    assert_close(gradient[:, :4], expected_gradient, 1e-6)


def test_entropic_is_that_of_openloss() -> None:
    assert_as_package(entropic_open_set_loss, openloss.EntropicOpenSetLoss(4, reduction="none"))
    mean = openloss.EntropicOpenSetLoss(4)
    assert_as_package(lambda z, y, known: entropic_open_set_loss(z, y, known=known).mean(), mean)


def test_entropic_is_that_of_pytorch_ood() -> None:
    assert_as_package(entropic_open_set_loss, pytorch_ood.loss.EntropicOpenSetLoss(reduction="none"))
    mean = pytorch_ood.loss.EntropicOpenSetLoss()
    assert_as_package(lambda z, y, known: entropic_open_set_loss(z, y, known=known).mean(), mean)


def test_entropic_per_pixel_is_that_of_pytorch_ood() -> None:
    logits, target = random_batch((2, 6, 7, 5), class_last, torch.float32)
    expected = pytorch_ood.loss.EntropicOpenSetLoss(reduction="none")(
        logits[..., :4].movedim(-1, 1), torch.where(target == 4, -1, target)
    )
    assert_close(entropic_open_set_loss(logits, target, known=torch.arange(4)), expected, 1e-6)


# Magnitudes are around 6: xi is above, among and below them. The packages' defaults are xi = 10 (openloss, which leaves
# the sum with the entropic loss to its caller), and xi = 1 with a weight of 1 (pytorch-ood).
every_weight = pytest.mark.parametrize(("xi", "zeta"), [(10.0, 0.1), (6.0, 0.5), (1.0, 1.0)])


@every_weight
def test_objectosphere_is_that_of_openloss(xi: float, zeta: float) -> None:
    for reduction in ("none", "mean"):
        entropic = openloss.EntropicOpenSetLoss(4, reduction=reduction)
        wish = openloss.ObjectoSphereLoss(xi, reduction=reduction)
        reduce = torch.mean if reduction == "mean" else torch.Tensor.clone
        assert_as_package(
            lambda z, y, known, reduce=reduce: reduce(objectosphere_loss(z, y, known=known, xi=xi, zeta=zeta)),
            lambda z, y, entropic=entropic, wish=wish: entropic(z, y) + zeta * wish(z, y),
        )


@every_weight
def test_objectosphere_is_that_of_pytorch_ood(xi: float, zeta: float) -> None:
    package = pytorch_ood.loss.ObjectosphereLoss(alpha=zeta, xi=xi, reduction="none")
    assert_as_package(partial(objectosphere_loss, xi=xi, zeta=zeta), lambda z, y: package(z, z, y))
    mean = pytorch_ood.loss.ObjectosphereLoss(alpha=zeta, xi=xi)
    assert_as_package(
        lambda z, y, known: objectosphere_loss(z, y, known=known, xi=xi, zeta=zeta).mean(), lambda z, y: mean(z, z, y)
    )


def test_objectosphere_of_features_is_that_of_both_packages() -> None:
    logits, target = random_batch((200, 5), class_last, torch.float32)
    features, _ = random_batch((200, 9), class_last, torch.float32)
    (logits, target, known), (without, negative, _) = background(logits, target)
    value = objectosphere_loss(logits, target, known=known, features=features)
    package = pytorch_ood.loss.ObjectosphereLoss(alpha=0.1, xi=10.0, reduction="none")
    assert_close(value, package(without, features, negative), 1e-6)
    wish = openloss.ObjectoSphereLoss(reduction="none")(features, negative)
    assert_close(value, openloss.EntropicOpenSetLoss(4, reduction="none")(without, negative) + 0.1 * wish, 1e-6)


def test_score_and_magnitude_are_those_of_pytorch_ood() -> None:
    """Its score for this loss grows with the strangeness, and is a product of the two."""
    logits, _ = random_batch((200, 5), class_last, torch.float32)
    expected = -pytorch_ood.loss.ObjectosphereLoss.score(logits[:, KNOWN])
    assert_close(known_score(logits, KNOWN) * magnitude(logits, KNOWN), expected, 1e-6)


@pytest.mark.parametrize("index", [-100, -1, 3])
@pytest.mark.parametrize("loss", [entropic_open_set_loss, objectosphere_loss])
def test_without_unknown_classes_a_label_must_be_a_class(loss, index: int) -> None:
    with pytest.raises((IndexError, RuntimeError), match=r"out of (bounds|range)"):
        loss(torch.zeros(2, 3), torch.tensor([0, index]))


def test_a_masked_class_has_no_magnitude() -> None:
    logits = torch.tensor([[0.0, 5.0, -torch.inf]], requires_grad=True)
    value = objectosphere_loss(logits, torch.tensor([1])).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    expected = logits.detach()[:, :2].requires_grad_()
    expected_value = objectosphere_loss(expected, torch.tensor([1])).sum()
    (expected_gradient,) = torch.autograd.grad(expected_value, expected)
    assert_close(value, expected_value, 1e-6)
    assert_close(gradient[:, :2], expected_gradient, 1e-6)
    assert gradient[0, 2] == 0
