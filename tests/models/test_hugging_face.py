"""Networks of transformers by folder: what they compute, what is read of a folder, and what is not run."""

import json
import pickle
import sys
from pathlib import Path

import pytest
import tiny_transformers as tiny
import torch
from transformers import AutoConfig, BertModel, ViTForImageClassification

from sparsebench import load_config
from sparsebench.errors import ConfigError, ModelError
from sparsebench.models import build_model, published_weights
from sparsebench.runner.facts import gather_facts
from sparsebench.runner.planner import make_plan
from sparsebench.training.weights import load_weights


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def vit(folders):
    return folders / "vit", tiny.vit(folders / "vit")


def built(folder, classes=4, **options):
    return build_model(f"transformers:{folder}", classes, (3, 16, 16), options)


def loaded(folder, classes=4, new_head=False, **options):
    net = built(folder, classes, **options)
    fitted = load_weights(net, "pretrained", f"transformers:{folder}", (), options, new_head=new_head)
    return net.eval(), fitted


@pytest.mark.parametrize("kind", ["vit", "bert", "wav2vec2", "ast"])
def test_a_folder_with_its_weights_computes_what_transformers_saved(folders, kind):
    own = getattr(tiny, kind)(folders / kind)
    net, fitted = loaded(folders / kind)
    inputs = {"vit": (2, 3, 16, 16), "wav2vec2": (2, 400), "ast": (2, 32, 16)}
    given = torch.randint(0, 18, (2, 9)) if kind == "bert" else torch.randn(inputs[kind])
    with torch.no_grad():
        torch.testing.assert_close(net(given).logits, own(given).logits, rtol=0, atol=0)
    assert type(net) is type(own)
    assert fitted.fresh == ()


def test_the_data_say_how_many_classes_and_options_change_the_config(vit):
    net = built(vit[0], 7, num_hidden_layers=1)
    assert net(torch.randn(2, 3, 16, 16)).logits.shape == (2, 7)
    assert len(net.vit.layers if hasattr(net.vit, "layers") else net.vit.encoder.layer) == 1


def test_a_classifier_of_other_classes_is_replaced_where_that_is_asked_for(vit):
    _, fitted = loaded(vit[0], 7, new_head=True)
    assert fitted.fresh == ("classifier.weight", "classifier.bias")
    with pytest.raises(ModelError, match=r"Its classifier is of another size: set model\.new_head = true"):
        loaded(vit[0], 7)


def test_weights_without_a_classifier_do_not_pass_for_weights_with_one(folders):
    tiny.bert(folders / "classified")
    BertModel(AutoConfig.from_pretrained(folders / "classified")).save_pretrained(folders / "classified")
    with pytest.raises(ModelError, match=r"classifier\.weight"):
        loaded(folders / "classified")
    _, fitted = loaded(folders / "classified", new_head=True)
    assert fitted.fresh == ("classifier.weight", "classifier.bias")


class Marks:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_are_not_read(folders, tmp_path):
    tiny.vit(folders / "pickled")
    (folders / "pickled" / "model.safetensors").unlink()
    (folders / "pickled" / "pytorch_model.bin").write_bytes(pickle.dumps(Marks(tmp_path / "ran")))
    with pytest.raises(ModelError, match=r"cannot be had \(.*They must be safetensors .*: pickles are not read"):
        loaded(folders / "pickled")
    assert not (tmp_path / "ran").exists()


def test_code_in_a_folder_is_not_run(folders, tmp_path):
    folder = folders / "coded"
    tiny.vit(folder)
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "own.Config", "AutoModelForImageClassification": "own.Net"}
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": classes}))
    assert type(built(folder)) is ViTForImageClassification
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": classes, "model_type": "own"}))
    with pytest.raises(ModelError, match=r"The config of transformers:.* cannot be had"):
        built(folder)
    assert not (tmp_path / "ran").exists()


def test_attention_from_elsewhere_is_not_run(folders):
    folder = folders / "kernels"
    tiny.vit(folder)
    with pytest.raises(ModelError, match=r"asks for the attention 'someone/kernel', which may be code from elsewhere"):
        built(folder, attn_implementation="someone/kernel")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"hiden_size": 8}, r"Option of transformers:.*vit 'hiden_size' is not known\. Did you mean 'hidden_size'\?"),
        ({"task": "tex"}, r"task 'tex' is not known\. Did you mean 'text'\?"),
        (
            {"task": "text"},
            r"is 'vit', of which transformers has no network for SequenceClassification; it has one ",
        ),
        ({"hidden_size": "wide"}, r"The config of .* cannot be had \(.*hidden_size.*\)\. Correct it, or the options\."),
        ({"hidden_act": "nonsense"}, r"transformers:.* of these options cannot be had .*Correct the options"),
    ],
)
def test_options_that_a_config_does_not_take_are_told(vit, options, text):
    with pytest.raises(ModelError, match=text):
        built(vit[0], **options)


def test_what_cannot_be_had_is_told_with_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match=r"is no folder with a config\.json; give one that save_pretrained"):
        built(tmp_path / "nothing")

    def down(*_, **__):
        raise OSError("We couldn't connect to 'https://huggingface.co'\nin five attempts.")

    monkeypatch.setattr(AutoConfig, "from_pretrained", down)
    with pytest.raises(
        ModelError,
        match=r"The config of transformers:a/b cannot be had \(OSError: We couldn't connect to .*attempts\)\. "
        r"Correct the name; or download it where there is a network, and name its folder transformers:\./FOLDER\.",
    ):
        build_model("transformers:a/b", 4, (3, 16, 16))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"transformers:a/b needs transformers, which is not installed: pip inst"):
        build_model("transformers:a/b", 4, (3, 16, 16))


def test_only_the_weights_beside_the_config_are_published(vit):
    with pytest.raises(ModelError, match=r"'other' is not known; weights of transformers:.* are chosen by the option"):
        published_weights(f"transformers:{vit[0]}", "transformers:other", ())


def keys(**model):
    config = load_config({"name": "keys", "seeds": 0, "thresholds": 0, "schemes": "fp32", "model": model})
    return [stage.key for stage in make_plan(config, gather_facts(config)).stages]


def test_the_keys_of_a_run_change_with_the_config_and_with_weights_that_are_used(folders):
    folder = folders / "keyed"
    tiny.vit(folder)
    named = {"name": f"transformers:{folder}"}
    before = keys(**named), keys(**named, weights="pretrained")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0?")
    assert keys(**named) == before[0]
    assert not {*keys(**named, weights="pretrained")} & {*before[1]}
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"hidden_size": 32', '"hidden_size": 64'))
    assert not {*keys(**named)} & {*before[0]}
    (folder / "config.json").write_text(config)
    assert keys(**named) == before[0]


def test_the_processor_of_the_network_is_named_in_its_place():
    data = {"name": "arrow:x", "options": {"processor": "network"}}
    config = load_config({"model": {"name": "transformers:./vit"}, "data": data})
    assert config.data[0].options == {"processor": "transformers:./vit"}
    several = [{"name": "transformers:./vit"}, {"name": "transformers:./deit"}]
    for model, found in (({"name": "mlp"}, "there is none"), (several, r"there are several \(.*deit, .*vit\)")):
        with pytest.raises(ConfigError, match=f"that of the network of transformers, and {found}; name it"):
            load_config({"model": model, "data": data})
