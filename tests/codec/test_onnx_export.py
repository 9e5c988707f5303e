"""A bundle as ONNX graphs gives the symbols and pictures that the codec gives."""

import json

import numpy as np
import pytest

from stscq.codec.api import Codec
from stscq.codec.models import to_onnx
from stscq.codec.onnx_export import OUTPUTS, export_onnx, session
from stscq.errors import StscqError

CASES = [
    ("switchable", "router"),  # TiTok, cosine
    ("switchable_ibq", "nn"),  # inner products, groups by squared error
    ("unequal", None),  # MaskGIT-VQGAN, euclidean
]


def test_codebooks_that_no_graph_can_hold_are_refused_before_anything_is_written(bundles, tmp_path, monkeypatch):
    monkeypatch.setattr("stscq.codec.onnx_export.MOST_BYTES", 1000)
    with pytest.raises(StscqError, match=r"codebooks of [\d,]+ bytes; a graph holds at most 1,000"):
        export_onnx(Codec.load(bundles["switchable"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "selection"), CASES)
def test_graphs_do_what_the_codec_does(bundles, pictures, tmp_path, capsys, name, selection):
    codec, images = Codec.load(bundles[name]), pictures[::10]
    assert to_onnx(str(bundles[name]), tmp_path, selection, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    about = json.loads((tmp_path / "graphs.json").read_text())
    assert told["fingerprint"] == about["model"] == codec.bundle.fingerprint.hex()
    assert about["K"] == codec.bundle.sizes.token_entries
    for part in OUTPUTS:
        assert told[part] == (tmp_path / f"{part}.onnx").stat().st_size
        assert b"/stscq/" not in (tmp_path / f"{part}.onnx").read_bytes()  # no paths of this machine
    encoder, quantiser, decoder = (session(tmp_path / f"{part}.onnx") for part in OUTPUTS)
    (z_e,) = encoder.run(None, {"image": images.transpose(0, 3, 1, 2).astype(np.float32) / 255})
    group, index = quantiser.run(None, {"z_e": z_e})
    wanted = codec.quantise(images, selection)
    same = group == wanted.group.numpy()
    assert same.mean() >= 0.95  # near ties of groups may fall otherwise in float32
    assert (index[same] == wanted.index.numpy()[same]).mean() >= 0.999
    assert len(set(index.ravel())) > 1
    (image,) = decoder.run(None, {"group": wanted.group.numpy(), "index": wanted.index.numpy()})
    decoded = (image.transpose(0, 2, 3, 1) * 255).round()
    assert np.abs(decoded - codec.reconstruct(wanted)).max() <= 1  # grey level


def test_a_router_that_is_not_there_is_refused(bundles, tmp_path):
    with pytest.raises(StscqError, match="selection router needs a router"):
        export_onnx(Codec.load(bundles["unequal"]), tmp_path / "graphs", "router")
    assert not any(tmp_path.glob("graphs/*.onnx"))
