"""The run's configuration: its sections as frozen dataclasses, checked before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from model.clip_config import VideoTextConfig
from train.checks import require, require_choice
from train.data_config import DataConfig
from train.optim_config import AdamWConfig
from train.stages import STAGES, ModelConfig, ObjectiveSettings, Stage, clips_of, kind_of
from train.train_config import InitConfig, TrainConfig

__all__ = ["AdamWConfig", "DataConfig", "InitConfig", "RunConfig", "TrainConfig"]


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything a run is told. ``out`` is the folder or URL that takes checkpoints and logs."""

    stage: str
    model: ModelConfig
    objective: ObjectiveSettings
    data: DataConfig
    init: InitConfig
    optim: AdamWConfig
    train: TrainConfig
    out: str

    def __post_init__(self) -> None:
        require_choice("stage", self.stage, tuple(STAGES))
        require(bool(self.out.strip()), "out", self.out, "a folder or URL")
        rules = STAGES[self.stage]
        if self.model_kind not in rules.kinds:
            raise ValueError(
                f"stage={self.stage} trains {' or '.join(rules.kinds)}, and model.kind={self.model_kind}; choose"
                " another model"
            )
        require(type(self.objective) is rules.settings, "objective", self.objective, rules.settings.__name__)
        self._check_clips()
        self._check_data(rules)
        self._check_parts(rules)
        self._check_init()
        self.require_shares(1)
        self._check_lengths()

    @property
    def model_kind(self) -> str:
        """The kind of the network, as weights files name it."""
        return kind_of(self.model)

    @property
    def rules(self) -> Stage:
        """What the stage needs and refuses."""
        return STAGES[self.stage]

    def require_shares(self, world: int) -> None:
        """Check that the batches suit ``world`` ranks, of which each cuts its share into parts.

        Raises:
            ValueError: the smallest share has fewer samples than ``train.accumulate``, or ranks that exchange what they
                have would have unequal shares.
        """
        sizes = {"data.batch_size": self.data.batch_size}
        if self.data.images is not None:
            sizes |= {"data.image_batch_size": self.data.image_batch}
        for name, size in sizes.items():
            self._require_share(name, size, world)

    def _require_share(self, name: str, size: int, world: int) -> None:
        share, parts = size // world, self.train.accumulate
        if share < parts:
            raise ValueError(
                f"{name}={size} over {world} rank(s) leaves a rank {share} sample(s), fewer"
                f" than train.accumulate={parts}: each part needs one; give {name}={world * parts} or more, or"
                " a smaller train.accumulate",
            )
        if not self.rules.parts_add_up and size % world:
            raise ValueError(
                f"{name}={size} does not divide by {world} ranks, which contrast as many samples each; give"
                f" {name}={size - size % world}"
            )

    def _check_clips(self) -> None:
        clips = clips_of(self.model)
        if clips.frames != self.data.frames:
            raise ValueError(f"{clips.where}.frames={clips.frames} and data.frames={self.data.frames} must be equal")
        if tuple(clips.image_size) != (self.data.size, self.data.size):
            raise ValueError(
                f"{clips.where}.image_size={list(clips.image_size)} and data.size={self.data.size} must be equal",
            )

    def _check_data(self, rules: Stage) -> None:
        data, stage = self.data, f"stage={self.stage}"
        if data.images is not None and not rules.images:
            raise ValueError(f"{stage} takes no data.images={data.images}: images take turns with clips in vlc only")
        if rules.labels and data.label is None:
            raise ValueError(f"{stage} needs data.label, the name of the dataset's column that holds a sample's class")
        if data.rows > 1 and not rules.repeats:
            given = f"data.repeats={data.repeats}" if data.repeats > 1 else f"data.clips={data.clips}"
            raise ValueError(f"{stage} takes no {given}: a text would stand in a batch repeatedly")
        if (data.packing or data.buckets) and self.stage != "mvm":
            raise ValueError(f"{stage} takes clips of one shape: data.packing and data.buckets are of stage=mvm")
        if data.colours != "imagenet" and rules.imagenet:
            raise ValueError(f"{stage} takes data.colours=imagenet only, not {data.colours}")
        if self.train.accumulate > 1 and not rules.parts_add_up:
            raise ValueError(
                f"{stage} takes no train.accumulate={self.train.accumulate}: contrasting parts of a batch is not"
                " contrasting the batch; recompute blocks instead (checkpoint_blocks=true in the towers of model)"
            )
        if self.train.eval_every is not None and data.judged is None:
            raise ValueError(
                f"train.eval_every={self.train.eval_every} needs data.val, the dataset to judge the run on, or with"
                " one dataset data.train a share of it in data.holdout"
            )

    def _check_parts(self, rules: Stage) -> None:
        """Refuse what the stage would pass over, and images that its network does not take."""
        data, towers = self.data, self.model if isinstance(self.model, VideoTextConfig) else None
        for name, used in (("label", rules.labels), ("classes", rules.labels), ("tokenizer", towers is not None)):
            value = getattr(data, name)
            if value is not None and not used:
                raise ValueError(f"stage={self.stage} takes no data.{name}={value}: it has no use for it; give null")
        if data.images is not None and towers is not None and towers.video.temporal_downsample:
            raise ValueError(
                f"data.images={data.images} gives single frames, and model.video.temporal_downsample=true takes two at"
                " a time; give data.images=null, or false"
            )

    def _check_init(self) -> None:
        if self.stage != "cma" and (self.init.masked or self.init.multimodal):
            raise ValueError(
                f"stage={self.stage} has one network: give init.model; init.masked and init.multimodal are of stage=cma"
            )

    def _check_lengths(self) -> None:
        steps, warmup = self.train.max_steps, self.optim.warmup_steps
        if steps is not None and warmup is not None and warmup > steps:
            raise ValueError(f"optim.warmup_steps={warmup} does not fit into train.max_steps={steps}")
        if warmup is None and self.optim.warmup_epochs > self.train.epochs:
            raise ValueError(
                f"optim.warmup_epochs={self.optim.warmup_epochs} does not fit into train.epochs={self.train.epochs}"
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as nested plain values, as JSON holds them; the model's kind is one of its keys."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain | {"model": {"kind": self.model_kind} | plain["model"]}


def _plain(value: Any) -> Any:  # noqa: ANN401 - walks values of any kind
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
