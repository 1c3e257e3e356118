"""OpenVINO's graphs that somebody else wrote: other operations are refused, and no file is read that lies elsewhere."""

import os
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from archives import refusal

from sparsebench.errors import SparsebenchError
from sparsebench.export.files.inputs import Input
from sparsebench.export.files.timed import load_file, open_files

openvino = pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A graph from x to x + w, and its weights, as two files."""
    folder = tmp_path_factory.mktemp("graph")
    operators = openvino.opset13
    x = operators.parameter([-1, 4], np.float32, name="x")
    x.output(0).get_tensor().set_names({"x", "input"})
    y = operators.add(x, operators.constant(np.arange(4, dtype=np.float32)))
    openvino.save_model(openvino.Model([y], [x]), folder / "net.xml", compress_to_fp16=False)
    return folder / "net.xml"


@pytest.fixture
def xml(graph, tmp_path):
    folder = tmp_path / "ir"
    shutil.copytree(graph.parent, folder)
    return folder / "net.xml"


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_graph_as_it_should_be_is_run(xml):
    (file, _) = open_files([xml, xml], batch=2)
    (feed,) = file.feeds
    (output,) = load_file(str(xml), file.feeds, 1)().values()
    np.testing.assert_array_equal(output, feed.values() + np.arange(4, dtype=np.float32))
    assert (feed.dtype, feed.shape) == ("float32", (2, 4))
    assert feed.name in {"x", "input"}


def test_operations_of_extensions_are_refused(xml):
    change(xml, 'type="Add" version="opset1"', 'type="Touch" version="extension"')
    assert refusal(xml) == (
        "has the operation 'Touch' of 'extension', which is none of OpenVINO's own sets; extensions are not run. "
        "Export a network of PyTorch's own layers."
    )


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            'type="Add" version="opset1"',
            'type="Add" version="opset1;/tmp/x.so"',
            "which is none of OpenVINO's own sets",
        ),
        ('type="Add" version="opset1"', 'type="../Add" version="opset1"', "has the operation '../Add' of 'opset1'"),
        ('size="16"', 'size="9999"', "and they have 16. Export it again."),
        ('offset="0"', 'offset="-1"', "lies at '-1' of its weights"),
        ('offset="0"', 'offset="' + "9" * 5000 + '"', "and they have 16."),
        ("<layers>", "<!DOCTYPE net [<!ENTITY a 'aa'>]><layers>", "declares entities or a type of its own"),
        ("<net", "<other", "is no graph of OpenVINO"),
        ('element_type="f32"', 'element_type="string"', "it takes string, which NumPy cannot make"),
    ],
)
def test_a_graph_that_is_more_than_one_is_refused(xml, old, new, text):
    change(xml, old, new)
    assert text in refusal(xml)


def test_entities_that_grow_are_refused_before_they_do(xml):
    levels = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    xml.write_text(f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a0 "a">{levels}]><net>&a11;</net>')
    assert refusal(xml).startswith("declares entities or a type of its own")
    xml.write_bytes(xml.read_text().encode("utf-16"))
    assert refusal(xml).startswith("is no graph of OpenVINO")


def test_elements_that_lie_3000_deep_are_refused(xml):
    change(
        xml,
        "<layers>",
        "<layers><layer type='If' version='opset8'><body>" * 1000 + "</body></layer></layers>" * 1000 + "<layers>",
    )
    assert refusal(xml) == "has elements more than 64 deep in each other; export it again."


def test_weights_of_a_graph_behind_a_link_to_another_folder_are_refused(xml, tmp_path):
    weights = xml.with_suffix(".bin")
    shutil.move(weights, tmp_path / "elsewhere.bin")
    weights.symlink_to(tmp_path / "elsewhere.bin")
    assert (
        refusal(xml) == "its weights net.bin are a link to another folder, which is not followed; copy the file itself."
    )


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_weights_of_a_graph_that_are_no_plain_file_are_refused(xml, kind):
    weights = xml.with_suffix(".bin")
    weights.unlink()
    {"folder": weights.mkdir, "pipe": lambda: os.mkfifo(weights), "device": lambda: weights.symlink_to(os.devnull)}[
        kind
    ]()
    assert refusal(xml) == "its weights net.bin are not beside it; copy both files."


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('type="Add" version="opset1"', 'type="Add" version="opset99"', "from unsupported opset: opset99"),
        (
            'type="Add" version="opset1"',
            'type="Touch" version="opset1"',
            "doesn't contain the operation with type: T",
        ),
        ('size="16"', 'size="4"', "Attribute and shape size are inconsistent"),
        ('shape="4"', 'shape="4000000000000"', "Attribute and shape size are inconsistent"),
    ],
)
def test_a_graph_that_contradicts_itself_is_refused_by_a_sentence_of_openvino(xml, old, new, text):
    feeds = open_files([xml, xml], batch=2)[0].feeds
    change(xml, old, new)
    with pytest.raises(SparsebenchError, match=text):
        load_file(str(xml), feeds, 1)


def test_elements_that_name_other_files_are_left_out(xml):
    from sparsebench.export.files.openvino import _rewritten

    include = "<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='/etc/passwd' parse='text'/>"
    change(xml, "<layers>", f"<?xml-stylesheet href='/etc/passwd'?>{include}<layers>{include}")
    assert "passwd" not in ElementTree.tostring(_rewritten(xml)[0]).decode()


def test_what_wrote_a_graph_and_how_is_left_out(xml):
    from sparsebench.export.files.openvino import _rewritten, read_inputs

    change(xml, "</net>", "<rt_info><runtime_options><CACHE_DIR value='/tmp/evil'/></runtime_options></rt_info></net>")
    net, _ = _rewritten(xml)
    assert [part.tag for part in net] == ["layers", "edges"]
    assert read_inputs(xml)[0] == Input(read_inputs(xml)[0].name, "float32", (None, 4))
