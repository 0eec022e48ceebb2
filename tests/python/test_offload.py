"""Where saved activations are, on the device, on the host or computed again, must not change a bit of anything.

The resident run is the reference. On the CPU the host's arena is memory beside the rest, and everything but the copies
themselves is the code that a GPU runs.
"""
import functools
import json

import pytest
import reviews
import tiny_models
from program import dump, metrics, run, train
from reviews import Review
from test_parity import assert_same_bits, make_documents

LAYERS = 10
HOST = ("--offload_activations", "all")
TILES = ("--mlp_tile", 1024, "--loss_tile", 512)
LORA = ("--use_lora", "--lora_r", 4, "--lora_alpha", 8, "--target_modules", "all-linear")
USERS = {"影迷甲": [Review("盐湖快车", "画面美，音乐也好！"), Review("机械鲸", "\n换行开头\n\n第二段  ", "2016-02-29"),
                 Review("长街", "好", "2017-01-01")],
         "路人": [Review("南方来信", "It's fine, 7/10. " * 6), Review("铁皮屋顶", "雨声。", "2016-01-01")]}


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """deep(kind): a folder of LAYERS layers, so that their saved activations are most of what a step holds."""
    return functools.cache(lambda kind: tiny_models.make_text_model(
        tmp_path_factory.mktemp(kind) / "model", kind, num_hidden_layers=LAYERS))


def bench(folder, *options, steps=2):
    """The report of a few training steps on packed random documents, in the same tiles whatever the plan: another tile
    is another order of sums."""
    return json.loads(run("bench", "--device", "cpu", "--threads", 1, "--model", folder, "--length", 256,
                          "--documents", 24, "--steps", steps, "--learning_rate", 1e-3, *TILES, *options).stdout)


def device_rows(report):
    return {row["name"]: row["bytes"] for row in report["memory"]["rows"] if row["where"] == "device"}


# The same bits.

RESIDENCIES = [
    HOST, (*HOST, "--keep", "none"), ("--number_checkpoints", 1), ("--number_checkpoints", 2),
    ("--number_checkpoints", 3), ("--number_checkpoints", 3, "--keep", "none"), ("--number_checkpoints", 4),
    (*HOST, "--number_checkpoints", 1), (*HOST, "--number_checkpoints", 2),
    (*HOST, "--number_checkpoints", 3, "--keep", "none"), (*HOST, "--number_checkpoints", 4),
    ("--offload_param", "cpu"), (*HOST, "--offload_param", "cpu", "--number_checkpoints", 2)]


@pytest.mark.parametrize("tiles", [(), ("--mlp_tile", 32, "--loss_tile", 16)], ids=["whole", "tiled"])
@pytest.mark.parametrize("name", ["qwen3_head_dim", "qwen3_moe_mixed_layers"])
def test_every_residency_gives_the_bits_of_the_resident_run(folder, scratch, name, tiles):
    """3 and 4 layers: 1, 2, 3 and all of their inputs. Packed documents."""
    documents, labels = make_documents(131)
    resident = dump(folder(name), documents, labels, scratch, "--offload_activations", "none", *tiles)
    for options in RESIDENCIES:
        assert_same_bits(resident, dump(folder(name), documents, labels, scratch, *options, *tiles))


@pytest.mark.parametrize("name", ["qwen3_head_dim", "qwen3_moe_mixed_layers"])
def test_one_long_document(folder, scratch, name):
    documents, labels = make_documents(131, (3, 2, 3, 211), seed=8)
    documents, labels = documents[3:], labels[3:]
    resident = dump(folder(name), documents, labels, scratch, "--offload_activations", "none")
    for options in (HOST, ("--number_checkpoints", 2), (*HOST, "--number_checkpoints", 2)):
        assert_same_bits(resident, dump(folder(name), documents, labels, scratch, *options))


@pytest.mark.parametrize("name", ["qwen3_head_dim", "qwen3_moe_norm_topk"])
def test_adapters_and_their_dropout(folder, scratch, name):
    """A layer that is run again drops what it dropped before."""
    documents, labels = make_documents(131)
    flags = (*LORA, "--lora_dropout", 0.2)
    resident = dump(folder(name), documents, labels, scratch, *flags, "--offload_activations", "none")
    assert any(grad.norm() > 0 for grad in resident.grads.values())
    for options in (HOST, ("--number_checkpoints", 2), (*HOST, "--number_checkpoints", 2)):
        assert_same_bits(resident, dump(folder(name), documents, labels, scratch, *flags, *options))


@pytest.mark.parametrize("options", [HOST, ("--number_checkpoints", 1), (*HOST, "--number_checkpoints", 2)])
@pytest.mark.parametrize("lora", [(), LORA], ids=["full", "lora"])
def test_training_ends_with_the_same_files(tmp_path, options, lora):
    """Steps of different lengths use the arena anew each time, evaluations between them do not disturb it."""
    model = tiny_models.make_text_model(tmp_path / "model", num_hidden_layers=3)
    data = reviews.write_pipeline_json(tmp_path / "train.json", USERS)
    flags = ("--val_ratio", 0.2, "--max_epochs", 2, "--packing", "off", "--logging_steps", 1, "--learning_rate", 1e-3,
             *lora)
    train(model, data, tmp_path / "resident", *flags, "--offload_activations", "none")
    train(model, data, tmp_path / "other", *flags, *options)
    pairs = zip(metrics(tmp_path / "resident"), metrics(tmp_path / "other"), strict=True)
    assert all(a["loss"] == b["loss"] and a["grad_norm"] == b["grad_norm"] for a, b in pairs)
    file = "adapter_model.safetensors" if lora else "model.safetensors"
    assert (tmp_path / "resident" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_adapters_train_on_a_base_that_is_on_the_host(tmp_path):
    """Forward, backward, evaluation, and the next step from the first layer on. Trained weights are refused there."""
    model = tiny_models.make_text_model(tmp_path / "model", num_hidden_layers=5)
    data = reviews.write_pipeline_json(tmp_path / "train.json", USERS)
    flags = ("--val_ratio", 0.2, "--max_epochs", 2, "--packing", "off", "--logging_steps", 1, "--learning_rate", 1e-3)
    streamed = ("--offload_param", "cpu")
    train(model, data, tmp_path / "resident", *flags, *LORA)
    train(model, data, tmp_path / "streamed", *flags, *LORA, *streamed)
    files = [tmp_path / name / "adapter_model.safetensors" for name in ("resident", "streamed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    rows = {row["name"]: row for row in json.loads((tmp_path / "streamed" / "run.json").read_text())["memory"]}
    assert rows["weights of layers"]["where"] == "host" and rows["weights"]["where"] == "device"
    # Two of five layers.
    assert rows["weights on their way"]["bytes"] == pytest.approx(0.4 * rows["weights of layers"]["bytes"], rel=0.01)
    refused = train(model, data, tmp_path / "full", *flags, *streamed, expect=2)
    assert "weights that are trained stay on the device: use --use_lora" in refused.stderr


# The plan.

@pytest.mark.parametrize("kind", ["qwen3", "qwen3_moe"])
def test_what_does_not_fit_goes_to_the_host(deep, kind):
    """A device a quarter of the saved inputs too small for the resident run: refused without the host, and with it the
    first layers are there. The second step's loss has the same bits: it depends on the gradients of the first."""
    resident = bench(deep(kind), "--offload_activations", "none")
    least = bench(deep(kind), "--offload_activations", "none", "--keep", "none", steps=1)
    budget = least["memory"]["planned"] - device_rows(least)["saved activations"] // 4
    refused = run("bench", "--device", "cpu", "--model", deep(kind), "--length", 256, "--documents", 24,
                  "--device_memory", budget, "--offload_activations", "none", *TILES, expect=2)
    assert "tokens in a batch fit" in refused.stderr.splitlines()[-1]
    spilled = bench(deep(kind), "--device_memory", budget)
    assert spilled["losses"] == resident["losses"]
    assert 0 < spilled["plan"]["layers_on_host"]["input"] < LAYERS
    assert sum(device_rows(spilled).values()) == spilled["memory"]["planned"] <= budget
    check_host(spilled)
    again = bench(deep(kind), "--number_checkpoints", 3)
    assert again["losses"] == resident["losses"] and again["plan"]["layers_recomputed"] == 6


def check_host(report):
    """What was planned is what there was, and hardly more than was stored."""
    host = report["host_memory"]
    rows = [row["bytes"] for row in report["memory"]["rows"] if row["where"] == "host"]
    assert sum(rows) == host["planned"] == host["arena"] <= host["budget"]
    assert 0 < host["stored"] <= host["arena"] <= 1.02 * host["stored"]


@pytest.mark.parametrize("kind", ["qwen3", "qwen3_moe"])
def test_all_of_it_on_the_host(deep, kind):
    report = bench(deep(kind), *HOST)
    assert device_rows(report)["saved activations"] == 0
    assert report["plan"]["layers_on_host"] == {"input": LAYERS, "attention": LAYERS}
    assert report["host_memory"]["pin_seconds"] == 0
    check_host(report)


def test_a_small_host_takes_what_it_can(deep):
    whole = bench(deep("qwen3"), *HOST)
    half = bench(deep("qwen3"), *HOST, "--host_memory", whole["host_memory"]["arena"] * 2 // 3)
    assert half["losses"] == whole["losses"]
    assert half["plan"]["layers_on_host"]["input"] == LAYERS
    assert 0 < half["plan"]["layers_on_host"]["attention"] < LAYERS
    check_host(half)


def test_a_host_that_is_too_small_is_refused_in_one_line(deep):
    done = run("bench", "--device", "cpu", "--model", deep("qwen3"), "--length", 256, "--documents", 24, *HOST,
               "--host_memory", "1MiB", expect=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("trireme: not enough host memory: at least "), last
    assert "may hold 1.00 MiB" in last and "tokens in a batch fit" in last and "--host_memory" in last
    longest = int(last.split("at most ")[1].split()[0])
    run("bench", "--device", "cpu", "--model", deep("qwen3"), "--length", longest, "--steps", 1, *HOST,
        "--host_memory", "1MiB")


def test_the_table_says_where(deep, tmp_path):
    data = reviews.write_pipeline_json(tmp_path / "train.json", USERS)
    done = train(deep("qwen3"), data, tmp_path / "out", "--max_steps", 1, *HOST)
    rows = json.loads((tmp_path / "out" / "run.json").read_text())["memory"]
    assert {row["where"] for row in rows} == {"device", "host"}
    lines = done.stderr.split("its peak by phase")[0].split("as planned:")[0].splitlines()
    assert [line.split()[0] for line in lines if line.endswith("  host")] == ["offloaded", "sum"]
    assert any(line.startswith("  weights") and line.endswith("  device") for line in lines)
