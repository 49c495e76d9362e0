"""A stand-in for Ray in one process: actors whose calls run when they are waited for, and that can be lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    """What Ray raises of itself."""


class RayTaskError(RayError):
    """A call failed by its own fault; ``cause`` is its error."""

    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


@dataclass(eq=False)
class Call:
    """A call of an actor that was asked for and not waited for yet."""

    actor: FakeActor
    name: str
    arguments: tuple[Any, ...]


class FakeActor:
    """An actor around an object; once ``lost`` every call of it fails."""

    def __init__(self, held):
        self.held = held
        self.lost = False
        self.killed = False

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *arguments: Call(self, name, arguments))


@dataclass
class FakeRay:
    """The part of Ray's interface that the executor uses; ``actors`` are all that were ever started."""

    cpus: float = 2.0
    actors: list[FakeActor] = field(default_factory=list)
    exceptions: Any = field(default_factory=lambda: SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError))

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return {"CPU": self.cpus, "memory": 1e9}

    available_resources = cluster_resources

    def remote(self, **_options):
        def decorate(kind):
            def start(*arguments, **settings):
                self.actors.append(FakeActor(kind(*arguments, **settings)))
                return self.actors[-1]

            return SimpleNamespace(remote=start)

        return decorate

    def wait(self, calls, *, num_returns, timeout):
        assert num_returns == len(calls)
        assert timeout > 0
        return calls, []

    def get(self, call):
        if call.actor.lost:
            raise RayError("the actor died: its node has gone\nand more")
        try:
            return getattr(call.actor.held, call.name)(*call.arguments)
        except LookupError as error:
            raise RayTaskError(error) from error

    def kill(self, actor):
        actor.killed = True
