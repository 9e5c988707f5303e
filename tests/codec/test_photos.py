"""Photos of every odd kind: the right picture, or an error that says what is wrong, before it costs memory."""

import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from skimage import data

from stscq.codec.files.archive import check_name
from stscq.codec.files.sources import list_sources
from stscq.data.photos import read_face, read_photo
from stscq.errors import BitstreamError, DataError
from tests.conftest import ROOT

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def encoded(image, kind="PNG", **options):
    found = io.BytesIO()
    image.save(found, kind, **options)
    return found.getvalue()


def bare_png(width, height, mode=2, depth=8):
    """A PNG of any size that takes some bytes: its pixels are missing."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, depth, mode, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_upright_whatever_the_camera_says():
    for orientation, turned in ((1, RGB), (3, np.rot90(RGB, 2)), (6, np.rot90(RGB, 1)), (8, np.rot90(RGB, -1))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("PNG", "TIFF"):
            assert (read_photo(encoded(Image.fromarray(turned), kind, exif=exif)) == RGB).all()
    alpha = np.dstack([np.rot90(RGB, 1), np.full((60, 40), 255, np.uint8)])
    exif[0x0112] = 6
    assert (read_photo(encoded(Image.fromarray(alpha), exif=exif)) == RGB).all()


def test_what_is_transparent_is_white():
    half = np.dstack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)])
    half[:4, :, 3] = 0
    for image in (Image.fromarray(half), Image.fromarray(half[..., ::3], "LA")):
        found = read_photo(encoded(image))
        assert (found[:4] == 255).all()
        assert (found[4:] == 0).all()
    palette = Image.fromarray(RGB).quantize(4)
    assert (read_photo(encoded(palette, transparency=0)) == 255).all(-1).any()


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "RGB", "YCbCr"])
def test_modes_become_rgb(mode):
    image = Image.fromarray(RGB).convert(mode)
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    assert (read_photo(encoded(image, kind)) == np.asarray(image.convert("RGB"))).all()
    if mode in ("CMYK", "L"):
        jpeg = read_photo(encoded(image, "JPEG", quality=95)).astype(int)
        assert np.abs(jpeg - np.asarray(image.convert("RGB"))).mean() < 12


def test_sixteen_bits_in_colour_are_read_and_in_grey_refused():
    assert read_photo(bytes_of_colour_16()).shape == (2, 2, 3)
    for image in (Image.fromarray(np.full((4, 4), 40_000, np.uint16)), Image.new("F", (4, 4))):
        with pytest.raises(DataError, match="more than 8 bits"):
            read_photo(encoded(image, "TIFF"))


def bytes_of_colour_16():
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes(12) for _ in range(2))
    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["AVIF", "HEIF", "JPEG2000"])
def test_what_phones_and_browsers_write(kind):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    photo = data.astronaut()[:200, 100:300]
    found = read_photo(encoded(Image.fromarray(photo), kind, quality=95)).astype(int)
    assert np.abs(found - photo).mean() < 4


def test_a_still_gif_is_a_picture():
    palette = Image.fromarray(RGB).quantize(16)
    assert (read_photo(encoded(palette, "GIF")) == np.asarray(palette.convert("RGB"))).all()


@pytest.mark.parametrize("profile", ["display_p3", "prophoto"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_colours_of_another_profile_become_srgb(profile, kind):
    own = (ROOT / "tests/data/photos" / f"{profile}.icc").read_bytes()
    photo = data.astronaut()[::8, ::8]
    wide = ImageCms.profileToProfile(Image.fromarray(photo), ImageCms.createProfile("sRGB"), io.BytesIO(own))
    assert np.abs(np.asarray(wide).astype(int) - photo).mean() > 3  # what ignoring the profile would be off
    assert np.abs(read_photo(encoded(wide, kind, icc_profile=own)).astype(int) - photo).mean() < 1
    clear = wide.convert("RGBA")
    clear.putalpha(Image.new("L", wide.size, 255))
    assert np.abs(read_photo(encoded(clear, kind, icc_profile=own)).astype(int) - photo).mean() < 1


def test_a_profile_that_is_none_changes_nothing():
    for junk in (b"no profile", bytes(200), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        assert (read_photo(encoded(Image.fromarray(RGB), icc_profile=junk)) == RGB).all()


def test_malformed_exif_is_no_reason_to_refuse_a_picture():
    raw = PngImagePlugin.PngInfo()
    raw.add_text("Raw profile type exif", "\nexif\n  6\nnothex", zip=True)
    for options in ({"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"}, {"exif": b"no exif"}, {"pnginfo": raw}):
        assert (read_photo(encoded(Image.fromarray(RGB), **options)) == RGB).all()
        clear = Image.fromarray(np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)]))
        assert (read_photo(encoded(clear, **options)) == RGB).all()


def test_several_frames_are_refused():
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    for kind in ("WEBP", "PNG", "TIFF"):
        with pytest.raises(DataError, match="2 frames or pages"):
            read_photo(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    with pytest.raises(DataError, match="2 frames or pages"):
        read_photo(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert read_photo(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])).shape == RGB.shape


@pytest.mark.parametrize("size", [(20_000, 20_000), (6_100, 6_100), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_before_any_pixel_is_decoded(size):
    tracemalloc.start()
    with pytest.raises(DataError, match="pixels"):
        read_photo(bare_png(*size))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_large_photos_are_read_small():
    for kind, side in (("JPEG", 7000), ("PNG", 6000)):
        found = read_photo(encoded(Image.new("RGB", (side, side), (10, 200, 30)), kind))
        assert max(found.shape) < 4096
        assert np.abs(found[0, 0].astype(int) - [10, 200, 30]).max() < 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM"])
def test_every_cut_is_an_error_or_the_picture(kind):
    whole = encoded(Image.fromarray(RGB[:8, :8]), kind)
    expected = read_photo(whole)
    for size in range(0, len(whole), 3):
        try:
            found = read_photo(whole[:size])
        except DataError:
            continue
        assert found.shape == expected.shape


def test_small_and_empty_things():
    for content in (b"", b"\0", b"no image at all", bare_png(1, 1)):
        with pytest.raises(DataError):
            read_photo(content)
    dot = encoded(Image.new("RGB", (1, 1), (1, 2, 3)))
    assert (read_face(dot, 32, aligned=True) == [1, 2, 3]).all()
    with pytest.raises(DataError, match="no face found"):
        read_face(dot, 32, aligned=False)
    with pytest.raises(DataError, match="expected an aligned square face"):
        read_face(encoded(Image.fromarray(RGB)), 32, aligned=True)


def test_a_face_is_found_turned_upright_and_cut_out():
    photo = data.astronaut()
    face = read_face(encoded(Image.fromarray(photo)), 64, aligned=False)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_face(encoded(Image.fromarray(np.rot90(photo)), exif=exif), 64, aligned=False)
    assert (face == turned).all()
    where = photo[60:200, 160:290].reshape(-1, 3).mean(0)  # the face of the astronaut
    assert np.abs(face.reshape(-1, 3).mean(0) - where).max() < 40


ODD = {
    "Screenshot 10.30\u202fAM.png": "Screenshot 10.30\u202fAM.png",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467.png": "\U0001f469\u200d\U0001f469\u200d\U0001f467.png",
    "شهر.png": "شهر.png",
    os.fsdecode(b"caf\xe9.png"): "caf%E9.png",
    "two\nlines.png": "two%0Alines.png",
    "gnp\u202e.exe.png": "gnp%E2%80%AE.exe.png",
    "back\\slash.png": "back%5Cslash.png",
}


def test_every_name_of_a_file_is_taken(tmp_path):
    for name in ODD:
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    assert sorted(source.name for source in list_sources([str(tmp_path)])) == sorted(ODD.values())
    for name in ODD.values():
        assert check_name(name) == name
    for name in ODD:
        assert list_sources([str(tmp_path / name)])[0].place == tmp_path / name


@pytest.mark.parametrize(
    "name", ["a\nb", "a\\b", "../a", "a/./b", "", "/a", "a\x1b[2J", "a\u202eb", "a\udce9", "a\u2028b"]
)
def test_names_that_no_archive_holds(name):
    with pytest.raises(BitstreamError, match="no name for an image"):
        check_name(name)


def test_nothing_in_a_folder_is_passed_over_in_silence(tmp_path):
    for name in ("a.JPE", "b.jfif", "c.heic", "d.cr2", "e.txt", "f", ".hidden.jpg", "old.stscq"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "g.png").write_bytes(b"x")
    assert [source.name for source in list_sources([str(tmp_path)])] == [
        "a.JPE",
        "b.jfif",
        "c.heic",
        "d.cr2",
        "e.txt",
        "f",
    ]
