"""Train a network of your own with a plain PyTorch loop that can be stopped anywhere and goes on exactly.

Run ``python examples/train_plain.py DATASET CHECKPOINT [STEPS]``, and again with more STEPS to go on. The network
learns which clips run backwards (the arrow of time, Wei et al., CVPR 2018), for which no label is needed, and no GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines import LoaderConfig, build_loader
from pipelines.batch import VideoTextBatch

SIZE, FRAMES, BATCH = 32, 8, 8


def settings(dataset: str) -> LoaderConfig:
    """Return what the loader is told; of several processes each also gives its ``rank`` and their number, ``world``."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return LoaderConfig(
        dataset, batch_size=BATCH, frames=FRAMES, size=SIZE, sampling="segment", crop="random_resized", device=device
    )


def network() -> nn.Module:
    """Return a few convolutions in space and time."""
    return nn.Sequential(
        nn.Conv3d(3, 16, (3, 7, 7), stride=(1, 4, 4), padding=(1, 3, 3)),
        nn.ReLU(),
        nn.Conv3d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(32, 1),
    )


def loss_of(model: nn.Module, batch: VideoTextBatch) -> Tensor:
    """Show each clip forwards and backwards, and score which is which; clips that could not be read do not count."""
    both = torch.cat([batch.video, batch.video.flip(2)])
    forwards = torch.cat([torch.ones(len(batch)), torch.zeros(len(batch))]).to(both.device)
    each = nn.functional.binary_cross_entropy_with_logits(model(both)[:, 0], forwards, reduction="none")
    counts = batch.valid.repeat(2)
    return (each * counts).sum() / counts.sum().clamp(min=1)


def main(dataset: str, checkpoint: Path, steps: int) -> None:
    """Go on from the checkpoint, if there is one, up to a step, and write the checkpoint."""
    told = settings(dataset)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = network().to(told.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    done, place = 0, None
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        done, place = saved["step"], saved["loader"]
        print(f"going on after step {done}, with sample {place['samples']} of the dataset's order")
    with build_loader(told, place) as loader:
        for step in range(done + 1, steps + 1):
            loss = loss_of(model, next(loader))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            print(f"step {step}  loss {loss.item():.6f}")
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": max(steps, done),
                "loader": loader.state_dict(),  # a few hundred bytes, the same on all ranks
            },
            checkpoint,
        )


if __name__ == "__main__":
    if len(sys.argv) < 3:  # noqa: PLR2004 - dataset and checkpoint
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 20)  # noqa: PLR2004 - three arguments
