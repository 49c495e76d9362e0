"""``vidloom eval TASK``: the options of each task; what they do is in ``train.evaluate``."""

# ruff: noqa: PLC0415 - torch takes seconds to load, and --help and wrong usage shall not wait for it

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from train.apply.console import DONE, FALLS_SHORT, command, lines_of, log_to_terminal, tell

if TYPE_CHECKING:
    from train.evaluate.judging import JudgedDataset
    from train.evaluate.report import Figures

app = typer.Typer(
    help="Measure what a model learnt on a dataset that vidloom shard made; docs/evaluation.md tells of each task.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: vidloom eval retrieval s3://bucket/msrvtt --model runs/vlc --dual",
)

_MODEL = "A run's folder, its export (OUT/final), or weights: a path or s3:// URL."
_TOKENIZER = "Vocabulary of the texts: tokenizer.json or a merge list.  [default: the one beside the model]"
_BATCH = "Clips of a batch, over all ranks."
_CACHE = "Folder for copies of remote shards.  [default: none are kept]"
_REPORT = "File to write as JSON; path or s3:// URL."
_TRUST = "Run code that the weights hold, as old pickles need: only for files whose source you trust."
_WHERE = "Measure on clips that meet a condition (docs/filters.md), such as 'duration >= 2'."
_HOLDOUT = "Measure on the share that training leaves out with data.holdout; --train of the same dataset is the rest."
_ENSEMBLE = "Average the weights with those of another model first, such as the one that it was tuned from."
_SHARE = "What that one weighs, from 0 to 1.  [default: 0.5]"
_CLASSES = "Text file with the name of each class on a line, in their order.  [default: %s]"
_LABEL = "Column of the class in the dataset's own table: its name, or its number from 0."
_TRAIN = "Labelled dataset to learn from: folder or s3:// URL."

LabelColumn = Annotated[str, typer.Option("--label-col", help=_LABEL)]
Train = Annotated[str, typer.Option("--train", help=_TRAIN)]


@dataclass(frozen=True)
class Common:
    """What every task takes."""

    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Folder or s3:// URL of a dataset.")]
    model: Annotated[str, typer.Option(help=_MODEL)]
    tokenizer: Annotated[str | None, typer.Option(help=_TOKENIZER)] = None
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto"
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="What products are computed in.")] = "fp32"
    batch_size: Annotated[int, typer.Option(min=1, help=_BATCH)] = 32
    workers: Annotated[int, typer.Option(min=0, help="Threads of a rank that decode.")] = 2
    cache_dir: Annotated[str | None, typer.Option(help=_CACHE)] = None
    trust: Annotated[bool, typer.Option("--trust", help=_TRUST)] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of a table.")] = False
    out: Annotated[str | None, typer.Option(help=_REPORT)] = None
    where: Annotated[str | None, typer.Option(help=_WHERE)] = None
    holdout: Annotated[float, typer.Option(min=0.0, max=1.0, help=_HOLDOUT)] = 0.0
    holdout_by: Annotated[Literal["source", "key"], typer.Option(help="As in training: data.holdout_by.")] = "source"
    holdout_salt: Annotated[str, typer.Option(help="As in training: data.holdout_salt.")] = ""
    ensemble_with: Annotated[str | None, typer.Option(metavar="MODEL", help=_ENSEMBLE)] = None
    ensemble_weight: Annotated[float | None, typer.Option(min=0.0, max=1.0, help=_SHARE)] = None

    def told(self, share: float) -> dict[str, Any]:
        """Return what of the dataset is measured on and what of the weights, as settings of a report."""
        held_out = {"holdout": self.holdout, "holdout_by": self.holdout_by, "holdout_salt": self.holdout_salt}
        joined = {"ensemble_with": self.ensemble_with, "ensemble_weight": share}
        part = ({} if self.where is None else {"where": self.where}) | (held_out if self.holdout else {})
        return part | ({} if self.ensemble_with is None else joined)


def _task(example: str, name: str | None = None) -> Callable[[Callable[..., Figures]], Callable[..., Figures]]:
    """Make a command of a task: its own options and those of every task, which it gets as an open dataset."""

    def register(task: Callable[..., Figures]) -> Callable[..., Figures]:
        called = name or task.__name__.replace("_", "-")
        shared = list(inspect.signature(Common, eval_str=True).parameters.values())
        hints = get_type_hints(task, localns=dict.fromkeys(("JudgedDataset", "Figures"), object), include_extras=True)
        told = list(inspect.signature(task).parameters.values())[1:]
        own = [each.replace(annotation=hints[each.name]) for each in told]

        @functools.wraps(task)
        def run(**options: Any) -> int:  # noqa: ANN401 - options of many types
            common = Common(**{field.name: options.pop(field.name) for field in fields(Common)})
            return _measure(called, common, options, task)

        listed = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*shared[:2], *own, *shared[2:])]
        run.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {each.name: each.annotation for each in listed}
        app.command(called, epilog=f"Example: vidloom eval {called} {example}")(command(run))
        return task

    return register


def _measure(called: str, common: Common, options: dict[str, Any], task: Callable[..., Figures]) -> int:
    """Open model and dataset on every rank, measure, and tell."""
    from pipelines.split import SplitConfig
    from pipelines.subset import SubsetConfig
    from train.ensemble import ensemble_with, share_of
    from train.evaluate.judging import Judge, LoadSettings
    from train.evaluate.report import Report
    from train.parallel import start_ranks
    from train.pretrained import load_model

    log_to_terminal()
    share = share_of(common.ensemble_with, common.ensemble_weight)
    with start_ranks(common.device) as ranks:
        model = load_model(common.model, device=ranks.device, tokenizer=common.tokenizer, trust=common.trust)
        if common.ensemble_with is not None:
            ensemble_with(model.network, common.ensemble_with, share, trust=common.trust, classes=model.classes)
        loading = LoadSettings(common.batch_size, common.workers, common.cache_dir)
        split = (
            SplitConfig(common.holdout, "held_out", common.holdout_by, common.holdout_salt) if common.holdout else None
        )
        judge = Judge(model, ranks, loading, precision=common.precision)
        data = judge.dataset(common.dataset, SubsetConfig(common.where, split))
        figures = task(data, **options)
        settings = {"precision": common.precision} | options | common.told(share)
        report = Report(called, common.model, common.dataset, data.manifest.digest, figures, settings)
        tell(report, as_json=common.as_json, out=common.out)
    return FALLS_SHORT if figures.unusable else DONE


@_task("s3://bucket/msrvtt --model runs/vlc --dual")
def retrieval(
    data: JudgedDataset,
    *,
    dual: Annotated[bool, typer.Option("--dual", help="Tell figures with dual softmax, too.")] = False,
) -> Figures:
    """Find clips by captions and captions by clips: R@1, R@5, R@10, median and mean rank."""
    from train.evaluate import language_tasks

    return language_tasks.retrieval(data, dual=dual)


@_task("s3://bucket/k400-val --model runs/vlc --label-col label --templates prompts.txt")
def zero_shot(
    data: JudgedDataset,
    *,
    label_col: LabelColumn = "label",
    classes: Annotated[str | None, typer.Option(help=_CLASSES % "the column's texts")] = None,
    templates: Annotated[str | None, typer.Option(help="Sentences with {} for the name.  [default: CLIP's 28]")] = None,
) -> Figures:
    """Classify clips by the likeness of class names in sentences."""
    from train.evaluate import language_tasks
    from train.evaluate.zero_shot import TEMPLATES

    sentences = TEMPLATES if templates is None else lines_of(templates)
    return language_tasks.zero_shot(data, label=label_col, classes=classes and lines_of(classes), templates=sentences)


@_task("s3://bucket/msrvtt-mc --model runs/vlc --choices-col options --answer-col answer")
def choices(
    data: JudgedDataset,
    *,
    choices_col: Annotated[
        list[str], typer.Option(help="Column of a list of candidates; or repeated, one column for each candidate.")
    ],
    answer_col: Annotated[
        str, typer.Option(help="Column of the right one: its number from 0, or its text.")
    ] = "answer",
) -> Figures:
    """Choose one of several texts for each clip."""
    from train.evaluate import language_tasks

    return language_tasks.choices(data, columns=choices_col, answer=answer_col)


@_task("s3://bucket/msrvtt --model runs/vlc --beams 5")
def captions(
    data: JudgedDataset,
    *,
    beams: Annotated[int, typer.Option(min=1, help="Captions that grow side by side; 1 writes greedily.")] = 1,
    max_tokens: Annotated[int, typer.Option(min=1, help="The most tokens of a caption.")] = 30,
    shown: Annotated[int, typer.Option(min=0, help="Captions to show.")] = 3,
) -> Figures:
    """Write a caption for each clip: BLEU, METEOR, ROUGE-L, CIDEr-D against the dataset's."""
    from model.generation import Generation
    from train.evaluate import language_tasks

    room = getattr(getattr(data.judge.model.network, "config", None), "text", None)
    most = max_tokens if room is None else min(max_tokens, room.context - 1)
    how = Generation(kind="greedy" if beams == 1 else "beam", beams=beams, max_tokens=most)
    return language_tasks.captions(data, settings=how, shown=shown)


@_task("s3://bucket/msvd-qa --model vqa.safetensors --answers answers.txt --tokenizer bpe.txt.gz")
def answers(
    data: JudgedDataset,
    *,
    question_col: Annotated[str, typer.Option(help="Column of the question.")] = "question",
    answer_col: Annotated[
        str, typer.Option(help="Column of the true answer, or of a list of several people's.")
    ] = "answer",
    answers: Annotated[
        str | None, typer.Option(help="Text file of the model's answers.  [default: its classes]")
    ] = None,
) -> Figures:
    """Answer questions about clips by a model of question answering."""
    from train.evaluate import answering_task

    words = None if answers is None else lines_of(answers)
    return answering_task.answers(data, question=question_col, answer=answer_col, vocabulary=words)


@_task("s3://bucket/k400-val --model runs/sft --label-col label --clips 4 --crops 3")
def classification(
    data: JudgedDataset,
    *,
    label_col: LabelColumn = "label",
    classes: Annotated[str | None, typer.Option(help=_CLASSES % "the model's own")] = None,
    clips: Annotated[int, typer.Option(min=1, help="Views along the clip's time.")] = 1,
    crops: Annotated[int, typer.Option(min=1, help="Views along the picture's longer side.")] = 1,
) -> Figures:
    """Classify clips by a trained classifier: the mean softmax of clips x crops."""
    from pipelines.part_settings import ViewConfig
    from train.evaluate import class_tasks

    names = None if classes is None else lines_of(classes)
    return class_tasks.classification(data, label=label_col, classes=names, views=ViewConfig(clips, crops))


@_task("s3://bucket/k400-val --train s3://bucket/k400-train --model runs/mvm --label-col label")
def knn(
    data: JudgedDataset,
    *,
    train: Train,
    label_col: LabelColumn = "label",
    neighbours: Annotated[int, typer.Option(min=1, help="Nearest clips that vote.")] = 20,
    temperature: Annotated[float, typer.Option(help="What cosines are divided by.")] = 0.07,
) -> Figures:
    """Classify clips by the nearest clips of a labelled dataset."""
    from train.evaluate import probing_tasks

    known = data.labelled(train)
    return probing_tasks.knn(data, known, label=label_col, neighbours=neighbours, temperature=temperature)


@_task("s3://bucket/k400-val --train s3://bucket/k400-train --model runs/mvm --label-col label")
def linear_probe(
    data: JudgedDataset,
    *,
    train: Train,
    label_col: LabelColumn = "label",
    penalty: Annotated[
        list[float] | None, typer.Option(help="Penalties to choose among.  [default: 1e-6 to 100]")
    ] = None,
) -> Figures:
    """Classify clips by logistic regression on frozen features."""
    from train.evaluate import probing_tasks
    from train.evaluate.linear_probe import STRENGTHS

    known = data.labelled(train)
    return probing_tasks.linear_probe(data, known, label=label_col, strengths=penalty or STRENGTHS)


@_task("s3://bucket/k400-val --train s3://bucket/k400-train --model runs/mvm --label-col label")
def attentive_probe(
    data: JudgedDataset,
    *,
    train: Train,
    label_col: LabelColumn = "label",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the labelled clips.")] = 20,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Decides the first weights and the order of clips.")] = 0,
    memory: Annotated[float, typer.Option(help="GiB that frozen tokens may take in each process.")] = 16.0,
) -> Figures:
    """Classify clips by a learnt query that looks at frozen tokens."""
    from train.evaluate import probing_tasks
    from train.evaluate.attentive_probe import AttentiveSettings

    how = AttentiveSettings(epochs=epochs, lr=lr, seed=seed)
    known, room = data.labelled(train), int(memory * (1 << 30))
    return probing_tasks.attentive_probe(data, known, label=label_col, settings=how, memory=room)
