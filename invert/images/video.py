"""Frames as an H.264 video, with the optional package PyAV."""

import importlib.util
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from invert.errors import UsageError
from invert.images.fitting import Size, height_and_width

__all__ = ["VideoWriter", "require_av"]


def require_av() -> None:
    """Check that videos can be written here, before anything is synthesised for one.

    Raises:
        UsageError: PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise UsageError(
            "--video needs the package av, which is not installed",
            advice="Install it with: pip install 'invert[video]'.",
            code="no-av",
        )


class VideoWriter:
    """Write an MP4 frame by frame; the file is whole when the block ends well.

    Args:
        file: A file open for writing in binary mode, and seekable: lengths are filled in at the end.
        size: Side of the frames in pixels, or height and width; even, for the colours have half the resolution.
        rate: Frames per second.
    """

    def __init__(self, file: BinaryIO, size: Size, rate: int) -> None:
        import av

        self._av = av
        self._container: Any = av.open(file, "w", format="mp4")
        # Near to what was synthesised: at the usual quality small images lose their texture.
        self._stream: Any = self._container.add_stream("libx264", rate=rate, options={"crf": "16"})
        self._stream.height, self._stream.width = height_and_width(size)
        self._stream.pix_fmt = "yuv420p"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def write(self, image: NDArray[np.uint8]) -> None:
        """Add a frame, uint8 `[height, width, 3]`."""
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._container.mux(self._stream.encode(frame))
