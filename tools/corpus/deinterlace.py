"""Make whole pictures of interlaced ones, one for each, by FFmpeg's bwdif."""

from __future__ import annotations

from fractions import Fraction

from av.error import BlockingIOError as NotYetError
from av.error import EOFError as EndError
from av.error import FFmpegError
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame

from shards.ledger import Reason
from tools.corpus.media_file import MediaError


class Deinterlacer:
    """Takes the frames of a clip in order and gives as many back; of those marked as interlaced, one field is kept.

    The other field's lines are made anew from it and from the neighbours within the clip. Frames that are not marked
    pass through as they are.
    """

    def __init__(self) -> None:
        self._graph: _Bwdif | None = None
        self.is_used = False

    def push(self, frame: VideoFrame) -> list[VideoFrame]:
        """Take one frame and return those that are ready.

        Raises:
            MediaError: the filter does not take such pictures.
        """
        try:
            return self._pushed(frame)
        except FFmpegError as error:
            size = f"{frame.width}x{frame.height}"
            message = f"interlaced pictures of {size} ({frame.format.name}) cannot be made whole: {error.strerror}"
            raise MediaError(Reason.ENCODE_ERROR, message) from error

    def finish(self) -> list[VideoFrame]:
        """Return the frames that are left."""
        return [] if self._graph is None else self._graph.finish()

    def _pushed(self, frame: VideoFrame) -> list[VideoFrame]:
        if self._graph is None:
            if not frame.interlaced_frame:
                return [frame]
            self._graph, self.is_used = _Bwdif(frame), True
        if not self._graph.takes(frame):
            before, self._graph = self._graph.finish(), None
            return [*before, *self._pushed(frame)]
        return self._graph.push(frame)


class _Bwdif:
    """The filter for frames of one size and format; frame n has the time n in there."""

    def __init__(self, first: VideoFrame) -> None:
        self._form = _form(first)
        self._count = 0
        self._graph = Graph()
        self._graph.threads = 1
        source = self._graph.add_buffer(
            width=first.width, height=first.height, format=first.format, time_base=Fraction(1)
        )
        bwdif = self._graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        sink: FilterContext = self._graph.add("buffersink")
        self._graph.link_nodes(source, bwdif, sink).configure()

    def takes(self, frame: VideoFrame) -> bool:
        """Return whether a frame is like those before it."""
        return _form(frame) == self._form

    def push(self, frame: VideoFrame) -> list[VideoFrame]:
        own = frame.pts, frame.time_base
        frame.pts, frame.time_base = self._count, Fraction(1)
        self._count += 1
        self._graph.vpush(frame)
        frame.pts, frame.time_base = own  # others may be given the same frame
        return self._pull()

    def finish(self) -> list[VideoFrame]:
        self._graph.vpush(None)
        return self._pull()

    def _pull(self) -> list[VideoFrame]:
        made: list[VideoFrame] = []
        while True:
            try:
                made.append(self._graph.vpull())
            except (NotYetError, EndError):
                return made


def _form(frame: VideoFrame) -> tuple[str, object, object]:
    return frame.format.name, frame.width, frame.height
