"""The benchmarks that the runner knows: how each is started, at which size, and how its figures are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks import figures
from benchmarks.figures import Reader

PEER, REFERENCE, FIGURES = "--peer-python", "--reference", "--figures"
"""Options that the runner hands on: what to compare with, and the folder of what the others measured."""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: what its runs are given by default and with ``--quick``, and the options that it can take.

    ``limit`` is the most seconds that one run may take; a run that takes longer is ended and told as failed.
    """

    title: str
    read: Reader
    runs: Mapping[str, str]
    quick: Mapping[str, str]
    takes: tuple[str, ...] = ()
    limit: float = 600.0
    environment: Mapping[str, str] = field(default_factory=dict)


def _once(arguments: str) -> dict[str, str]:
    return {"all": arguments}


_DECODE = {
    f"{stored} {take}": f"--stored {stored} --take {take} --rounds"
    for stored in ("original", "train")
    for take in ("dense", "sparse")
}

BENCHMARKS: dict[str, Benchmark] = {
    "decode": Benchmark(
        "host decode and augment against bare FFmpeg",
        figures.of_decode,
        {label: f"{given} 3" for label, given in _DECODE.items()},
        {label: f"{given} 1" for label, given in _DECODE.items()},
        environment={"OMP_NUM_THREADS": "1"},
    ),
    "presets": Benchmark(
        "shards made for training against those of the originals",
        figures.of_presets,
        {take: f"--take {take} --rounds 5 --each 1" for take in ("dense", "sparse")},
        {take: f"--take {take} --rounds 1 --each 1 --seconds 3" for take in ("dense", "sparse")},
        environment={"OMP_NUM_THREADS": "1"},
    ),
    "sharding": Benchmark(
        "cutting and encoding clips",
        figures.of_sharding,
        _once("--rounds 5"),
        _once("--rounds 1 --count 1 --length 4 --long 8 --seconds 2"),
        takes=(PEER,),
    ),
    "probe": Benchmark(
        "probing videos",
        figures.of_probe,
        _once("--rounds 9"),
        _once("--rounds 1 --count 1 --length 3"),
        takes=(PEER,),
    ),
    "sharding_memory": Benchmark(
        "memory of vidloom shard by rows",
        figures.of_sharding_memory,
        _once("--rows 500 4000"),
        _once("--rows 20 60 --workers 1"),
    ),
    "streaming": Benchmark(
        "reading shards from an object store",
        figures.of_streaming,
        {"ranges": "--store ranges --mebibytes 256 --rounds 7", "swift": "--store swift --mebibytes 128 --rounds 5"},
        {"ranges": "--store ranges --mebibytes 8 --rounds 1", "swift": "--store swift --mebibytes 8 --rounds 1"},
    ),
    "loader": Benchmark(
        "the training loader against others",
        figures.of_loader,
        _once("--rounds 3"),
        _once("--rounds 1 --clips 8 --seconds 1 --passes 1 --shards 2"),
        takes=(PEER,),
    ),
    "resume": Benchmark(
        "first batch after resuming",
        figures.of_resume,
        _once("--clips 4000 --shards 40 --rounds 7"),
        _once("--clips 200 --shards 4 --rounds 1"),
    ),
    "stats": Benchmark(
        "statistics against one scan",
        figures.of_stats,
        _once("--rows 2000000 20000000 --rounds 3"),
        _once("--rows 20000 40000 --rounds 1"),
    ),
    "duplicates": Benchmark(
        "finding near copies",
        figures.of_duplicates,
        _once("--rows 300000"),
        _once("--rows 2000"),
    ),
    "model_step": Benchmark(
        "training steps against the public code and plain attention",
        figures.of_model_step,
        _once("--rounds 9"),
        _once("--rounds 1 --size tiny"),
        takes=(REFERENCE,),
    ),
    "attention_memory": Benchmark(
        "memory of attention by tokens",
        figures.of_attention_memory,
        _once("--tokens 1024 2048 4096 8192"),
        _once("--tokens 1024 2048 --ways ours"),
    ),
    "scaling": Benchmark(
        "one rank on one core, two on two",
        figures.of_scaling,
        _once("--rounds 3"),
        _once("--rounds 1 --clips 4 --seconds 1.4 --batch 4 --batches 1 --steps 5 --size 32"),
    ),
    "scale": Benchmark(
        "the plan of 1,024 ranks over 100,000 shards, and the sizing rule",
        figures.of_scale,
        {"all": "--nodes 2", "8 lanes": "--nodes 1 --lanes 8"},
        _once("--ranks 32 --shards 200 --shard-clips 40 --batch 8 --nodes 1"),
    ),
    "cost": Benchmark(
        "what a million clips cost, from the figures of the others",
        figures.of_cost,
        _once(""),
        _once(""),
        takes=(FIGURES,),
    ),
}


def chosen(names: list[str]) -> dict[str, Benchmark]:
    """Return the benchmarks of these names, in the order of the catalogue; ``all`` is all of them.

    Raises:
        ValueError: there is none of a name.
    """
    odd = sorted(set(names) - BENCHMARKS.keys() - {"all"})
    if odd:
        raise ValueError(f"there is no benchmark {odd[0]!r}; there are all, {', '.join(BENCHMARKS)}")
    return {name: each for name, each in BENCHMARKS.items() if name in names or "all" in names}
