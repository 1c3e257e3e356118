"""Configs: what they resolve to, and what a person reads when one is wrong."""

import pytest

from sparsebench import SweepConfig, load_config
from sparsebench.errors import ConfigError


def problems(*overrides, path=None):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return caught.value.problems


def only(*overrides, path=None):
    found = problems(*overrides, path=path)
    assert len(found) == 1, found
    return found[0]


def test_the_embedded_default_sweeps_five_thresholds_four_schemes_and_three_seeds():
    config = load_config()
    assert config.thresholds == (0, 0.5, 0.8, 0.9, 0.95)
    assert config.schemes == ("fp32", "dynamic", "static", "both")
    assert config.seeds == (0, 1, 2)


def test_post_is_another_name_for_static():
    assert load_config(None, ["schemes=fp32,post"]).schemes == ("fp32", "static")


def test_a_value_may_be_set_as_toml_or_as_bare_text():
    config = load_config(None, ["thresholds=[0, 0.9]", "schemes=fp32", "train.epochs=3", "model.name=gru_classifier"])
    assert config.thresholds == (0, 0.9)
    assert config.schemes == ("fp32",)
    assert config.train.epochs == 3
    assert config.model[0].name == "gru_classifier"


def test_a_bare_number_of_seeds_is_refused_for_it_reads_as_so_many_seeds():
    assert only("seeds=3") == ("--set seeds=3: seeds = 3: it may mean 3 seeds or seed 3; write [0, 1, 2], or [3].")
    assert "write [0], or [1]" in only("seeds=1")
    assert "write [0, …, 41], or [42]" in only("seeds=42")
    assert load_config(None, ["seeds=0"]).seeds == (0,), "which can mean one thing only"
    assert load_config(None, ["seeds=[3]"]).seeds == (3,)


def test_thresholds_are_swept_in_increasing_order():
    assert load_config(None, ["thresholds=0.9,0,0.5"]).thresholds == (0, 0.5, 0.9)


def test_a_config_cannot_be_changed_once_made():
    with pytest.raises(ValueError, match="frozen"):
        load_config().train.epochs = 5


def test_several_networks_are_given_as_an_array_of_tables(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text('[[model]]\nname = "small_cnn"\n[[model]]\nname = "gru_classifier"\noptions = { hidden = 16 }\n')
    config = load_config(path)
    assert [model.name for model in config.model] == ["small_cnn", "gru_classifier"]
    assert config.model[1].options == {"hidden": 16}


def test_an_unknown_scheme_is_answered_with_the_nearest_spelling():
    assert only("schemes=statc") == (
        "--set schemes=statc: schemes = 'statc': scheme 'statc' is not known. Did you mean 'static'? "
        "Allowed: bf16, both, dynamic, fp16, fp32, post, qat, sparse_2_4, static, weight_only."
    )


def test_an_unknown_model_is_answered_with_the_nearest_spelling_and_the_way_to_bring_ones_own():
    text = only("model.name=smal_cnn")
    assert "model 'smal_cnn' is not known. Did you mean 'small_cnn'?" in text
    assert "Your own is given as 'package.module:callable'." in text


def test_an_unknown_key_is_answered_with_the_nearest_spelling_and_the_keys_allowed_there():
    text = only("train.epoch=3")
    assert "train.epoch is no key of [train]. Did you mean 'epochs'?" in text
    assert "Allowed there: amp, batch_size," in text


def test_an_unknown_section_is_answered_with_the_nearest_spelling():
    assert "trian is no key of the top level. Did you mean 'train'?" in only("trian.epochs=3")


@pytest.mark.parametrize(
    ("value", "found"),
    [("1.0", "1.0 is out of range"), ("-0.1", "-0.1 is out of range"), ("abc", "'abc' is no number"), ("nan", "nan")],
)
def test_a_threshold_outside_its_range_is_refused_and_the_range_is_named(value, found):
    text = only(f"thresholds={value}")
    assert found in text
    assert "fraction of prunable weights that is zero: 0 (the dense control) up to, not including, 1" in text


def test_no_thresholds_at_all_is_refused():
    assert "thresholds is empty; name at least one value." in only("thresholds=[]")


def test_more_than_2000_calibration_batches_are_refused():
    assert "quantize.calibration_batches = 2001 is out of range; allowed is 1 to 2000." in only(
        "quantize.calibration_batches=2001"
    )


def test_calibration_batches_are_one_number_or_several():
    def asked(value):
        return load_config(None, [f"quantize.calibration_batches={value}"]).quantize.calibration_batches

    assert load_config().quantize.calibration_batches == (2000,)
    assert (asked("7"), asked("[100, 10, 2000]"), asked("100,10")) == ((7,), (10, 100, 2000), (10, 100))


def test_each_of_several_numbers_of_calibration_batches_is_checked():
    assert list(problems("quantize.calibration_batches=[0, 10, 2001]")) == [
        f"--set quantize.calibration_batches=[0, 10, 2001]: quantize.calibration_batches = {found} is out of range; "
        "allowed is 1 to 2000."
        for found in (0, 2001)
    ]
    assert "10 stands there twice" in only("quantize.calibration_batches=[10, 10]")
    assert "quantize.calibration_batches is empty" in only("quantize.calibration_batches=[]")


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", ".hidden", "x" * 101, "a\nb"])
def test_a_run_name_that_could_leave_the_runs_directory_is_refused(name):
    with pytest.raises(ValueError, match="a run name has letters"):
        SweepConfig(name=name)


def test_a_value_named_twice_is_refused():
    assert "0.5 stands there twice; name each value once." in only("thresholds=0.5,0.5")


def test_two_networks_of_one_name_are_refused(tmp_path):
    path = tmp_path / "twins.toml"
    path.write_text('[[model]]\nname = "small_cnn"\n[[model]]\nname = "small_cnn"\n')
    assert "small_cnn stands there twice" in only(path=path)


def test_all_faults_are_reported_at_once_each_with_its_file(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('thresholds = [1.5]\nschemes = ["int4"]\n[train]\nepochs = -1\nlr = 1\n[data]\nname = "digit"\n')
    found = problems(path=path)
    assert len(found) == 5
    assert all(text.startswith(str(path)) for text in found)


def test_a_missing_file_is_answered_with_the_nearest_name(tmp_path):
    (tmp_path / "sweep.toml").write_text("")
    text = only(path=tmp_path / "swep.toml")
    assert "there is no such file. Did you mean" in text
    assert "sweep.toml" in text


def test_a_file_that_is_no_toml_says_where(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("thresholds = [0, 0.5\n")
    assert "this is not valid TOML" in only(path=path)


def test_an_override_without_a_value_says_how_to_write_one():
    assert only("train.epochs") == (
        "--set train.epochs: write it as section.key=value, for example --set train.epochs=20."
    )
