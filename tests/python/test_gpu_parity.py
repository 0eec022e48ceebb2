"""The training path on one GPU against transformers: fp32 to 1e-4, bf16 no worse than transformers' own bf16.

Skips where there is no GPU or the program was built without CUDA. Sizes are multiples of 8: the grouped product reads
16 bytes at a time.
"""
import json

import pytest
import reference
import tiny_models
import torch
from program import dump, metrics, run
from test_parity import make_documents
from transformers import LlamaConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig

if not torch.cuda.is_available():
    pytest.skip("no GPU here", allow_module_level=True)

COMMON = dict(num_hidden_layers=3, hidden_size=256)
CONFIGS = {
    "llama": lambda: LlamaConfig(**tiny_models._common(
        **COMMON, num_attention_heads=8, num_key_value_heads=2, head_dim=64, intermediate_size=704,
        rope_parameters=tiny_models.LLAMA3_ROPE)),
    "qwen2": lambda: Qwen2Config(**tiny_models._common(
        **{**COMMON, "hidden_size": 448}, num_attention_heads=7, num_key_value_heads=1, intermediate_size=704,
        tie_word_embeddings=True)),
    "qwen3": lambda: Qwen3Config(**tiny_models._common(
        **COMMON, num_attention_heads=8, num_key_value_heads=2, head_dim=128, intermediate_size=704)),
    "qwen3_moe": lambda: Qwen3MoeConfig(**tiny_models._common(
        **COMMON, num_attention_heads=8, num_key_value_heads=2, head_dim=64, intermediate_size=704,
        moe_intermediate_size=96, num_experts=8, num_experts_per_tok=2, norm_topk_prob=True)),
}
BATCHES = {"one_document": (421,), "packed": (37, 1, 160, 64, 2, 223)}


def make_batch(lengths):
    """Documents of these lengths with some labels left out."""
    documents, labels = make_documents(131, (20, 2, 3) + lengths, seed=4)  # the first three are labelled specially
    return documents[3:], labels[3:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = {}

    def make(name):
        if name not in made:
            made[name] = tiny_models.save(tiny_models.build(CONFIGS[name]()), tmp_path_factory.mktemp(name) / "model")
        return made[name]
    return make


@pytest.fixture(scope="module", params=[(name, batch) for name in CONFIGS for batch in BATCHES],
                ids=lambda p: f"{p[0]}-{p[1]}")
def case(request, folder):
    """(folder, documents, labels, transformers' fp32 result on the CPU)"""
    name, batch = request.param
    documents, labels = make_batch(BATCHES[batch])
    model = reference.load(folder(name))
    return folder(name), documents, labels, reference.forward_backward(model, documents, labels)


def test_fp32(case, tmp_path):
    """1e-4 of each gradient's norm, 1e-5 of the loss: fp32 products on the GPU, without TF32."""
    folder, documents, labels, theirs = case
    ours = dump(folder, documents, labels, tmp_path, "--device", "cuda", "--dtype", "float32")
    assert abs(ours.loss_sum - theirs.loss_sum) <= 1e-5 * theirs.loss_sum
    assert (ours.logits - theirs.logits).abs().max() <= 1e-3
    errors = reference.gradient_errors(ours.grads, theirs.grads)
    worst = max(errors, key=errors.get)
    assert errors[worst] <= 1e-4, (worst, errors[worst])


def test_bf16(case, tmp_path):
    """Loss within 2e-3 of fp32, every gradient's cosine with the fp32 one >= 0.999, and no worse than transformers' own
    bf16: over all gradients the mean distance from 1 is not larger, and no single one is twice as far (two roundings of
    one sum differ by less)."""
    folder, documents, labels, exact = case
    ours = dump(folder, documents, labels, tmp_path, "--device", "cuda", "--dtype", "bfloat16", logits=False)
    peer = reference.load(folder, dtype=torch.bfloat16, device="cuda", attention="sdpa")
    theirs = reference.forward_backward(peer, documents, labels)
    assert abs(ours.loss_sum - exact.loss_sum) <= 2e-3 * exact.loss_sum
    distances = {name: tuple(1 - reference.cosine(side.grads[name], grad) for side in (ours, theirs))
                 for name, grad in exact.grads.items() if grad.norm() > 0}
    for name, (mine, peers) in distances.items():
        assert mine <= min(1e-3, 2 * peers + 1e-5), f"{name}: 1 - cosine {mine:.1e}, transformers {peers:.1e}"
    assert sum(mine for mine, _ in distances.values()) <= 1.05 * sum(peers for _, peers in distances.values())


@pytest.mark.parametrize("batch", BATCHES)
def test_terms_that_the_folder_asks_for(tmp_path, batch):
    """The loss that balances experts, and the row of padding, as in test_loss_terms.py; one document is padded to its
    bucket here, which must not count."""
    config = CONFIGS["qwen3_moe"]()
    config.output_router_logits, config.router_aux_loss_coef, config.pad_token_id = True, 0.7, 5
    folder = tiny_models.save(tiny_models.build(config), tmp_path / "model")
    documents, labels = make_batch(BATCHES[batch])
    for document in documents:
        document[len(document) // 2] = 5
    theirs = reference.forward_backward_of_the_loss(reference.load(folder), documents, labels)
    ours = dump(folder, documents, labels, tmp_path, "--device", "cuda", "--dtype", "float32")
    assert abs(ours.loss_sum - theirs.loss_sum) <= 1e-5 * theirs.loss_sum
    errors = reference.gradient_errors(ours.grads, theirs.grads)
    worst = max(errors, key=errors.get)
    assert errors[worst] <= 1e-4, (worst, errors[worst])
    half = dump(folder, documents, labels, tmp_path, "--device", "cuda", "--dtype", "bfloat16", logits=False)
    assert abs(half.loss_sum - theirs.loss_sum) <= 2e-3 * theirs.loss_sum
    gate = "model.layers.1.mlp.gate.weight"
    assert reference.cosine(half.grads[gate], theirs.grads[gate]) >= 0.999
    assert not half.grads["model.embed_tokens.weight"][5].any()


@pytest.mark.parametrize("name", ["qwen3", "qwen3_moe"])
def test_kept_and_recomputed_intermediates_give_the_same_bits(folder, tmp_path, name):
    documents, labels = make_batch((300, 200))
    flags = ["--device", "cuda", "--deterministic"]
    runs = [dump(folder(name), documents, labels, tmp_path, *flags, "--keep", keep) for keep in ("all", "none")]
    assert runs[0].loss_sum == runs[1].loss_sum
    for tensor, grad in runs[0].grads.items():
        assert torch.equal(grad, runs[1].grads[tensor]), tensor


def losses(folder, device, output, *options):
    run("train", "--model", folder, "--data_file", tiny_models.SAMPLE / "DMSC_sample.csv", "--output_dir", output,
        "--device", device, "--max_steps", 20, "--logging_steps", 1, "--max_samples_per_user", 1, "--val_ratio", 0,
        "--learning_rate", "1e-3", "--lr_scheduler_type", "constant", *options)
    return [line["loss"] for line in metrics(output)]


@pytest.mark.parametrize("kind", ["qwen3", "qwen3_moe"])
def test_twenty_steps_fall_alike(tmp_path, kind):
    """CPU fp32 against GPU bf16, the same data: every loss within 2 %, and the last well below the first."""
    changes = {"hidden_size": 256, "head_dim": 64, "num_attention_heads": 4}
    if kind == "qwen3_moe":
        changes["moe_intermediate_size"] = 96
    model = tiny_models.build(tiny_models.text_model_config(kind, **changes))
    folder = tiny_models.with_tokenizer(tiny_models.save(model, tmp_path / "model"))
    cpu = losses(folder, "cpu", tmp_path / "cpu")
    gpu = losses(folder, "cuda", tmp_path / "gpu")
    assert len(cpu) == len(gpu) == 20 and cpu[-1] < 0.9 * cpu[0]
    for a, b in zip(cpu, gpu):
        assert abs(a - b) <= 0.02 * a, (cpu, gpu)


STATES = [(), ("--moments_dtype", "bfloat16"), ("--moments_dtype", "8bit"), ("--master_weights", "false"),
          ("--master_weights", "false", "--moments_dtype", "8bit")]
OTHERWISE = [(*place, *when) for place in [("--offload_optimizer", "cpu"), ("--offload_optimizer", "stream"), ()]
             for when in [(), ("--optimizer_in_backward",)] if place or when]


@pytest.mark.parametrize("lora", [(), ("--use_lora", "true", "--lora_r", 8, "--target_modules", "all-linear")])
def test_state_formats_train_alike(tmp_path, lora):
    """20 steps of each format in bf16: the last loss within 3 % of fp32 masters and moments, the same bits again, and
    what is saved is a model, or an adapter, that evaluates."""
    changes = {"hidden_size": 256, "head_dim": 64, "num_attention_heads": 4}
    folder = tiny_models.with_tokenizer(tiny_models.save(
        tiny_models.build(tiny_models.text_model_config("qwen3", **changes)), tmp_path / "model"))
    ends = []
    for i, states in enumerate(STATES):
        flags = ("--deterministic", "--max_grad_norm", 0, *lora, *states)  # clipping in backward is another
        runs = [losses(folder, "cuda", tmp_path / f"{i}-{again}", *flags) for again in (0, 1)]
        assert runs[0] == runs[1], states
        ends.append(runs[0][-1])
        file = "adapter_model.safetensors" if lora else "model.safetensors"
        saved = (tmp_path / f"{i}-0" / file).read_bytes()
        for k, other in enumerate(OTHERWISE):  # the same bits
            assert losses(folder, "cuda", tmp_path / f"{i}-other-{k}", *flags, *other) == runs[0], (states, other)
            assert (tmp_path / f"{i}-other-{k}" / file).read_bytes() == saved, (states, other)
        model = ("--adapter", tmp_path / f"{i}-0") if lora else ()
        dump(folder if lora else tmp_path / f"{i}-0", *make_batch((30, 20)), tmp_path, "--device", "cuda", *model)
    for end in ends[1:]:
        assert abs(end - ends[0]) <= 0.03 * ends[0], ends


@pytest.mark.parametrize("kind, changes", [("qwen3", {}), ("qwen3", {"tie_word_embeddings": False}),
                                           ("qwen3_moe", {"moe_intermediate_size": 96})])
def test_gradients_of_several_micro_batches_on_the_host_have_the_same_bits(tmp_path, kind, changes):
    """Three a step, clipped by their exact norm; of matrices that a first product overwrites, and of others."""
    config = tiny_models.text_model_config(kind, hidden_size=256, head_dim=64, num_attention_heads=4, **changes)
    folder = tiny_models.with_tokenizer(tiny_models.save(tiny_models.build(config), tmp_path / "model"))
    flags = ("--deterministic", "--max_grad_norm", 0.5, "--gradient_accumulation_steps", 3, "--batch_size", 1)
    here, there = tmp_path / "here", tmp_path / "there"
    assert losses(folder, "cuda", here, *flags) == losses(folder, "cuda", there, *flags, "--offload_optimizer", "cpu")
    norms = [[line["grad_norm"] for line in metrics(output)] for output in (here, there)]
    assert norms[0] == norms[1] and max(norms[0]) > 0.5
    assert (here / "model.safetensors").read_bytes() == (there / "model.safetensors").read_bytes()


def test_memory_budget_is_kept(folder, tmp_path):
    done = run("bench", "--model", folder("qwen3"), "--device", "cuda", "--device_memory", "1MiB", expect=2)
    assert "not enough memory" in done.stderr and "Adam moments" in done.stderr


@pytest.mark.parametrize("name", ["qwen3", "qwen2", "qwen3_moe"])
def test_adapters_equal_pefts(folder, tmp_path, name):
    """fp32, all linears, experts too: every adapter's gradient to 1e-4 of its norm against PEFT on the CPU."""
    pytest.importorskip("peft")
    import adapters
    adapter = adapters.make(folder(name), tmp_path / "adapter", adapters.ATTENTION + adapters.MLP, r=8, alpha=16)
    run("export", "--model", folder(name), "--adapter", adapter, "--output_dir", tmp_path / "out")
    documents, labels = make_batch(BATCHES["packed"])
    theirs = adapters.forward_backward(adapters.load(folder(name), tmp_path / "out", trainable=True), documents, labels)
    ours = dump(folder(name), documents, labels, tmp_path, "--adapter", adapter, "--device", "cuda", "--dtype",
                "float32")
    assert abs(ours.loss_sum - theirs.loss_sum) <= 1e-5 * theirs.loss_sum
    errors = reference.gradient_errors(ours.grads, theirs.grads)
    worst = max(errors, key=errors.get)
    assert errors[worst] <= 1e-4, (worst, errors[worst])


@pytest.mark.parametrize("documents", [1, 5])
@pytest.mark.parametrize("name", ["qwen3", "qwen3_moe"])
def test_a_settled_step_neither_waits_nor_allocates(folder, name, documents):
    """From the third step on bench refuses whatever makes the host wait for the device (libtorch's sync debug mode
    throws), and the allocator asks the driver for nothing."""
    for options in ([], ["--use_lora", "--lora_r", 8, "--lora_dropout", 0.1, "--target_modules", "all-linear"],
                    *OTHERWISE):
        done = run("bench", "--model", folder(name), "--device", "cuda", "--length", 421, "--documents", documents,
                   "--steps", 5, *options)
        assert json.loads(done.stdout)["driver_calls_after_second_step"] == 0


def test_a_budget_is_not_passed(folder):
    """Under half of what the run would like to keep it keeps less, and the device holds less than the budget."""
    flags = ["bench", "--shape", "qwen3-0.6b", "--layers", 4, "--device", "cuda", "--length", 16384, "--steps", 3]
    free = json.loads(run(*flags).stdout)["memory"]
    budget = (free["planned"] + 3 * json.loads(run(*flags, "--keep", "none").stdout)["memory"]["planned"]) // 4
    tight = json.loads(run(*flags, "--device_memory", budget + (1 << 30)).stdout)
    assert tight["memory"]["reserved_peak"] <= budget + (1 << 30) < free["planned"] + (1 << 30)
    assert tight["plan"]["layers_that_keep"] != json.loads(run(*flags).stdout)["plan"]["layers_that_keep"]


# Saved activations on the host.

HOST = ["--offload_activations", "all"]
RESIDENCIES = (HOST, ["--number_checkpoints", 2], [*HOST, "--number_checkpoints", 2], [*HOST, "--keep", "none"],
               [*HOST, "--offload_param", "cpu"])


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", ["qwen3", "qwen3_moe"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_residency_gives_the_same_bits(folder, tmp_path, name, batch, dtype):
    documents, labels = make_batch(BATCHES[batch])
    flags = ["--device", "cuda", "--deterministic", "--dtype", dtype, "--mlp_tile", 128]
    resident = dump(folder(name), documents, labels, tmp_path, *flags, "--offload_activations", "none")
    for options in RESIDENCIES:
        other = dump(folder(name), documents, labels, tmp_path, *flags, *options)
        assert other.loss_sum == resident.loss_sum, options
        for tensor, grad in resident.grads.items():
            assert torch.equal(grad, other.grads[tensor]), (options, tensor)


# Packed: cuDNN's backward of one long document has other bits in every run. Given tiles: others are other orders of
# sums.
LONG = ["bench", "--shape", "qwen3-0.6b", "--layers", 12, "--device", "cuda", "--length", 512, "--documents", 64,
        "--use_lora", "--lora_r", 8, "--target_modules", "all-linear", "--deterministic", "--mlp_tile", 4096,
        "--loss_tile", 1024, "--learning_rate", 1e-3]


@pytest.mark.parametrize("options", RESIDENCIES, ids=lambda o: " ".join(map(str, o)))
def test_long_sequences_with_copies_under_way_give_the_same_losses(options):
    """190 MiB a layer are copied while kernels run: five steps, each of which depends on the gradients before;
    from the third on bench refuses what makes the host wait, and the allocator asks the driver for nothing."""
    resident = json.loads(run(*LONG, "--steps", 5, "--offload_activations", "none").stdout)
    other = json.loads(run(*LONG, "--steps", 5, *options).stdout)
    assert other["losses"] == resident["losses"]
    assert other["driver_calls_after_second_step"] == 0
    host = other["host_memory"]
    assert host["arena"] + host["layers_arena"] == host["planned"] <= host["budget"]
    assert host["arena"] <= 1.02 * host["stored"]
    assert (host["pin_seconds"] > 0) == (host["arena"] > 0)


def test_what_does_not_fit_goes_to_the_host_and_no_budget_is_passed():
    least = json.loads(run(*LONG, "--steps", 3, "--offload_activations", "none", "--keep", "none").stdout)
    saved = {row["name"]: row["bytes"] for row in least["memory"]["rows"]}["saved activations"]
    budget = least["memory"]["planned"] - saved // 4 + (768 << 20)  # and a context
    spilled = json.loads(run(*LONG, "--steps", 3, "--device_memory", budget).stdout)
    assert spilled["losses"] == least["losses"]
    assert 0 < spilled["plan"]["layers_on_host"]["input"] < 12
    assert spilled["memory"]["planned"] <= budget and spilled["memory"]["reserved_peak"] <= budget
    # What the plan adds up is what the device holds.
    beside = {row["name"]: row["bytes"] for row in spilled["memory"]["rows"]}["program"]
    assert spilled["memory"]["peak"] <= spilled["memory"]["planned"] - beside


@pytest.mark.parametrize("name", ["qwen3", "qwen3_moe"])
def test_a_settled_step_with_offload_neither_waits_nor_allocates(folder, name):
    adapters = ["--use_lora", "--lora_r", 8, "--target_modules", "all-linear"]
    for options in RESIDENCIES:
        done = run("bench", "--model", folder(name), "--device", "cuda", "--length", 421, "--documents", 5,
                   "--steps", 5, *options, *(adapters if "--offload_param" in options else []))
        assert json.loads(done.stdout)["driver_calls_after_second_step"] == 0


@pytest.mark.parametrize("size, dtype, says", [
    (20, "bfloat16", "head_dim 20: must be a multiple of 8 for bfloat16 on CUDA: use --dtype float32 or --device cpu"),
    (10, "float32", "head_dim 10: must be a multiple of 4 for float32 on CUDA: use --device cpu")])
def test_heads_that_no_kernel_takes_are_refused_by_name(tmp_path, size, dtype, says):
    model = tiny_models.make_text_model(tmp_path / "model", head_dim=size)
    (tmp_path / "batch.json").write_text('{"documents": [[1, 2, 3]]}')
    done = run("dump", "--model", model, "--batch", tmp_path / "batch.json", "--out", tmp_path / "out", "--device", "cuda",
               "--dtype", dtype, expect=2)
    assert says in done.stderr and "read " not in done.stderr


def test_heads_of_twenty_compute_in_fp32(tmp_path):
    model = tiny_models.make_text_model(tmp_path / "model", head_dim=20)
    documents, labels = make_documents(4096)
    theirs = reference.forward_backward(reference.load(model), documents, labels)
    ours = dump(model, documents, labels, tmp_path, "--device", "cuda", "--dtype", "float32")
    assert abs(ours.loss_sum - theirs.loss_sum) <= 1e-5 * theirs.loss_sum
    assert (ours.logits - theirs.logits).abs().max() <= 1e-3
