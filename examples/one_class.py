"""One-class losses in plain PyTorch: a small network for rows of numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ludwig_losses.functional import (
    deep_sad_loss,
    deep_svdd_loss,
    drocc_adversary,
    drocc_loss,
    initial_center,
    squared_distance,
)

EPOCHS, BATCH_SIZE, LEARNING_RATE = 30, 64, 0.001
# Training leaves out twice the share of the rows that is suspected.
MARGIN = 2
# Of so many of the latest rows the farthest are left out.
LATEST = 512


class Network(nn.Module):
    """One hidden layer of 128 units, and 32 numbers, which are scored by their distance to a centre or by a layer."""

    def __init__(self, inputs: int, *, has_head: bool) -> None:
        super().__init__()
        # Without biases where they would let the network map everything to the centre.
        self.body = nn.Sequential(nn.Linear(inputs, 128, bias=has_head), nn.ReLU(), nn.Linear(128, 32, bias=has_head))
        self.head = nn.Linear(32, 1) if has_head else None
        self.center = torch.zeros(32)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        return squared_distance(hidden, self.center) if self.head is None else self.head(hidden).squeeze(1)


def train(name: str, rows: Tensor, labels: Tensor, contamination: float, seed: int) -> Network:
    """Train a network with a loss; its output is the higher, the more anomalous a row is."""
    torch.manual_seed(seed)
    network = Network(rows.shape[1], has_head=name == "drocc")
    with torch.no_grad():
        network.center = initial_center(network.body(rows[labels != 1]).mean(dim=0))
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    latest = torch.zeros(0)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(rows)).split(BATCH_SIZE):
            x, y = rows[batch], labels[batch]
            score = network(x)
            cutoff = None
            if contamination and (y != 1).any():
                latest = torch.cat([latest, score.detach()[y != 1]])[-LATEST:]
                cutoff = latest.quantile(1 - MARGIN * contamination, interpolation="higher")
            loss = loss_of(name, network, x, y, score, cutoff)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


def loss_of(name: str, network: Network, x: Tensor, y: Tensor, score: Tensor, cutoff: Tensor | None) -> Tensor:
    if name == "deep_svdd":
        return deep_svdd_loss(score, nu=0, cutoff=cutoff).mean()
    if name == "deep_sad":
        return deep_sad_loss(score, y, cutoff=cutoff).mean()
    radius = x.shape[1] ** 0.5 / 2
    h = drocc_adversary(lambda moved: -network(moved), x, radius=radius, step_size=1.0)
    return drocc_loss(-score, -network(x + h), cutoff=None if cutoff is None else -cutoff).mean()
