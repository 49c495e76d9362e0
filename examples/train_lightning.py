"""Train the network of train_plain.py with PyTorch Lightning, stopped and resumed at the very sample.

Run ``python examples/train_lightning.py DATASET FOLDER [STEPS]``, and again with more STEPS to go on. Lightning asks a
loader for a batch more than it has trained on, so what is saved is the state that came with the last batch trained on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from train_plain import loss_of, network, settings

from pipelines import build_loader
from pipelines.batch import VideoTextBatch


@dataclass
class Taken:
    """A batch, and where the loader stands once it has been trained on."""

    batch: VideoTextBatch
    after: Mapping[str, Any]


class Batches:
    """An iterable of batches without end for Lightning; each rank gets its share.

    Args:
        dataset: folder or URL.
        rank: this process's number.
        world: how many there are.
        state: where to go on; None begins.
    """

    def __init__(self, dataset: str, rank: int, world: int, state: Mapping[str, Any] | None) -> None:
        self._told, self._state = replace(settings(dataset), rank=rank, world=world), state

    def __iter__(self) -> Iterator[Taken]:
        with build_loader(self._told, self._state) as loader:
            for batch in loader:
                yield Taken(batch, loader.state_dict())


class ArrowOfTime(pl.LightningModule):
    """The network, its loss, and the loader's place in the checkpoint."""

    def __init__(self, dataset: str) -> None:
        super().__init__()
        self.model, self.dataset = network(), dataset
        self.place: Mapping[str, Any] | None = None

    def train_dataloader(self) -> Batches:
        """Return batches from where a checkpoint stopped."""
        return Batches(self.dataset, self.trainer.global_rank, self.trainer.world_size, self.place)

    def transfer_batch_to_device(self, batch: Taken, *_: object) -> Taken:
        """Leave the batch where it is: the loader has put it on the device."""
        return batch

    def training_step(self, taken: Taken) -> torch.Tensor:
        """Return the loss of a batch."""
        loss = loss_of(self.model, taken.batch)
        self.place = taken.after
        print(f"step {self.global_step + 1}  loss {loss.item():.6f}")
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the same optimiser as the plain loop's."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the loader's place."""
        checkpoint["vidloom"] = self.place

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go to the loader's place."""
        self.place = checkpoint["vidloom"]


def main(dataset: str, folder: Path, steps: int) -> None:
    """Train up to a step, from the checkpoint in the folder if there is one, and write it."""
    checkpoint = folder / "last.ckpt"
    torch.manual_seed(0)
    trainer = pl.Trainer(
        max_steps=steps,
        default_root_dir=folder,
        accelerator="auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # shares are the loader's business
    )
    trainer.fit(ArrowOfTime(dataset), ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
    trainer.save_checkpoint(checkpoint)


if __name__ == "__main__":
    if len(sys.argv) < 3:  # noqa: PLR2004 - dataset and folder
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 20)  # noqa: PLR2004 - three arguments
