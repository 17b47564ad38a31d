import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ranspec.runtime.images import DataError, ImageFiles, centred, check, decode

GENERATOR = np.random.Generator(np.random.Philox(key=1))


def picture(height: int = 40, width: int = 48) -> Image.Image:
    return Image.fromarray(GENERATOR.integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def translucent(alpha: int) -> Image.Image:
    image = picture().convert("RGBA")
    image.putalpha(alpha)
    return image


@pytest.mark.parametrize("size", [(33, 50), (100, 20), (24, 32), (17, 17)])
@pytest.mark.parametrize("target", [(24, 32), (32, 32), (50, 20)])
def test_images_are_cropped_about_their_centre_and_resized(
    size: tuple[int, int], target: tuple[int, int]
) -> None:
    image = picture(*size)
    expected = ImageOps.fit(image, target[::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(decode(encoded(image), *target, 3), np.asarray(expected))


def test_an_image_of_the_networks_size_keeps_its_pixels() -> None:
    image = picture()
    assert np.array_equal(decode(encoded(image), 40, 48, 3), np.asarray(image))


def test_a_box_is_cut_from_the_whole_image() -> None:
    image = picture()
    cut = decode(encoded(image), 10, 12, 3, box=(7, 5, 19, 15))
    assert np.array_equal(cut, np.asarray(image)[5:15, 7:19])


@pytest.mark.parametrize(
    ("height", "width", "ratio", "share", "expected"),
    [
        (10, 20, 1.0, 1.0, (5, 0, 15, 10)),
        (20, 10, 1.0, 0.5, (2.5, 7.5, 7.5, 12.5)),
        (10, 20, 4.0, 1.0, (0, 2.5, 20, 7.5)),
    ],
)
def test_the_largest_centred_box_of_a_ratio(
    height: int, width: int, ratio: float, share: float, expected: tuple[float, ...]
) -> None:
    assert all(map(math.isclose, centred(height, width, ratio, share), expected))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_modes_that_lose_nothing_are_converted(mode: str) -> None:
    image = picture().convert(mode)
    format = "TIFF" if mode == "CMYK" else "PNG"
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(decode(encoded(image, format), 40, 48, 3), expected)


def test_an_alpha_channel_that_hides_nothing_is_dropped() -> None:
    image = translucent(255)
    assert np.array_equal(decode(encoded(image), 40, 48, 3), np.asarray(image)[..., :3])


UNUSABLE = {
    "16 bits": (
        encoded(Image.fromarray(np.full((40, 48), 60_000, dtype=np.uint16))),
        r"not 8 bits a channel \(mode I;16\)",
    ),
    "floats": (
        encoded(Image.fromarray(np.ones((40, 48), dtype=np.float32)), "TIFF"),
        r"not 8 bits a channel \(mode F\)",
    ),
    "alpha": (encoded(translucent(254)), "transparent pixels"),
    "a transparent colour": (
        encoded(picture().quantize(8), transparency=3),
        "transparent pixels",
    ),
    "an animation": (
        encoded(picture(), "WEBP", save_all=True, append_images=[picture()]),
        "2 frames, where one is expected",
    ),
    "tiny": (encoded(picture(3, 48)), "only 3x48 pixels"),
    "empty": (b"", "empty file"),
    "no image": (b"<html>404</html>", "of no known format"),
    "a cut JPEG": (encoded(picture(), "JPEG")[:-300], "not a readable image"),
    "a cut PNG": (encoded(picture())[:-3000], "not a readable image"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_files_are_told_apart_by_a_check_as_by_decoding(kind: str) -> None:
    content, message = UNUSABLE[kind]
    with pytest.raises(DataError, match=message):
        decode(content, 32, 32, 3)
    with pytest.raises(DataError, match=message):
        check(content)


def test_damage_anywhere_is_an_image_or_a_data_error() -> None:
    for format in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"):
        whole = bytearray(encoded(picture(12, 12), format))
        for position in range(0, len(whole), max(1, len(whole) // 40)):
            damaged = bytes(
                whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :]
            )
            for read in (lambda data: decode(data, 8, 8, 3), check):
                try:
                    read(damaged)
                except DataError:
                    continue


def test_images_within_a_file_are_read_from_their_places(tmp_path: Path) -> None:
    pictures = [encoded(picture()) for _ in range(3)]
    (tmp_path / "all.tar").write_bytes(b"".join(pictures))
    lengths = np.array([len(content) for content in pictures])
    places = np.stack([np.cumsum(lengths) - lengths, lengths], axis=1)
    files = ImageFiles(tmp_path, ["all.tar"] * 3, places)
    assert [files.content(index) for index in range(3)] == pictures
    assert files.subset(np.array([2])).content(0) == pictures[2]
    (tmp_path / "all.tar").write_bytes(pictures[0] + b"\0" * 9999)
    with pytest.raises(DataError, match=rf"all\.tar \(at byte {lengths[0]}\): not a readable"):
        files.read(1, 8, 8, 3)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png: No such file"):
        ImageFiles(tmp_path, ["gone.png"]).read(0, 8, 8, 3)
