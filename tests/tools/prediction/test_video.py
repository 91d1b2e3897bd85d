"""Videos in, overlaid videos out: frames, times, turned pictures, audio, and what goes wrong."""

from __future__ import annotations

import errno
import os
import struct
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from database.channels import Channels
from database.errors import ImageError
from database.images import set_max_pixels
from tests.tools.toy_runs import tiny_config, toy_record
from tools.errors import MissingPackageError, NotFiniteError, ResultsFolderError, VideoError
from tools.prediction import video, video_suffixes
from tools.prediction.files import overlay_of
from tools.prediction.predictions import Prediction
from tools.prediction.video import write_overlaid_video
from tools.prediction.video_suffixes import container_of, has_video_suffix, require_readable_video

av = pytest.importorskip("av")

SIZE = (32, 48)


class Halves:
    """Predicts class 0 in the left half of a frame and class 10 in the right one."""

    record = toy_record(tiny_config("toy", "log"))

    def __init__(self):
        self.seen = []

    def predict(self, image, wanted=None):
        self.seen.append(image.copy())
        return Prediction(labels_of(image))


def labels_of(image) -> np.ndarray:
    labels = np.zeros(image.shape[:2], np.uint8)
    labels[:, image.shape[1] // 2 :] = 10
    return labels


def picture(number: int, size=SIZE) -> np.ndarray:
    """A smooth picture whose brightness says which frame it is."""
    return np.full((*size, 3), 20 + 12 * number % 200, np.uint8)


def write_video(path: Path, frames: int = 6, size=SIZE, audio: str | None = None, times=None) -> str:
    """A video with 10 frames per second, and perhaps a tone."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv444p"
        stream.codec_context.time_base = Fraction(1, 10)
        tone = None if audio is None else output.add_stream(audio, rate=48000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, 10)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if tone is not None:
            samples = (8000 * np.sin(np.arange(48000 * frames // 10) / 20)).astype(np.int16)[np.newaxis]
            sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            sound.sample_rate, sound.pts = 48000, 0
            resampler = av.AudioResampler(tone.codec_context.format, tone.codec_context.layout, 48000)
            for resampled in resampler.resample(sound):
                output.mux(tone.encode(resampled))
            output.mux(tone.encode())
    return str(path)


def read_video(path) -> tuple[list[np.ndarray], list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="rgb24") for frame in frames], [
        float(frame.pts * frame.time_base) for frame in frames
    ]


def packets_of_audio(path) -> list[bytes]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def expected_overlay(image) -> np.ndarray:
    return overlay_of(image, labels_of(image), Halves.record)


def test_frames_are_overlaid_and_keep_their_times(tmp_path):
    times = [0, 1, 2, 4, 5, 9]  # at a varying rate
    path, target = write_video(tmp_path / "a.mp4", times=times), tmp_path / "out" / "a_overlay.mp4"
    model = Halves()
    write_overlaid_video(path, str(target), model)
    frames, found = read_video(target)
    assert found == pytest.approx([time / 10 for time in times], abs=1e-3)
    assert len(model.seen) == len(frames) == 6
    for number, (seen, frame) in enumerate(zip(model.seen, frames, strict=True)):
        assert np.abs(seen.astype(int) - picture(number)).max() <= 3
        # The middle of each half: the colours of a video have half the resolution.
        for columns in (slice(4, 20), slice(28, 44)):
            expected = expected_overlay(picture(number))[4:-4, columns].mean(axis=(0, 1))
            assert np.abs(frame[4:-4, columns].mean(axis=(0, 1)) - expected).max() < 6
    assert os.listdir(target.parent) == ["a_overlay.mp4"]


@pytest.mark.parametrize("size", [(720, 64), (64, 96)])
def test_colors_are_tagged_and_stay_as_they_are(tmp_path, size):
    """By the matrix of ITU-R BT.709, computed here, from which players shift if it is not the one that was used."""
    path, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    red = np.full((*size, 3), (200, 30, 60), np.uint8)
    with av.open(str(path), "w") as output:  # without a tag: players then choose the matrix by the height
        stream = output.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv444p"
        frame = av.VideoFrame.from_ndarray(red, format="rgb24")
        output.mux(
            stream.encode(frame.reformat(format="yuv444p", dst_colorspace="ITU709" if size[0] > 700 else "ITU601"))
        )
        output.mux(stream.encode())
    model = Halves()
    write_overlaid_video(str(path), str(target), model)
    assert np.abs(model.seen[0].astype(int) - red).max() <= 3
    with av.open(str(target)) as container:
        context = container.streams.video[0].codec_context
        [frame] = list(container.decode(video=0))
    assert (int(context.colorspace), int(context.color_range)) == (1, 1)
    y, u, v = (np.asarray(plane, float) for plane in planes_of(frame.reformat(format="yuv444p")))
    luma, blue, red_difference = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    found = 255 * np.stack([luma + 1.5748 * red_difference, luma - 0.1873 * blue - 0.4681 * red_difference,
                            luma + 1.8556 * blue], axis=2)  # fmt: skip
    expected = expected_overlay(red)
    for columns in (slice(4, size[1] // 2 - 4), slice(size[1] // 2 + 4, -4)):
        assert np.abs(found[8:-8, columns].mean((0, 1)) - expected[8:-8, columns].mean((0, 1))).max() < 4


def planes_of(frame) -> list[np.ndarray]:
    """Y, U and V of a frame in yuv444p, [H, W] each."""
    height, width = frame.height, frame.width
    return [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :width] for plane in frame.planes]


def test_doing_it_twice_gives_the_same_file(tmp_path):
    path, target = write_video(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    write_overlaid_video(path, str(target), Halves())
    before = target.read_bytes()
    write_overlaid_video(path, str(target), Halves())
    assert target.read_bytes() == before


@pytest.mark.parametrize(("suffix", "audio"), [("mp4", "aac"), ("mkv", "aac"), ("mkv", "flac"), ("webm", None)])
def test_audio_is_copied(tmp_path, suffix, audio):
    if suffix == "webm":
        path = str(tmp_path / "a.webm")
        os.rename(write_video(tmp_path / "a.mkv", audio="libopus"), path)
    else:
        path = write_video(tmp_path / f"a.{suffix}", audio=audio)
    target = tmp_path / "b.mp4"
    write_overlaid_video(path, str(target), Halves())
    assert packets_of_audio(target) == packets_of_audio(path) != []
    assert len(read_video(target)[0]) == 6


def test_audio_that_mp4_cannot_hold_is_left_out(tmp_path, caplog):
    path, target = write_video(tmp_path / "a.mkv", audio="wavpack"), tmp_path / "b.mp4"
    write_overlaid_video(path, str(target), Halves())
    assert "MP4 cannot hold its audio (wavpack)" in caplog.text
    assert packets_of_audio(target) == []
    assert len(read_video(target)[0]) == 6


def test_odd_sizes_become_even(tmp_path):
    path, target = write_video(tmp_path / "a.mkv", size=(33, 47)), tmp_path / "b.mp4"
    model = Halves()
    write_overlaid_video(path, str(target), model)
    assert model.seen[0].shape == (33, 47, 3)
    assert read_video(target)[0][0].shape == (34, 48, 3)


def rotate(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Writes a display matrix into the header of the picture track of an MP4."""
    content = path.read_bytes()
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    place = content.index(identity, content.index(b"tkhd"))
    a, b, c, d = (value << 16 for value in matrix)
    path.write_bytes(content[:place] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[place + 36 :])


def test_pictures_of_a_turned_phone_are_upright(tmp_path):
    """The matrix of a phone held upright turns the stored picture by 90 degrees clockwise."""
    path = tmp_path / "a.mp4"
    stored = np.zeros((*SIZE, 3), np.uint8)
    stored[:, :16] = 200  # the left edge becomes the upper one
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        output.mux(stream.encode())
    rotate(path, (0, 1, -1, 0))
    model = Halves()
    write_overlaid_video(str(path), str(tmp_path / "b.mp4"), model)
    [seen] = model.seen
    assert seen.shape == (48, 32, 3)
    assert np.abs(seen.astype(int) - np.rot90(stored, -1)).mean() < 4
    assert read_video(tmp_path / "b.mp4")[0][0].shape == (48, 32, 3)


def test_memory_does_not_grow_with_the_length(tmp_path):
    size = (128, 128)
    model = Halves()
    model.predict = lambda image, wanted=None: Prediction(labels_of(image))
    peaks = []
    for frames in (20, 120):
        path = write_video(tmp_path / f"{frames}.mp4", frames=frames, size=size, times=range(frames))
        tracemalloc.start()
        write_overlaid_video(path, str(tmp_path / "out.mp4"), model)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20 * 128 * 128 * 3


@pytest.mark.parametrize("content", [b"", b"words", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"])
def test_what_is_no_video(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"a\.mp4: not a video that can be read") as caught:
        write_overlaid_video(str(path), str(tmp_path / "b.mp4"), Halves())
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_a_video_that_is_missing(tmp_path):
    with pytest.raises(VideoError, match=r"absent\.mp4: not a video .*No such file"):
        write_overlaid_video(str(tmp_path / "absent.mp4"), str(tmp_path / "b.mp4"), Halves())


def test_a_video_that_ends_early(tmp_path):
    path = Path(write_video(tmp_path / "a.mp4", frames=12))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match="not a video that can be read"):
        write_overlaid_video(str(path), str(tmp_path / "b.mp4"), Halves())
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("seed", range(8))
def test_damaged_videos_are_read_or_refused_in_one_line(tmp_path, seed):
    path, target = Path(write_video(tmp_path / "a.mp4", frames=12)), tmp_path / "b.mp4"
    rng = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, len(content), 1 + 3 * seed):
        content[place] = rng.integers(0, 256)
    path.write_bytes(content)
    said = ""
    try:
        write_overlaid_video(str(path), str(target), Halves())
    except (VideoError, ImageError) as error:
        said = str(error)
    if said:
        assert "a.mp4" in said
        assert "\n" not in said
        assert os.listdir(tmp_path) == ["a.mp4"]
    else:
        assert read_video(target)[0]


def test_a_file_without_pictures(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        tone = output.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 48000, 0
        output.mux(tone.encode(sound))
        output.mux(tone.encode())
    with pytest.raises(VideoError, match="no pictures"):
        write_overlaid_video(str(path), str(tmp_path / "b.mp4"), Halves())


def test_a_network_for_other_channels(tmp_path):
    class OfFourChannels:
        record = SimpleNamespace(channels=Channels(4))

    with pytest.raises(VideoError, match=r"a\.mp4: .*red, green and blue, expected 4 channels"):
        write_overlaid_video(write_video(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"), OfFourChannels())
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.usefixtures("usual_pixel_limit")
def test_frames_with_too_many_pixels(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    set_max_pixels(SIZE[0] * SIZE[1] - 1)
    with pytest.raises(ImageError, match=r"a\.mp4: 32x48 .* --max_pixels"):
        write_overlaid_video(path, str(tmp_path / "b.mp4"), Halves())


class FullDisk:
    """A file on a disk that becomes full."""

    def __init__(self, file, room: int):
        self._file, self._room = file, room

    def write(self, content):
        self._room -= len(content)
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(content)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()


@pytest.mark.parametrize("room", [0, 100, 1000])
def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch, room):
    path, target = write_video(tmp_path / "a.mp4", frames=30), tmp_path / "out" / "b.mp4"
    real = open

    def opened(name, mode="r", **options):
        file = real(name, mode, **options)
        return FullDisk(file, room) if mode == "wb" else file

    monkeypatch.setattr("tools.prediction.result_writing.open", opened, raising=False)
    with pytest.raises(ResultsFolderError, match=r"b\.mp4: cannot be written \(No space left on device\)"):
        write_overlaid_video(path, str(target), Halves())
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, NotFiniteError])
def test_an_interrupted_video_leaves_what_was_there(tmp_path, error):
    path, target = write_video(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    target.write_bytes(b"earlier")
    model = Halves()

    def fail(image, wanted=None):
        model.seen.append(image)
        if len(model.seen) == 3:
            raise error("the window")
        return Prediction(labels_of(image))

    model.predict = fail
    with pytest.raises(error, match=r"a\.mp4, frame 3: the window" if error is NotFiniteError else "the window"):
        write_overlaid_video(path, str(target), model)
    assert target.read_bytes() == b"earlier"
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "b.mp4"]


def test_other_files_that_a_video_names_are_not_opened(tmp_path, monkeypatch):
    """FFmpeg's playlists and MOV references could name any file or address."""
    opened = []
    real = av.open

    def spy(file, *arguments, **options):
        opened.append((type(file).__name__, options.get("format")))
        return real(file, *arguments, **options)

    monkeypatch.setattr(av, "open", spy)
    path = tmp_path / "a.avi"
    path.write_text(f"ffconcat version 1.0\nfile '{write_video(tmp_path / 'b.mp4')}'\n")
    opened.clear()
    with pytest.raises(VideoError, match="not a video"):
        write_overlaid_video(str(path), str(tmp_path / "c.mp4"), Halves())
    assert opened == [("BufferedReader", "avi")]


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"a\.mp4.* needs the package av, .*\[video\]"):
        write_overlaid_video("a.mp4", str(tmp_path / "b.mp4"), Halves())


def test_a_video_is_checked_before_the_network_is_built(tmp_path, monkeypatch):
    path = str(tmp_path / "a.mp4")
    with pytest.raises(ImageError, match=r"a\.mp4: no such file"):
        require_readable_video(path)
    Path(path).touch()
    require_readable_video(path)
    monkeypatch.setattr(video_suffixes, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"a\.mp4, a video, needs the package av, .*\[video\]"):
        require_readable_video(path)


def test_suffixes():
    assert has_video_suffix("a/B.MP4")
    assert not has_video_suffix("a.mp4/b.png")
    assert (container_of("a.mov"), container_of("a.webm"), container_of("a.gif")) == ("mov", "matroska", None)
    assert video._ENCODERS[0][0] == "libx264"
