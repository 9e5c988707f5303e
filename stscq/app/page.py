"""The page: Gradio's parts, what they show, and the server. What is shown is computed in show.py."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from gradio.utils import get_upload_folder

from stscq.app.classic import Classic
from stscq.app.models import most_bytes
from stscq.app.qr import to_qr
from stscq.app.show import Shown, enlarged, reopen, show
from stscq.app.uploads import MOST_UPLOADED, read_upload
from stscq.codec.api import Codec
from stscq.codec.bundle.read import Bundle
from stscq.errors import StscqError
from stscq.recognition.base import Recogniser

SIDE = 256
"""Pixels: small pictures are shown enlarged, with every pixel as a square, to at most this."""
UPLOADS_LAST = (60, 3600)
"""Seconds: every minute, what is older than an hour, uploads and results, is deleted."""
IN_MEMORY = 4
"""Models that are kept ready."""
INTRODUCTION = """# A face in a few bytes
The largest frontal face of a photo is found, turned upright, compressed and decompressed, on this machine alone."""
COSINES = """*Cosine*: between dlib's embeddings of the face and of what came back; 1 is the same. Strangers are not
near 0, and even an average face for everybody scores high (README.md, `mean_face`): compare cosines with one
another."""
Values = list[Any]


def build(models: Sequence[Bundle], bundles: Sequence[Bundle], judge: Recogniser, device: torch.device) -> gr.Blocks:
    """The page, not yet served. models: to choose from, as `models_at_hand` orders them; bundles: for opening files."""
    codec_of = lru_cache(IN_MEMORY)(partial(Codec, device=device))
    with gr.Blocks(title="stscq", analytics_enabled=False, delete_cache=UPLOADS_LAST) as blocks:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("Compress a face"):
            compress_tab(models, codec_of, judge)
        with gr.Tab("Open a file or a QR code"):
            open_tab(bundles, codec_of)
    return blocks


def compress_tab(models: Sequence[Bundle], codec_of: Callable[[Bundle], Codec], judge: Recogniser) -> None:
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            photo = gr.Image(label="A photo", type="filepath", height=300, elem_id="photo")
            photo.preprocess = path_of  # type: ignore[method-assign]
            gr.Examples([[astronaut()]], photo, label="A sample: Eileen Collins, NASA, public domain")
            position = gr.Slider(
                1, max(2, len(models)), 1, step=1, visible=len(models) > 1,
                label="Model, from the fewest bytes to the most", buttons=[],
            )  # fmt: skip
            name = gr.Markdown(describe(models[0]))
        with gr.Column(scale=3):
            problem = problem_line()
            with gr.Row():
                with gr.Column(min_width=200):
                    gr.Markdown("### The face found")
                    face, facts = picture("The face found"), gr.Markdown()
                    gr.Markdown(COSINES)
                ours, classic = column("Ours", "ours"), column("The best classic codec", "classic")

    def answer(path: str | None, chosen: float) -> Values:
        bundle = models[int(chosen) - 1]
        return [describe(bundle), *answered(path, lambda photo: results(show(photo, codec_of(bundle), judge)), 12)]

    outputs = [name, problem, face, facts, *ours, *classic]
    gr.on([photo.change, position.change], answer, [photo, position], outputs, trigger_mode="always_last")


def column(title: str, key: str) -> list[gr.components.Component]:
    """A codec's picture, its caption, and the bytes as a number, in hexadecimal and as a QR code."""
    with gr.Column(min_width=200):
        gr.Markdown(f"### {title}")
        return [
            picture(title, key),
            gr.Markdown(),
            gr.Textbox(label="Bytes of the file", elem_id=f"{key}_bytes"),
            gr.Textbox(label="All of them, in hexadecimal", elem_id=f"{key}_hex", buttons=["copy"], max_lines=8),
            picture("All of them, as a QR code", f"{key}_qr"),
        ]


def open_tab(bundles: Sequence[Bundle], codec_of: Callable[[Bundle], Codec]) -> None:
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            file = gr.File(label="A .stscq file, or its QR code", elem_id="file")
        with gr.Column(scale=3):
            problem = problem_line()
            face, caption = picture("The face in it", "opened"), gr.Markdown(elem_id="opened_caption")

    def answer(path: str | None) -> Values:
        def again(content: bytes) -> Values:
            opened = reopen(content, bundles, codec_of)
            return [enlarged(opened.picture, SIDE), f"from {len(opened.file):,} bytes, by {opened.bundle.name}"]

        return answered(path, again, 2)

    file.change(answer, file, [problem, face, caption])


def answered(path: str | None, outputs_of: Callable[[bytes], Values], number: int) -> Values:
    """The line of the problem, hidden where there is none, and then the NUMBER of results, empty where there is one."""
    nothing: Values = [None] * number
    if path is None:
        return [gr.update(visible=False), *nothing]
    try:
        content = read_upload(path, [Path(get_upload_folder()), Path(astronaut())])
        return [gr.update(visible=False), *outputs_of(content)]
    except StscqError as problem:
        return [gr.update(visible=True, value=str(problem)), *nothing]


def results(shown: Shown) -> Values:
    """The outputs of a face, in the order of `compress_tab`."""
    size, pixels = len(shown.face), shown.face.nbytes
    classic = shown.classic
    return [
        enlarged(shown.face, SIDE),
        f"{size} × {size} pixels, {pixels:,} bytes",
        *in_column(shown.picture, f"cosine **{shown.cosine:.3f}**", shown.file),
        *in_column(classic.picture, caption_of(classic, len(shown.file)), classic.chosen.file),
    ]


def in_column(picture: np.ndarray, caption: str, file: bytes) -> Values:
    """The outputs of `column`."""
    return [enlarged(picture, SIDE), caption, f"{len(file):,}", file.hex(" "), to_qr(file)]


def caption_of(classic: Classic, ours: int) -> str:
    """What the best classic file is, and whether it is as small as our file of so many bytes."""
    codec, point, file = classic.chosen
    how = f"cosine **{classic.cosine:.3f}**; {codec}, {point.side} × {point.side} pixels in {point.colour}, quality "
    if len(file) <= ours:
        return f"{how}{point.quality:g}. The best, to the judge, of all classic files of at most {ours:,} bytes."
    return f"{how}{point.quality:g}. No classic codec here makes a file of {ours:,} bytes; this is the smallest."


def describe(bundle: Bundle) -> str:
    sizes = bundle.sizes
    return (
        f"`{bundle.name}`: at most {most_bytes(bundle)} bytes; {sizes.T} tokens of {sizes.entries_told} entries, "
        f"{sizes.M} group{'s' * (sizes.M > 1)}, {sizes.image_size} × {sizes.image_size} pixels"
    )


def picture(label: str, elem_id: str | None = None) -> gr.Image:
    """Without a label, which would lie on the face."""
    return gr.Image(
        label=label, show_label=False, alt_text=label, format="png", interactive=False, buttons=["download"],
        min_width=200, elem_id=elem_id,
    )  # fmt: skip


def problem_line() -> gr.Textbox:
    return gr.Textbox(label="Not possible", visible=False, elem_classes="problem")


def path_of(payload: Any) -> str | None:
    """In place of Gradio's own reading by Pillow, which knows fewer formats than `stscq compress` and other errors."""
    return payload and payload.path


def astronaut() -> str:
    """The photo that comes with scikit-image."""
    package = find_spec("skimage")
    assert package is not None
    assert package.origin is not None
    return str(Path(package.origin).parent / "data" / "astronaut.png")


def launch(blocks: gr.Blocks, host: str, port: int | None, block: bool = True) -> str:
    """Serve the page until ctrl-C, or in the background; its address.

    Raises StscqError when the port is taken.
    """
    try:
        address: str = blocks.launch(
            server_name=host, server_port=port, share=False, quiet=True,
            ssr_mode=False, footer_links=[], run_history=False, enable_monitoring=False, pwa=False, mcp_server=False,
            max_file_size=MOST_UPLOADED, prevent_thread_lock=True,
        )[1]  # fmt: skip
    except OSError as problem:  # its message tells of Gradio's own settings
        raise StscqError(f"{host}, port {port or 'any'}: not to be had; name another --port or --host") from problem
    if block:
        print(f"{address} (ctrl-C ends it)", flush=True)
        blocks.block_thread()
    return address
