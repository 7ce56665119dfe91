"""Every kind of image file that OpenCV and Pillow write here. Oracle: the pixels that Ultralytics' loaders read."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegd.errors import UnreadableImageError
from edgegd.runtime.images import read_image

cv2 = pytest.importorskip("cv2")
pil = pytest.importorskip("PIL.Image")
patches = pytest.importorskip("ultralytics.utils.patches")
ultralytics = pytest.importorskip("ultralytics")
OWN_RULES = (8, 4, 190)
"""Of Ultralytics; older versions read TIFF, AVIF and pages otherwise. Training reads by our rules with all of them."""

_RANDOM = np.random.default_rng(0)
_SCENE = cv2.resize(_RANDOM.integers(0, 256, (5, 7, 4), np.uint8), (34, 22), interpolation=cv2.INTER_CUBIC)
_DEEP = (_SCENE.astype(np.uint16) << 8) | _RANDOM.integers(0, 256, _SCENE.shape, np.uint16)


def _opencv(suffix: str, image: np.ndarray) -> bytes:
    done, content = cv2.imencode(suffix, image)
    assert done
    return bytes(content)


def _pages(*pages: np.ndarray) -> bytes:
    done, content = cv2.imencodemulti(".tiff", list(pages))
    assert done
    return bytes(content)


def _pillow(kind: str, mode: str, orientation: int = 0, **options: Any) -> bytes:
    colours = pil.fromarray(_SCENE[..., 2::-1])
    if mode == "I;16":
        image = pil.fromarray(_DEEP[..., 0])
    elif mode == "F":
        image = pil.fromarray(_SCENE[..., 0].astype(np.float32))
    elif mode in ("RGBA", "LA", "La", "RGBa"):
        image = pil.fromarray(_SCENE[..., [2, 1, 0, 3]]).convert(mode)
    elif mode == "P transparent":
        image = colours.convert("P", palette=pil.Palette.ADAPTIVE, colors=16)
        options["transparency"] = 3
    else:
        image = colours.convert(mode)
    if orientation:
        exif = pil.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _kinds() -> dict[str, Callable[[], bytes]]:
    """File name -> what writes its content."""
    gray, bgr, deep = _SCENE[..., 0], _SCENE[..., :3], _DEEP[..., :3]
    kinds: dict[str, Callable[[], bytes]] = {}
    for suffix in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".avif"):
        kinds[f"opencv-gray{suffix}"] = lambda s=suffix: _opencv(s, gray)
        kinds[f"opencv-bgr{suffix}"] = lambda s=suffix: _opencv(s, bgr)
    for suffix in (".png", ".tif", ".webp", ".jp2", ".bmp", ".avif"):
        kinds[f"opencv-bgra{suffix}"] = lambda s=suffix: _opencv(s, _SCENE)
    for suffix in (".png", ".tif", ".jp2"):
        kinds[f"opencv-gray16{suffix}"] = lambda s=suffix: _opencv(s, deep[..., 0].copy())
        kinds[f"opencv-bgr16{suffix}"] = lambda s=suffix: _opencv(s, deep)
    for suffix in (".png", ".tif"):
        kinds[f"opencv-bgra16{suffix}"] = lambda s=suffix: _opencv(s, _DEEP)
    for kind in (np.float32, np.float64, np.int8, np.int16, np.int32):
        kinds[f"opencv-{kind.__name__}.tif"] = lambda k=kind: _opencv(".tif", gray.astype(k))
        kinds[f"opencv-bgr-{kind.__name__}.tif"] = lambda k=kind: _opencv(".tif", bgr.astype(k))
    bands = [_SCENE[..., index].copy() for index in range(4)]
    for count in (2, 3, 4):
        kinds[f"pages-{count}.tiff"] = lambda c=count: _pages(*bands[:c])
    kinds["pages-8.tif"] = lambda: _pages(*bands, *bands[::-1])
    kinds["pages-16bit.tif"] = lambda: _pages(*(_DEEP[..., index].copy() for index in range(4)))
    kinds["pages-of-two-sizes.tif"] = lambda: _pages(bands[0], bands[1][:10, :10].copy())
    kinds["pages-bgr.tif"] = lambda: _pages(bgr.copy(), bgr[::-1].copy())
    for mode in ("1", "L", "P", "P transparent", "RGB", "RGBA", "LA", "I;16"):
        kinds[f"pillow-{mode.replace(';', '')}.png"] = lambda m=mode: _pillow("PNG", m)
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "LA", "I;16", "F"):
        kinds[f"pillow-{mode.replace(';', '')}.tif"] = lambda m=mode: _pillow("TIFF", m)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "tiff_lzma", "zstd"):
        kinds[f"pillow-{compression}.tif"] = lambda c=compression: _pillow("TIFF", "RGB", compression=c)
    for mode in ("L", "RGB", "CMYK", "YCbCr"):
        kinds[f"pillow-{mode}.jpg"] = lambda m=mode: _pillow("JPEG", m)
    kinds["pillow-progressive.jpg"] = lambda: _pillow("JPEG", "RGB", progressive=True, subsampling=2)
    kinds["pillow-444.jpg"] = lambda: _pillow("JPEG", "RGB", subsampling=0)
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        kinds[f"pillow-{mode}.bmp"] = lambda m=mode: _pillow("BMP", m)
    for mode in ("RGB", "RGBA"):
        kinds[f"pillow-{mode}.webp"] = lambda m=mode: _pillow("WEBP", m, lossless=True)
        kinds[f"pillow-{mode}.avif"] = lambda m=mode: _pillow("AVIF", m)
    for mode in ("L", "RGB", "RGBA"):
        kinds[f"pillow-{mode}.jp2"] = lambda m=mode: _pillow("JPEG2000", m)
    kinds["pillow-gray.mpo"] = lambda: _pillow("MPO", "L")
    kinds["pillow-rgb.mpo"] = lambda: _pillow("MPO", "RGB")
    for orientation in range(1, 9):
        for kind, suffix in (
            ("JPEG", ".jpg"),
            ("PNG", ".png"),
            ("TIFF", ".tif"),
            ("WEBP", ".webp"),
            ("AVIF", ".avif"),
            ("MPO", ".mpo"),
        ):
            kinds[f"turned-{orientation}{suffix}"] = lambda k=kind, o=orientation: _pillow(k, "RGB", o)
    kinds["turned-6-gray.tif"] = lambda: _pillow("TIFF", "L", 6)
    kinds["turned-6-gray.jpg"] = lambda: _pillow("JPEG", "L", 6)
    # Names and contents that are of different kinds: only the name decides where Ultralytics looks at names.
    kinds["tiff-named.png"] = lambda: _opencv(".tif", _SCENE)
    kinds["png-named.tif"] = lambda: _opencv(".png", _SCENE)
    kinds["jpg-named.tiff"] = lambda: _opencv(".jpg", bgr)
    kinds["UPPER.TIF"] = lambda: _opencv(".tif", _SCENE)
    kinds["UPPER.AVIF"] = lambda: _opencv(".avif", bgr)
    return kinds


_KINDS = _kinds()
_FLAGS = {
    1: cv2.IMREAD_GRAYSCALE,
    3: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_UNCHANGED,
    4: cv2.IMREAD_UNCHANGED,
    8: cv2.IMREAD_UNCHANGED,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinds")


def _written(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        try:
            content = _KINDS[name]()
        except Exception as error:  # an encoder that this OpenCV or Pillow was built without
            pytest.skip(f"cannot be written here: {str(error)[:80]}")
        path.write_bytes(content)
    return path


@pytest.mark.skipif(
    tuple(map(int, ultralytics.__version__.split(".")[:3])) < OWN_RULES,
    reason=f"Ultralytics {ultralytics.__version__} reads some kinds of files otherwise",
)
@pytest.mark.parametrize("channels", _FLAGS, ids=lambda channels: f"{channels} channels")
@pytest.mark.parametrize("name", _KINDS)
def test_pixels_are_those_that_ultralytics_reads_or_the_file_is_refused(folder: Path, name: str, channels: int) -> None:
    path = _written(folder, name)
    theirs = patches.imread(str(path), _FLAGS[channels])
    if theirs is not None and theirs.dtype == np.uint8 and theirs.shape[2] == channels:
        np.testing.assert_array_equal(read_image(path, channels), theirs)
        return
    with pytest.raises(UnreadableImageError, match=r"not an image|values are|channels? ?, where images") as error:
        read_image(path, channels)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        *(f"opencv-{kind}{suffix}" for kind in ("gray", "bgr") for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp")),
        *(f"turned-{orientation}{suffix}" for orientation in range(1, 9) for suffix in (".jpg", ".png", ".tif")),
        "opencv-bgra.png",
        "opencv-bgra.tif",
        "opencv-gray16.png",
        "opencv-bgr16.png",
        "opencv-bgr16.tif",
        "opencv-bgra16.png",
        "pillow-P.png",
        "pillow-1.png",
        "pillow-LA.png",
        "pillow-P transparent.png",
        "pillow-CMYK.jpg",
        "pillow-L.jpg",
        "pages-4.tiff",
        "pillow-rgb.mpo",
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_usual_kinds_are_read(folder: Path, name: str, channels: int) -> None:
    image = read_image(_written(folder, name), channels)
    assert image.shape in ((22, 34, channels), (34, 22, channels)) and image.dtype == np.uint8 and np.ptp(image) > 50


def test_a_file_of_many_gray_pages_is_an_image_of_as_many_bands(folder: Path) -> None:
    image = read_image(_written(folder, "pages-8.tif"), 8)
    bands = [*range(4), *range(3, -1, -1)]
    np.testing.assert_array_equal(image, _SCENE[..., bands])


def test_what_is_only_called_avif_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.avif"  # Ultralytics reads it by Pillow, whose JPEG is not OpenCV's to the last value
    path.write_bytes(_opencv(".jpg", _SCENE[..., :3]))
    with pytest.raises(UnreadableImageError, match="not an AVIF image, as its name says"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".heic", ".heif"])
def test_heic_is_refused_without_installing_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def install(*_: object, **__: object) -> None:
        raise AssertionError("a package would be installed")

    monkeypatch.setattr("ultralytics.utils.checks.check_requirements", install)
    for name in (f"photo{suffix}", "photo.avif"):
        path = tmp_path / name
        path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
        with pytest.raises(UnreadableImageError, match="HEIC is not read" if suffix in name else "not an AVIF"):
            read_image(path)
