"""The Python package: pip install, attention of several ranks against torch's of one process, and transformers' Trainer with
and without it. Ranks are processes (package_rank.py) that meet over Gloo.

Tolerances, in fp32, all relative. Attention: 1e-5 of the largest element of a reference in fp64; ranks sum the same products
in another order. Training, four steps of AdamW with an epsilon that rounding does not pass (test_ranks_training.py says why):
losses, norms and evaluations 1e-5 (measured: 4e-7), weights 1e-4 of what training changed (measured: 1.5e-5, the rounding of
weights of size 1).
"""
import os
import pathlib
import re
import subprocess
import sys

import package_rank
import pytest
import tiny_models
import torch
import transformers
from program import ROOT
from test_ranks import free_port, launched


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """pip install . into a folder of its own; minutes where build/package and the compiler's cache are empty."""
    folder = tmp_path_factory.mktemp("package")
    done = subprocess.run([sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--no-index", "--target",
                           folder, ROOT], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return folder


@pytest.fixture(scope="session")
def trireme(package):
    """The package in this process, instead of the program by that name."""
    sys.path.insert(0, str(package))
    import trireme
    return trireme


@pytest.fixture(scope="session")
def job(package, tmp_path_factory):
    """job(name, ranks): what the ranks of a job returned, run once."""
    results = {}

    def run(name, ranks):
        if (name, ranks) not in results:
            results[name, ranks] = run_job(package, name, ranks, tmp_path_factory.mktemp(name))
        return results[name, ranks]
    return run


def run_job(package, name, ranks, folder):
    port, script = free_port(), pathlib.Path(package_rank.__file__)
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    processes = []
    for rank in range(ranks):
        env = {**os.environ, **(launched(ranks, rank, port) if ranks > 1 else {}), "PYTHONPATH": path,
               "LOCAL_WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"}
        processes.append(subprocess.Popen([sys.executable, script, name, folder / str(rank)], env=env, text=True,
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(output[-3000:] for output in outputs)
    return [torch.load(folder / str(rank), weights_only=True) for rank in range(ranks)]


# The functions.

def attention_reference(lengths, heads, kv_heads):
    """out, dq, dk, dv of one process, in fp64."""
    q, k, v, dout = (x.double().requires_grad_() for x in package_rank.random_heads(lengths, heads, kv_heads))
    parts, first = [], 0
    for length in lengths:
        mine = (x[first:first + length].transpose(0, 1) for x in (q, k, v))
        parts.append(torch.nn.functional.scaled_dot_product_attention(*mine, is_causal=True, enable_gqa=True).transpose(0, 1))
        first += length
    out = torch.cat(parts)
    return [out.detach(), *torch.autograd.grad(out, (q, k, v), dout.detach())]


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("case", package_rank.ATTENTION)
def test_attention_of_ranks_is_that_of_one(job, case, ranks):
    found = [of_rank[case] for of_rank in job("attention", ranks)]
    lengths, heads, kv_heads, _, _ = package_rank.ATTENTION[case]
    rows = torch.cat([of_rank["rows"] for of_rank in found])
    assert sorted(rows.tolist()) == list(range(sum(lengths)))
    for name, expected in zip(("out", "dq", "dk", "dv"), attention_reference(lengths, heads, kv_heads)):
        all_rows = torch.empty_like(expected)
        all_rows[rows] = torch.cat([of_rank[name] for of_rank in found]).double()
        assert (all_rows - expected).abs().max() <= 1e-5 * expected.abs().max(), name


# The Trainer.

@pytest.mark.parametrize("ranks,variant", [(ranks, variant) for ranks in (2, 4) for variant in package_rank.ON[ranks]])
def test_the_trainer_trains_as_in_one_process(job, ranks, variant):
    one = job("training", 1)[0][variant]
    for found in (of_rank[variant] for of_rank in job("training", ranks)):
        for name in ("loss", "grad_norm", "eval_loss"):
            assert found[name] == pytest.approx(one[name], rel=1e-5), name
        for name, weight in one["weights"].items():
            change = weight - one["start"][name]
            assert (found["weights"][name] - weight).norm() <= 1e-4 * change.norm(), name
    assert len(one["loss"]) == 4


# A model on one rank, which is as real as others, and needs no torch.distributed.

def model_of(name="qwen3_head_dim", **changes):
    config = tiny_models.CONFIGS[name]()
    for key, value in changes.items():
        setattr(config, key, value)
    return tiny_models.build(config)


LENGTHS = [7, 12, 3]


def inputs_of(kind):
    """The same documents as [B,S] with padding on one side, or as one packed row."""
    documents = [torch.arange(3, 3 + length) * 5 % 131 for length in LENGTHS]
    if kind in ("right", "left"):
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad(documents, batch_first=True, padding_side=kind)
        mask = pad([torch.ones_like(document) for document in documents], batch_first=True, padding_side=kind)
        labels = pad([document.clone().index_fill(0, torch.tensor([0]), -100) for document in documents], batch_first=True,
                     padding_value=-100, padding_side=kind)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}
    starts = torch.tensor([0, *LENGTHS]).cumsum(0)
    ids = torch.cat(documents)
    packed = {"input_ids": ids[None], "labels": ids.index_fill(0, starts[:-1], -100)[None]}
    if kind == "shifted":
        packed["shift_labels"] = torch.nn.functional.pad(packed["labels"], (0, 1), value=-100)[:, 1:]
    if kind == "lengths":
        return {**packed, "cu_seq_lens_q": starts.int(), "cu_seq_lens_k": starts.int(), "max_length_q": 12, "max_length_k": 12}
    return {**packed, "position_ids": torch.cat([torch.arange(length) for length in LENGTHS])[None]}


@pytest.mark.parametrize("kind", ["right", "left", "positions", "shifted", "lengths"])
def test_padded_and_packed_documents_are_the_same_to_it(trireme, kind):
    plain, parallel = model_of(), trireme.parallelize(model_of())
    expected = plain(**inputs_of("right")).loss
    found = parallel(**inputs_of(kind))
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert found.logits.shape == (1, sum(LENGTHS), 131)
    expected.backward()
    found.loss.backward()
    for (name, one), two in zip(plain.named_parameters(), parallel.parameters()):
        assert (one.grad - two.grad).norm() <= 1e-5 * one.grad.norm(), name


def test_a_call_with_positional_arguments_and_without_labels(trireme):
    ids = inputs_of("right")["input_ids"][1:2]
    found = trireme.parallelize(model_of())(ids)
    assert found.loss is None
    assert torch.allclose(found.logits, model_of()(ids).logits, atol=1e-5)


def test_autocast_reaches_attention(trireme, monkeypatch):
    import trireme.transformers as module
    attend, types = module.hybrid_attention, set()
    monkeypatch.setattr(module, "hybrid_attention", lambda *args, **options: (types.update(x.dtype for x in args[:3]),
                                                                              attend(*args, **options))[1])
    with torch.autocast("cpu", torch.bfloat16):
        losses = [model(**inputs_of("right")).loss.item() for model in (model_of(), trireme.parallelize(model_of()))]
    assert types == {torch.bfloat16}
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)  # of bf16


def test_a_saved_model_is_an_ordinary_one(trireme, tmp_path):
    trireme.parallelize(model_of()).save_pretrained(tmp_path)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config._attn_implementation == "sdpa"


# Bad input.

def message(call, *arguments, **options):
    with pytest.raises(ValueError) as error:
        call(*arguments, **options)
    return str(error.value)


def sliding_mistral():
    return transformers.MistralForCausalLM(transformers.MistralConfig(
        vocab_size=131, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=4))


def sliding_qwen():
    return tiny_models.build(transformers.Qwen3Config(**tiny_models._common(
        hidden_size=60, num_attention_heads=4, num_key_value_heads=1, head_dim=20, intermediate_size=60,
        use_sliding_window=True, sliding_window=4, max_window_layers=1)))


DYNAMIC_ROPE = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
MODELS = {
    "Qwen3ForCausalLM has layers of sliding_attention": sliding_qwen,
    "has rotary angles that depend on the batch (rope_type dynamic)": lambda: model_of("llama_untied",
                                                                                       rope_parameters=DYNAMIC_ROPE),
    "balances experts over a batch": lambda: model_of("qwen3_moe_norm_topk", output_router_logits=True),
    "has layers of linear_attention": lambda: transformers.MambaForCausalLM(transformers.MambaConfig(
        vocab_size=131, hidden_size=16, num_hidden_layers=1)),
    "has layers with a state": lambda: transformers.RwkvForCausalLM(transformers.RwkvConfig(
        vocab_size=131, hidden_size=16, num_hidden_layers=2)),
    "predicts no tokens": lambda: transformers.Qwen3ForSequenceClassification(tiny_models.CONFIGS["qwen3_head_dim"]()),
    "has attention of its own": lambda: transformers.GPTJForCausalLM(transformers.GPTJConfig(
        vocab_size=131, n_embd=16, n_layer=1, n_head=2, rotary_dim=4)),
}


@pytest.mark.parametrize("expected", MODELS)
def test_models_that_see_more_than_full_attention_are_refused(trireme, expected):
    assert expected in message(trireme.parallelize, MODELS[expected]())


def test_attention_that_is_not_full_is_refused_when_it_is_called(trireme):
    assert "MistralAttention has a sliding window" in message(trireme.parallelize(sliding_mistral()), **inputs_of("right"))
    dropping = trireme.parallelize(model_of(attention_dropout=0.1))
    assert "Qwen3Attention has attention dropout" in message(dropping.train(), **inputs_of("right"))
    assert dropping.eval()(**inputs_of("right")).loss > 0


def test_a_model_whose_attention_is_not_reached_is_refused(trireme):
    """transformers believes of this one that its attention can be replaced."""
    model = trireme.parallelize(model_of())
    for layer in model.model.layers:
        layer.self_attn.forward = lambda hidden_states, **_: (hidden_states, None)
    assert "has attention of its own" in message(model, **inputs_of("right"))


@pytest.mark.parametrize("option,name", [({"softcap": 30.0}, "a logit softcap"), ({"s_aux": torch.ones(2)}, "attention sinks"),
                                         ({"attention_mask": torch.ones(1, 1, 4, 4)}, "a mask of its own"),
                                         ({"is_causal": False}, "attention in both directions")])
def test_what_attention_has_not(trireme, option, name):
    import trireme.transformers
    attend = transformers.AttentionInterface()["trireme"]
    heads = torch.randn(1, 2, 4, 8)
    layout = trireme.transformers.Layout(torch.tensor([0, 4]), trireme.SequenceParallel(2, 2))
    assert name in message(attend, torch.nn.Module(), heads, heads, heads, sequence_layout=layout,
                           **{"attention_mask": None, **option})


def test_inputs_that_it_cannot_share(trireme):
    model, batch = trireme.parallelize(model_of()), inputs_of("right")
    holes = batch["attention_mask"].clone()
    holes[1, 4] = 0
    assert "holes within a document" in message(model, **{**batch, "attention_mask": holes})
    assert "knows padding and packed documents only" in message(model, **{**batch, "attention_mask": holes[:, None, None]})
    assert "labels [3] are not of the shape of input_ids [3, 12]" in message(model, **{**batch, "labels": torch.ones(3)})
    assert "takes input_ids" in message(model, inputs_embeds=torch.randn(1, 3, 60))
    assert "no cache of keys and values" in message(model, **batch, use_cache=True)
    assert "is parallel already" in message(trireme.parallelize, model)
    other = model_of()
    other.set_attn_implementation("trireme")
    assert "call trireme.parallelize(model) on the model that is called" in message(other, **batch)


def test_ranks_without_torch_distributed(trireme, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "torch.distributed is not initialised" in message(trireme.parallelize, model_of())


STARTS = torch.tensor([0, 3, 7])
ARGUMENTS = [({"starts": [0, 3]}, "q has 7 rows, but this rank has 3 of the documents' 3"),
             ({"starts": [0, 3, 3, 7]}, "no document is empty"), ({"starts": [1, 7]}, "ascend from 0"),
             ({"starts": []}, "ascend from 0"), ({"starts": [[0, 7]]}, "one-dimensional"),
             ({"q": torch.randn(7, 3, 8)}, "K dividing H"), ({"k": torch.randn(6, 2, 8)}, "are expected"),
             ({"q": torch.randn(7, 4, 8).double()}, "of one type"), ({"v": torch.randn(7, 2, 8, device="meta")}, "on one device"),
             ({"ring_order": "even"}, "ring_order 'even' is not known: balanced, zigzag or contiguous")]


@pytest.mark.parametrize("change,expected", ARGUMENTS)
def test_arguments_that_cannot_be(trireme, change, expected):
    arguments = {"q": torch.randn(7, 4, 8), "k": torch.randn(7, 2, 8), "v": torch.randn(7, 2, 8), "starts": STARTS, **change}
    assert expected in message(trireme.ring_attention, **arguments)


def test_mistakes_of_ranks(job):
    one = job("mistakes", 2)[0]
    assert one["ulysses"] == one["heads"] == ("sequence_parallel_size 2: does not divide the model's 3 attention heads: use one "
                                              "of 1, 3, or sequence_parallel_type hybrid")
    assert one["ulysses_size"].endswith("the 2 ranks that share a sequence and the model's 8 attention heads: use one of 1, 2")
    assert one["hybrid's default"] == "nothing"  # a ring alone
    assert one["rows"].startswith("q has 2 rows, but this rank has ")
    assert re.fullmatch(r'process group \w+ \(\w+\) has fake for tensors on cpu: it takes gloo; make one with '
                        r'torch.distributed.new_group\(backend="gloo"\)', one["fake"])
    assert "has no backend for tensors on cpu" in one["only cuda"]
    assert "no cache of keys and values: to generate, save it and load it again" in one["generate"]
    assert one["padding"] == "the batch has no tokens but padding"
    assert one["ulysses of the model"] == 2


def test_a_rank_that_is_lost_is_told_of(job):
    assert "rank 0: ring_shift in group 0 of ranks 0, 1: " in job("lost", 2)[0]
