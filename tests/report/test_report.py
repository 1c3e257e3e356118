"""The report as a whole: what is written, in which order, and that it says what the records say."""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from crowded import crowded
from handmade import ENVIRONMENT, SPREAD, Bench, stage, with_faults

from reports import everything, page
from sparsebench.errors import SparsebenchError
from sparsebench.points.points import sections
from sparsebench.report import write_report
from sparsebench.report.caveats import findings
from sparsebench.report.checklist import checklist
from sparsebench.report.pages import PAGES
from sparsebench.report.provenance import provenance
from sparsebench.store.results import LoadedWeights

KINDS = (
    "accuracy-sparsity",
    "interaction",
    "latency",
    "layer-sparsity",
    "pareto-latency",
    "pareto-macs",
    "pareto-size",
    "size",
)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a run with one failed trial, one scheme not offered and one collapsed layer."""
    return write_report(with_faults(), tmp_path_factory.mktemp("report") / "new" / "folder")


@pytest.fixture(scope="module")
def text(report):
    return report.read_text()


def kept(run):
    return {check.practice: check.kept for check in checklist(run, sections(run))}


def test_the_report_is_a_folder_that_github_shows(report):
    assert report.name == "README.md"
    names = sorted(str(path.relative_to(report.parent)) for path in report.parent.rglob("*") if path.is_file())
    figures = sorted(f"figures/{kind}.{ending}" for kind in KINDS for ending in ("png", "svg"))
    assert names == sorted(["README.md", *PAGES, "data.csv", "data.json", *figures, "latency.csv"])


def test_the_first_page_has_the_answer_a_table_and_two_figures(text):
    assert re.findall(r"^#+ .*", text, re.MULTILINE) == [
        "# handmade: pruning and quantization",
        "## Warnings",
        "## Results",
        "## More",
    ]
    assert re.findall(r"!\[[^]]*\]\(([^)]*)\)", text) == ["figures/pareto-size.svg", "figures/pareto-latency.svg"]


def test_every_figure_and_every_table_stands_on_one_page_only(report):
    texts = [path.read_text() for path in report.parent.glob("*.md")]
    shown = [figure for text in texts for figure in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)]
    assert sorted(shown) == sorted(f"figures/{kind}.svg" for kind in KINDS)
    tables = [block for text in texts for block in text.split("\n\n") if block.startswith("|")]
    assert len(set(tables)) == len(tables)


def test_every_page_is_linked_from_the_first_and_leads_back(report, text):
    for name in PAGES:
        assert f"]({name})" in text
        assert "[Back to the answer](README.md)" in report.with_name(name).read_text()


def test_the_facts_under_the_answer_say_what_was_tried_where_and_what_was_left_out(text):
    assert (
        "\nsmall_cnn on digits · Example CPU 9000, 2 cores · torch 2.15.0 · 104 of 105 trials done, 15 [not offered]"
        "(trials.md#failed-and-not-offered)\n"
    ) in text


def test_the_baseline_is_the_first_row_of_each_table(report):
    assert "| dense | fp32 | eager | 95.25 ± 0.25 | 99.25 ± 0.25 | baseline | – | – | 3 |" in page(report, "accuracy")
    assert ("| dense | fp32 | eager | 0.0000 | 0.0000 | 23.8 | 1.00× | 22.8 | 1.00× | 1.00× |") in page(report, "size")
    for name in ("accuracy", "size", "latency"):
        rows = [line for line in page(report, name).splitlines() if line.startswith(("| dense ", "| magnitude "))]
        assert rows[0].startswith("| dense | fp32 | eager |")


def test_rows_give_loss_interaction_size_compute_and_speed(report):
    assert (
        "| magnitude 0.95 | static | eager | 88.50 ± 0.25 | 92.50 ± 0.25 | 6.75 [4.22, 9.22] | [4.22, 9.22] "
        "| 0.50 [−0.72, 1.71] | 3 |"
    ) in page(report, "accuracy")
    assert ("| magnitude 0.95 | static | eager | 0.9500 | 0.9499 | 9.54 | 2.49× | 4.03 |") in page(report, "size")
    assert "| magnitude 0.95 | static | eager | 18.7× | 88.1 | 99.5 | 4.10 |" in page(report, "size")
    assert (
        "| magnitude 0.95 | static | eager | 0.810 | 2.482× [2.469, 2.494] | FASTER | 2.482× [2.469, 2.494] | FASTER |"
    ) in page(report, "latency")


def test_no_table_is_wider_than_a_page(report):
    for path in report.parent.glob("*.md"):
        heads = [line for line in path.read_text().splitlines() if line.startswith(("| network", "| pruner"))]
        assert all(head.count("|") - 1 <= 10 for head in heads), path


def test_a_theoretical_speedup_is_said_to_be_counted_and_not_measured(report):
    assert (
        "It is counted on the trained network and not measured. Unstructured zeros do not speed up dense kernels: "
        "without removed channels, convolutions and matrix products take as long as in the dense network."
    ) in page(report, "terms")


def anchors(path):
    """The places of a page that links may lead to, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_without_counts_neither_their_columns_nor_their_figure_stand_there_empty(tmp_path):
    run = Bench(counted=False, seeds=(0,), thresholds=(0.0, 0.9)).build()
    readme = write_report(run, tmp_path)
    assert not re.search(r"^\|.*(theoretical|working memory)", page(readme, "size"), re.MULTILINE)
    assert "pareto-macs" not in everything(readme)
    assert "Weights and MACs of each layer" not in page(readme, "layers")
    check = next(c for c in checklist(run, sections(run)) if c.practice == "compression ratio and theoretical speedup")
    assert (check.kept, check.evidence) == (False, "theoretical speedup missing at 8 points")


def test_layers_are_listed_with_weights_zeros_and_macs_at_each_threshold(tmp_path):
    bench = Bench(thresholds=(0.0, 0.5, 0.9), pruners=("magnitude", "random"), seeds=(3, 4))
    text = page(write_report(bench.build(), tmp_path), "layers")
    start = text.index("<summary>Weights and MACs of each layer</summary>")
    folded = text[start : text.index("</details>", start)]
    assert "**magnitude, seed 3**" in folded
    head, _, *rows = folded.split("**random, seed 3**")[1].split("\n\n")[1].splitlines()
    assert [head, *rows] == [
        "| layer | kind | dense | random 0.5 | random 0.9 |",
        "| conv1 | Conv2d | 0 of 144 zero; 9,216 MACs | 72 of 144 zero; 4,608 of 9,216 MACs | "
        "130 of 144 zero; 896 of 9,216 MACs |",
        "| conv2 | Conv2d | 0 of 4,608 zero; 294,912 MACs | 2,304 of 4,608 zero; 147,456 of 294,912 MACs | "
        "4,147 of 4,608 zero; 29,504 of 294,912 MACs |",
        "| fc | Linear | 0 of 640 zero; 640 MACs | 0 of 640 zero; 640 MACs | 0 of 640 zero; 640 MACs |",
        "| everything else | | 1,000 MACs | 1,000 MACs | 1,000 MACs |",
        "| **total** | | 305,768 MACs | 153,704 of 305,768 MACs | 32,040 of 305,768 MACs |",
    ]


def test_many_thresholds_do_not_make_the_layers_table_unreadably_wide(tmp_path):
    bench = Bench(thresholds=[n / 40 for n in range(40)], seeds=(0,), schemes=("fp32",))
    text = page(write_report(bench.build(), tmp_path), "layers")
    head = next(line for line in text.splitlines() if re.match(r"\| layer +\| kind +\| +dense", line))
    assert head.count("|") == 2 + 1 + 1 + 8
    assert "magnitude 0.025 |" in head
    assert "magnitude 0.975 |" in head


def test_what_failed_and_what_was_not_offered_is_listed_with_its_reason(report):
    text = page(report, "trials")
    table = text[text.index("## Failed") : text.index("## Seeds")]
    assert (
        "| failed | small_cnn | digits | static | eager | magnitude 0.9: seed 1 | 1 | "
        "compress failed (attempt 1): RuntimeError: out of &#124; memory |"
    ) in table
    assert (
        "| not offered | small_cnn | digits | both | onnxruntime | dense: seeds 0, 1, 2; "
        "magnitude 0.5, 0.8, 0.9, 0.95: seeds 0, 1, 2 | 15 | onnxruntime does not offer both |"
    ) in table


def test_warnings_name_failures_and_collapsed_layers():
    run = with_faults()
    assert findings(run, sections(run)) == [
        "**1 of 120 trials failed**: [trials.md](trials.md#failed-and-not-offered) says why.",
        "small_cnn on digits, magnitude 0.95: layers at least 99.5 % zero: conv1 (3 of 3 seeds).",
    ]


def test_warnings_repeat_that_nothing_was_pruned():
    nothing = "magnitude pruned nothing: the network has no prunable weights."
    run = Bench(warnings={0.8: (nothing,)}, reached={0.8: 0.0}, seeds=(0,)).build()
    assert findings(run, sections(run)) == [
        f"{nothing} (small_cnn · digits · magnitude 0.8 · fp32 · eager · seed 0)",
        "small_cnn on digits, magnitude 0.8: sparsity 0.0000 of the prunable weights, asked 0.8000.",
    ]


def test_warnings_repeat_what_stages_warned_of_once():
    run = Bench(warnings={0.5: ("Nothing was <quantized>.",)}).build()
    assert findings(run, sections(run)) == [
        "Nothing was &#60;quantized&#62;. (small_cnn · digits · magnitude 0.5 · fp32 · eager · seed 0 and 2 more)"
    ]


def test_warnings_tell_asked_from_reached_sparsity():
    run = Bench(reached={0.8: 0.75}, seeds=(0,)).build()
    assert findings(run, sections(run)) == [
        "small_cnn on digits, magnitude 0.8: sparsity 0.7500 of the prunable weights, asked 0.8000."
    ]


def test_warnings_say_that_there_is_no_dense_control_or_that_it_only_guesses():
    without, guessing = Bench(thresholds=(0.5,)).build(), Bench(dense_accuracy=0.11).build()
    assert findings(without, sections(without)) == [
        "small_cnn on digits: no dense fp32 network on eager, so no drops and no speedups there. Add 0 to thresholds "
        'and "fp32" to schemes.'
    ]
    assert findings(guessing, sections(guessing))[0] == (
        "small_cnn on digits: the dense network on eager does no better than guessing (10.00 %) for at least one seed, "
        "so drops against it mean nothing."
    )


def test_the_checklist_is_computed_from_the_records():
    three = kept(Bench(pairs=(("a", "x"), ("b", "x"), ("c", "y")), pruners=("magnitude", "random")).build())
    one = kept(Bench(seeds=(0,), thresholds=(0.0, 0.5), paired=False).build())
    for practice, in_three, in_one in [
        ("at least 3 (data set, architecture) pairs", True, False),
        ("at least 5 operating points on each trade-off curve", True, False),
        ("at least 3 seeds for every point", True, False),
        ("mean and sample standard deviation", True, False),
        ("random pruning as a baseline", True, False),
        ("accuracy differences with paired intervals", True, False),
        ("dense control made by the same code", True, True),
        ("compression ratio and theoretical speedup", True, True),
        ("speedups from paired timing, with controls", True, True),
    ]:
        assert (three[practice], one[practice]) == (in_three, in_one), practice


def test_the_audit_says_what_is_not_int8_and_why(report):
    text = page(report, "layers")
    assert "| conv1 | Conv2d | 144 | 9,216 | 32 bits, 95.1 % zero (1) |" in text
    assert "\n1. fp32 leaves Conv2d in fp32\n2. dynamic leaves Conv2d in fp32\n" in text


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


SAME_BYTES = """
import sys
from crowded import crowded
from sparsebench.report import write_report
write_report(crowded(2, 2, seeds=(0, 1), schemes=("fp32", "static")), sys.argv[1], html=True)
"""


def test_the_same_records_give_the_same_bytes_in_another_process_too(tmp_path):
    write_report(crowded(2, 2, seeds=(0, 1), schemes=("fp32", "static")), tmp_path / "first", html=True)
    # Sets and hashes are in another order there.
    environment = {**os.environ, "PYTHONHASHSEED": "4321", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", SAME_BYTES, str(tmp_path / "other")], check=True, env=environment)
    first, other = (digests(tmp_path / name) for name in ("first", "other"))
    assert first == other
    assert {"README.md", "data.csv", "data.json", "latency.csv", "index.html", "figures/size.png"} <= first.keys()


def test_figures_carry_no_date_and_are_well_formed(report):
    for path in (report.parent / "figures").glob("*.svg"):
        root = ET.fromstring(path.read_text())  # noqa: S314 - our own file
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "dc:date" not in path.read_text()
    assert all(b"Software" not in path.read_bytes() for path in (report.parent / "figures").glob("*.png"))


def test_every_link_leads_to_a_file_of_the_report_and_to_a_heading_in_it(report):
    for path in report.parent.glob("*.md"):
        links = re.findall(r"\]\(([^)]+)\)", path.read_text())
        assert links
        for link in links:
            file, _, anchor = link.partition("#")
            assert (report.parent / file).is_file(), link
            assert not anchor or anchor in anchors(report.parent / file), link


def test_data_json_has_all_points_and_trials_and_no_nan(report):
    data = json.loads(report.with_name("data.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert (len(data["points"]), len(data["trials"])) == (40, 120)
    joint = next(p for p in data["points"] if (p["threshold"], p["scheme"], p["backend"]) == (0.95, "static", "eager"))
    assert joint["interaction_pp"]["mean"] == pytest.approx(0.5)
    assert joint["drop"]["pp"] == pytest.approx(6.75)
    for found in (joint["drop"], joint["interaction_pp"]):
        assert set(found["these_networks"]) == set(found["another_training"]) == {"low_pp", "high_pp", "p_value"}
    assert joint["theoretical_speedup"] == pytest.approx(305_768 / (64 * 230 + 1640))
    assert (joint["macs"], joint["effective_macs"], joint["working_memory_bytes"]) == (305_768, 16_360, 4096)
    assert [network["threshold"] for network in data["networks"]] == [0.0, 0.5, 0.8, 0.9, 0.95]
    assert data["networks"][1]["layers"][0]["macs"] == 9216
    assert [timing["median_ms"]["mean"] for timing in joint["latency"]] == [pytest.approx(0.81)]


def test_data_json_has_each_session_and_latency_with_what_each_process_found(report):
    data = json.loads(report.with_name("data.json").read_text())
    session = data["sessions"][0]
    assert (session["state"], session["resolution"], session["processes"], session["enough"]) == (
        "VALID",
        0.015,
        6,
        True,
    )
    assert session["seconds_needed"] is None
    assert [control["by_process"] for control in session["controls"]] == [[0.997, 1.002], [0.999, 1.004]]
    timed = [t for t in data["trials"] if t["latency_ms"] is not None]
    assert [one["key"] for one in data["latencies"]] == [t["key"] for t in timed]
    one = next(x for x in data["latencies"] if (x["threshold"], x["scheme"]) == (0.5, "static"))
    assert one["session"] in {s["id"] for s in data["sessions"]}
    assert one["against"]["by_process"] == [pytest.approx(one["speedup"] * factor) for factor in SPREAD]
    assert (one["against"]["p_value"], one["places"]) == (1e-6, [[[3], [0]]] * 6)
    assert "median_ms" in one
    assert "median" not in "".join(timed[0])


def test_data_csv_has_a_row_for_each_trial(report):
    rows = list(csv.DictReader(report.with_name("data.csv").open(newline="")))
    assert len(rows) == 120
    assert sum(row["status"] == "not offered" for row in rows) == 15
    assert rows[0]["top1"] == "0.95"
    assert (rows[0]["macs"], rows[0]["effective_macs"], rows[0]["working_memory_bytes"]) == (
        "305768",
        "305768",
        "16384",
    )


def test_data_csv_has_the_drop_of_each_trial_and_of_its_seeds_together(report):
    rows = list(csv.DictReader(report.with_name("data.csv").open(newline="")))
    row = next(r for r in rows if (r["threshold"], r["scheme"], r["backend"]) == ("0.95", "static", "eager"))
    assert (float(row["drop_pp"]), float(row["mean_drop_pp"])) == (pytest.approx(6.75), pytest.approx(6.75))
    for name in ("drop", "mean_drop_these_networks", "mean_drop_another_training"):
        assert float(row[f"{name}_low_pp"]) < 6.75 < float(row[f"{name}_high_pp"])
        assert float(row[f"{name}_p_value"]) < 0.001


def test_figures_of_an_earlier_report_are_removed_and_others_stay(tmp_path):
    write_report(Bench().build(), tmp_path)
    (tmp_path / "figures" / "logo.svg").write_text("mine")
    write_report(Bench(thresholds=(0.0,), pairs=(("a", "x"), ("b", "x"))).build(), tmp_path)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert "logo.svg" in names
    assert "pareto-size.svg" not in names
    assert "1-a-x-pareto-size.svg" in names


@pytest.mark.parametrize(
    ("bench", "expected"),
    [
        (
            Bench(
                thresholds=(0.0, 0.5),
                schemes=("fp32",),
                seeds=(0,),
                pending={(t, 0, "fp32", "eager") for t in (0.0, 0.5)},
            ),
            "- **No answer:** No trial has finished, so there is no answer yet. No latency was measured.",
        ),
        (Bench(pairs=()), "- **No answer:** The run has no trials."),
    ],
    ids=["nothing finished", "no trial at all"],
)
def test_a_run_without_results_has_a_report_that_says_so(bench, expected, tmp_path):
    readme = write_report(bench.build(), tmp_path)
    assert readme.read_text().split("\n\n")[1] == expected
    assert (tmp_path / "data.csv").read_text().startswith("model,data,pruner,threshold,seed,scheme,backend,status,")
    assert "figures/" not in everything(readme)


def test_a_single_seed_explains_its_error_bars(tmp_path):
    readme = write_report(Bench(seeds=(0,), thresholds=(0.0, 0.9)).build(), tmp_path)
    assert "Error bars: Wilson 95 % interval over test samples (one seed)." in readme.read_text()
    assert "| dense | fp32 | 95.00 | 99.00 | baseline |" in page(readme, "accuracy")


def test_several_batch_sizes_get_a_table_of_their_own(tmp_path):
    bench = Bench(settings=((1, 1), (8, 2)), thresholds=(0.0, 0.9), seeds=(0,))
    readme = write_report(bench.build(), tmp_path)
    text = page(readme, "latency")
    assert "**Speed at batch 1, 1 thread**" in text
    folded = text[text.index("<summary>Speed at batch 8, 2 threads</summary>") :]
    assert "| magnitude 0.9 | static | 3.20 | 2.500× [2.488, 2.513] | FASTER |" in folded
    assert "| magnitude 0.9 | static | 4.00 | 4.80 | 2,500 | 3.0 (2.9–3.1) |" in folded
    assert "ms, batch 1 on 1 thread | ms, batch 8 on 2 threads" in everything(readme)
    rows = list(csv.DictReader((tmp_path / "latency.csv").open(newline="")))
    first = list(csv.DictReader((tmp_path / "data.csv").open(newline="")))
    assert len(rows) == 2 * len(first)
    static = [row for row in rows if (row["threshold"], row["scheme"]) == ("0.9", "static")]
    assert [(row["batch_size"], row["threads"], row["latency_ms"]) for row in static] == [
        ("1", "1", "0.8"),
        ("8", "2", "3.2"),
    ]
    # The first of them stands in data.csv, joined by the key.
    (beside,) = [row for row in first if row["key"] == static[0]["key"]]
    assert {name: beside[name] for name in static[0]} == static[0]


def test_many_points_are_folded_by_backend_and_all_there(tmp_path):
    bench = Bench(backends=("eager", "openvino"), thresholds=[n / 10 for n in range(10)], seeds=(0,))
    main = page(write_report(bench.build(), tmp_path), "accuracy")
    assert "<summary>eager: 40 networks</summary>" in main
    assert len(re.findall(r"^\| (?:dense|magnitude) ", main, re.MULTILINE)) == 80


def test_latencies_of_several_machines_are_not_compared_silently():
    run = Bench(thresholds=(0.0,), seeds=(0, 1)).build()
    other = replace(ENVIRONMENT, cpu="Another CPU")
    last = run.trials[-1]
    moved = replace(last, measure=tuple(replace(record, environment=other) for record in last.measure))
    run = replace(run, trials=(*run.trials[:-1], moved))
    assert findings(run, sections(run)) == [
        "Latency was measured on 2 machines (Example CPU 9000 / 2 cores / Linux 6.1 and Another CPU / 2 cores / "
        "Linux 6.1). Only that of Example CPU 9000 / 2 cores / Linux 6.1 is shown."
    ]


def loaded_from(*checkpoints):
    """Return a run whose dense networks of seeds 0, 1, … were loaded from files of these names and digests."""
    run = Bench(thresholds=(0.0, 0.5), seeds=tuple(range(len(checkpoints)))).build()
    trials = []
    for trial in run.trials:
        source, sha256 = checkpoints[trial.trial.seed]
        weights = LoadedWeights(source=source, sha256=sha256, tensors=8)
        dense = stage("train", f"dense-{source}", replace(trial.train.result, loaded=weights, epochs=0))
        trials.append(replace(trial, ancestors=(dense,)) if trial.trial.threshold else replace(trial, train=dense))
    return replace(run, trials=tuple(trials))


def test_seeds_that_prune_one_dense_network_are_told_from_those_that_prune_one_each():
    one = loaded_from(("net.pt", "ab12"), ("net.pt", "ab12"))
    assert findings(one, sections(one)) == [
        "small_cnn on digits: all 2 seeds prune the same dense network, loaded from net.pt, so intervals do not cover "
        "another dense training. To cover it, give one checkpoint for each seed: model.weights = 'net-{seed}.pt'."
    ]
    copied = loaded_from(("net-0.pt", "ab12"), ("net-1.pt", "ab12"))
    assert len(findings(copied, sections(copied))) == 1, "the content decides, not the name"
    each = loaded_from(("net-0.pt", "ab12"), ("net-1.pt", "cd34"))
    assert findings(each, sections(each)) == []
    text = re.sub(" +", " ", provenance(each))
    assert "| dense weights loaded from | net-0.pt, SHA-256 ab12 |" in text
    assert "| dense weights loaded from | net-1.pt, SHA-256 cd34 |" in text
    published = re.sub(" +", " ", provenance(loaded_from(("pretrained", None))))
    assert "| dense weights loaded from | pretrained, as published |" in published


def test_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SparsebenchError, match=r"cannot be written to .*file.*Name a folder that you may write to"):
        write_report(Bench(seeds=(0,)).build(), tmp_path / "file")


def test_reports_do_not_import_torch_or_pyplot():
    code = "import sys, sparsebench.report; print({'torch', 'matplotlib.pyplot', 'plotly'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
