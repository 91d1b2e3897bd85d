"""Writes a video with the colours of the classes over each frame.

The package av, an interface to FFmpeg, is in the extra `video`; only the functions that need it import it.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from database.image_opening import check_pixels
from database.regular_files import regular_file
from tools.errors import VideoError
from tools.prediction.files import overlay_of
from tools.prediction.predictions import PredictsImages
from tools.prediction.predictor import image_named
from tools.prediction.result_writing import result_file
from tools.prediction.video_suffixes import container_of
from tools.runs.record import ModelRecord
from tools.runtime.extras import extra_needed
from tools.runtime.progress import counted

logger = logging.getLogger(__name__)

# The first encoder that FFmpeg has is used; both can be played nearly everywhere.
_ENCODERS = (("libx264", {"crf": "20"}), ("mpeg4", {"qscale": "3"}))
_USUAL_RATE = Fraction(25)

# FFmpeg's numbers of the colours of HD video (ITU-R BT.709), of those of SD video (BT.601), and of the range 16..235.
_BT709, _BT601, _LIMITED = 1, 5, 1
_UNKNOWN_COLORS = (0, 2)  # RGB, and unspecified
_HEIGHT_OF_HD = 720


class Segments(PredictsImages, Protocol):
    """Predicts images, as `tools.prediction.segmentation_model.SegmentationModel` does."""

    record: ModelRecord


def write_overlaid_video(path: str, target: str, model: Segments) -> None:
    """Reads a video, blends the colours of the classes over each frame, and writes it as MP4.

    Frames are read, predicted and written one by one, so that memory does not grow with the length. They keep their
    times; rotated ones are turned upright. The first audio stream is copied if MP4 can hold it. Odd heights and widths
    become even by a repeated row or column, as H.264 needs.

    Args:
        path: of the video.
        target: the file to write, which appears complete or not at all.
        model: predicts the frames.

    Raises:
        MissingPackageError: the package av is not installed.
        VideoError: the video cannot be read or decoded, or has no frames, or the network is not for RGB images.
        ImageError: the frames have too many pixels.
        ResultsFolderError: the file cannot be written.
    """
    if model.record.channels is not None:
        raise VideoError(
            f"{path}: a video has frames of red, green and blue, expected {model.record.channels.count} channels as "
            "files store them, by the checkpoint: give images"
        )
    with extra_needed("video", f"{path}, a video,"):
        import av
    with (
        _opened(av, path) as source,
        result_file(target) as file,
        _faults_of_output(av),
        av.open(file, "w", format="mp4") as output,
    ):
        count = _Overlay(av, path, source, output, model).write()
        if not count:
            raise VideoError(f"{path}: the video has no frames: give another file")
    logger.info("%s: %d frames", path, count)


@contextmanager
def _faults_of_output(av: Any) -> Iterator[None]:
    """Replaces FFmpeg's error on writing or closing a file by the one that it follows from.

    If a write fails, FFmpeg reports a number of its own; if the block fails, closing the file may fail too.

    Raises:
        OSError: FFmpeg failed by itself.
    """
    try:
        yield
    except av.error.FFmpegError as error:
        cause: BaseException | None = error
        while isinstance(cause, av.error.FFmpegError):
            cause = cause.__cause__ or cause.__context__
        raise cause or OSError(errno.EIO, str(error)) from error


@contextmanager
def _opened(av: Any, path: str) -> Iterator[Any]:
    """Opens a video with a picture stream; no other file or address that it names is opened."""

    def refuse(url: str, *more: Any) -> None:
        raise VideoError(f"{path}: the video refers to another file, {url!r}, which is not opened")

    with ExitStack() as stack:
        with _reading(av, path):
            file = stack.enter_context(open(path, "rb", opener=regular_file))
            opened = av.open(file, format=container_of(path), metadata_errors="replace", io_open=refuse)
            source = stack.enter_context(opened)
        if not source.streams.video:
            raise VideoError(f"{path}: the file has no pictures, expected a video: give another file")
        context = source.streams.video[0].codec_context
        check_pixels(path, context.height, context.width)
        yield source


@contextmanager
def _reading(av: Any, path: str, place: str = "") -> Iterator[None]:
    """Names the video in errors of its file and of FFmpeg."""
    try:
        yield
    except VideoError:
        raise
    except (OSError, ValueError, LookupError, av.error.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(f"{path}: not a video that can be read{place} ({reason})") from error


def _colorspace_of(frame: Any) -> int:
    """Returns FFmpeg's number of the matrix of a frame; if it is not stored, that of its height, as players do."""
    if frame.colorspace not in _UNKNOWN_COLORS:
        return int(frame.colorspace)
    return _BT709 if frame.height >= _HEIGHT_OF_HD else _BT601


class _Overlay:
    """One video that is read and one that is written."""

    def __init__(self, av: Any, path: str, source: Any, output: Any, model: Segments) -> None:
        self._av = av
        self._path = path
        self._source = source
        self._output = output
        self._model = model
        self._pictures = source.streams.video[0]
        self._audio = self._audio_to_copy()
        self._encoder: Any = None
        self._audio_copy: Any = None
        self._last_time = -1  # in units of the time base
        self._waiting_audio: list[Any] = []  # until the first frame, whose size the file begins with

    def write(self) -> int:
        """Writes all frames and the audio; returns the number of frames."""
        count = 0
        frames = counted(self._frames(), "video", self._pictures.frames or None, "frames")
        for count, frame in enumerate(frames, start=1):
            with image_named(f"{self._path}, frame {count}"):
                self._encode(frame)
        if self._encoder is not None:
            self._output.mux(self._encoder.encode())
        return count

    def _audio_to_copy(self) -> Any:
        """Returns the first audio stream; None if there is none, or MP4 cannot hold it."""
        if not self._source.streams.audio:
            return None
        audio = self._source.streams.audio[0]
        if audio.codec_context.codec.canonical_name in self._output.supported_codecs:
            return audio
        logger.warning("%s: MP4 cannot hold its audio (%s), which is left out", self._path, audio.codec.name)
        return None

    def _frames(self) -> Iterator[Any]:
        """Yields the frames; packets of audio are copied on the way."""
        streams = [self._pictures] if self._audio is None else [self._pictures, self._audio]
        packets = self._source.demux(streams)
        count = 0
        while True:
            with _reading(self._av, self._path, f" after frame {count}"):
                packet = next(packets, None)
                frames = packet.decode() if packet is not None and packet.stream is self._pictures else []
            if packet is None:
                return
            for frame in frames:
                count += 1
                yield frame
            if packet.stream is self._audio and packet.dts is not None:
                self._waiting_audio.append(packet)
            if self._encoder is not None:
                self._copy_audio()

    def _copy_audio(self) -> None:
        for packet in self._waiting_audio:
            packet.stream = self._audio_copy
            self._output.mux(packet)
        self._waiting_audio = []

    def _encode(self, frame: Any) -> None:
        colors = frame.reformat(format="rgb24", src_colorspace=_colorspace_of(frame)).to_ndarray()
        image = np.rot90(colors, round(frame.rotation / 90))
        image = np.ascontiguousarray(image)
        labels = self._model.predict(image).labels
        overlay = overlay_of(image, labels, self._model.record)
        height, width = overlay.shape[:2]
        overlay = np.pad(overlay, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._encoder is None:
            self._encoder = self._new_encoder(*overlay.shape[:2])
        encoded = self._av.VideoFrame.from_ndarray(overlay, format="rgb24")
        encoded = encoded.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED)
        encoded.time_base = self._encoder.codec_context.time_base
        encoded.pts = self._time_of(frame)
        self._output.mux(self._encoder.encode(encoded))

    def _new_encoder(self, height: int, width: int) -> Any:
        """Adds the streams of pictures and of audio to the output; returns the first."""
        rate = self._pictures.average_rate or _USUAL_RATE
        name, options = next(one for one in _ENCODERS if one[0] in self._av.codecs_available)
        stream = self._output.add_stream(name, rate=rate, options=dict(options))
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        context = stream.codec_context
        # Players would guess the matrix by the height.
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        context.time_base = self._pictures.time_base or 1 / rate
        if self._audio is not None:
            self._audio_copy = self._output.add_stream_from_template(self._audio)
        return stream

    def _time_of(self, frame: Any) -> int:
        """Returns the time of a frame in units of the time base: its own, or the next one if it has none or repeats."""
        base = self._encoder.codec_context.time_base
        step = max(1, round(1 / ((self._pictures.average_rate or _USUAL_RATE) * base)))
        time = frame.pts if frame.pts is not None else self._last_time + step
        self._last_time = max(time, self._last_time + 1)
        return self._last_time
