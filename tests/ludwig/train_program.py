"""Run by test_distributed.py on each rank: `ludwig train`, and what the rank ended up with.

The first argument is the folder for the results, the rest are those of ``ludwig train``.
"""

from __future__ import annotations

import os
import pathlib
import sys

import torch


def plain(metrics: dict) -> dict:
    """Return the values of Ludwig's records of metrics."""
    return {
        feature: {name: [entry[-1] for entry in entries] for name, entries in of_feature.items()}
        for feature, of_feature in metrics.items()
    }


def main(folder: str, *arguments: str) -> None:
    import ludwig.trainers.trainer
    from ludwig.callbacks import Callback

    from ludwig_losses import distributed
    from ludwig_losses.losses.nt_xent import NTXentLoss

    rank = int(os.environ.get("RANK", "0"))
    seen = {"rows": []}
    forward, train = NTXentLoss.forward, ludwig.trainers.trainer.Trainer.train

    def spy(self, preds, target):
        if preds.requires_grad and torch.is_grad_enabled():
            seen["rows"].append(target[:, 0].round().long().tolist())
        return forward(self, preds, target)

    class Last(Callback):
        """Keeps the weights of the last step, before the first rank loads the best ones."""

        def on_trainer_train_teardown(self, trainer, *args, **kwargs):
            last = trainer.dist_model.state_dict()
            seen["parameters"] = {name.removeprefix("module."): value.clone() for name, value in last.items()}

    def remember(trainer, *args, **kwargs):
        trainer.callbacks = [*trainer.callbacks, Last()]
        result = train(trainer, *args, **kwargs)
        seen["metrics"] = dict(zip(("training", "validation", "test"), map(plain, result[1:]), strict=True))
        return result

    NTXentLoss.forward = spy
    ludwig.trainers.trainer.Trainer.train = remember
    if "RANK" in os.environ:
        assert distributed.main(["train", *arguments]) == 0
    else:
        import ludwig.train

        ludwig.train.cli(list(arguments))
    torch.save(seen, pathlib.Path(folder) / f"rank{rank}of{os.environ.get('WORLD_SIZE', '1')}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
