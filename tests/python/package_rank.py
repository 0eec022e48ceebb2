"""One rank of test_package.py's jobs: python package_rank.py JOB OUT, with the package on PYTHONPATH and the rank in the
environment as torchrun has it. What the job returns is saved as OUT."""
import os
import sys

import torch
import torch.distributed as dist

RANKS = int(os.environ.get("WORLD_SIZE", 1))

# Attention: lengths of documents, query heads, key heads, type, and what else SequenceParallel takes.
ODD = [37, 1, 5, 64, 2, 23]
ATTENTION = {
    "ring": (ODD, 3, 1, "ring", {}),
    "ring, contiguous": (ODD, 4, 2, "ring", {"ring_order": "contiguous"}),
    "ring, zigzag": ([101], 4, 4, "ring", {"ring_order": "zigzag"}),
    "ulysses": (ODD, 8, 8, "ulysses", {}),
    "ulysses, one key head": (ODD, 4, 1, "ulysses", {}),
    "hybrid": (ODD, 8, 2, "hybrid", {"ulysses_size": 2}),
    "hybrid of one key head": (ODD, 8, 1, "hybrid", {"ulysses_size": 2}),
    "hybrid by itself": ([9, 90], 6, 2, "hybrid", {}),
    "fewer tokens than ranks": ([2, 1], 4, 2, "hybrid", {"ulysses_size": 2}),
}
DIM = 24


def starts_of(lengths):
    return torch.tensor([0, *lengths]).cumsum(0)


def random_heads(lengths, heads, kv_heads):
    """q, k, v, dout."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(sum(lengths), count, DIM) for count in (heads, kv_heads, kv_heads, heads)]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def attention():
    import trireme
    dist.init_process_group("gloo")
    results = {}
    for name, (lengths, heads, kv_heads, kind, options) in ATTENTION.items():
        starts, order = starts_of(lengths), options.get("ring_order", "balanced")
        parallel = trireme.SequenceParallel(heads, kv_heads, sequence_parallel_type=kind, **options)
        rows = parallel.rows(starts)
        q, k, v, dout = (x[rows].requires_grad_() for x in random_heads(lengths, heads, kv_heads))
        if kind == "ring":
            out = trireme.ring_attention(q, k, v, starts, ring_order=order)
        elif kind == "ulysses":
            out = trireme.ulysses_attention(q, k, v, starts.tolist())
        else:
            out = trireme.hybrid_attention(q, k, v, starts, parallel)
        out.backward(dout)
        results[name] = {"rows": rows, "out": out.detach(), "dq": q.grad, "dk": k.grad, "dv": v.grad}
    return results


# Training: what differs from the first; which of them run on how many ranks.
DOCUMENTS = [11, 3, 17, 29, 8, 2, 23, 5, 31, 12, 7, 19]
VARIANTS = {
    "padded": {},
    "padding-free": {"flat": True},
    "checkpointing": {"gradient_checkpointing": True},
    "accumulation": {"gradient_accumulation_steps": 2, "batch": 1},
    "counts of each rank": {"average_tokens_across_devices": False},
    "ring": {"parallel": {"sequence_parallel_type": "ring"}},
    "reentrant": {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
    "LoRA": {"lora": True},
    "data x sequence": {"pairs": True},
}
ON = {2: [name for name in VARIANTS if name != "data x sequence"], 4: ["padded", "checkpointing", "data x sequence"]}


def samples():
    generator = torch.Generator().manual_seed(5)
    tokens = [torch.randint(3, 131, (length,), generator=generator).tolist() for length in DOCUMENTS]
    return [{"input_ids": ids, "labels": [-100] * (len(ids) // 3) + ids[len(ids) // 3:]} for ids in tokens]


def padded(features):
    longest = max(len(feature["input_ids"]) for feature in features)
    fill = {"input_ids": 0, "labels": -100, "attention_mask": 0}
    for feature in features:
        feature["attention_mask"] = [1] * len(feature["input_ids"])
    return {name: torch.tensor([feature[name] + [value] * (longest - len(feature["input_ids"])) for feature in features])
            for name, value in fill.items()}


def pair_of_mine():
    pairs = [dist.new_group([first, first + 1]) for first in range(0, RANKS, 2)]
    return pairs[dist.get_rank() // 2]


def weights_of(model):
    """Those that are trained."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def trained(folder, flat=False, batch=2, lora=False, parallel=None, pairs=False, **options):
    """Losses, norms, evaluation and weights of a run of the plain Trainer, whose model's ranks share sequences where there
    are several. (Evaluation comes last: after one before training accelerate 1.15 gives a model no DDP, ours or not.)"""
    import tiny_models
    from transformers import AutoModelForCausalLM, DataCollatorWithFlattening, Trainer, TrainingArguments
    arguments = TrainingArguments(
        output_dir=folder, use_cpu=True, per_device_train_batch_size=2 * batch // RANKS,
        per_device_eval_batch_size=4 // RANKS, max_steps=4, learning_rate=1e-3, adam_epsilon=1e-4,
        lr_scheduler_type="constant", logging_steps=1, save_strategy="no", train_sampling_strategy="sequential", report_to=[], disable_tqdm=True, seed=11, **options)
    torch.manual_seed(0)
    model = tiny_models.build(tiny_models.CONFIGS["qwen3_head_dim"]())
    if lora:
        import peft
        model = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]))
    if RANKS > 1:
        import trireme
        trireme.parallelize(model, pair_of_mine() if pairs else None, **(parallel or {}))
    collator = DataCollatorWithFlattening() if flat else padded
    start = weights_of(model)
    trainer = Trainer(model=model, args=arguments, train_dataset=samples(), eval_dataset=samples(), data_collator=collator)
    trainer.train()
    steps = [line for line in trainer.state.log_history if "loss" in line]
    return {"loss": [step["loss"] for step in steps], "grad_norm": [step["grad_norm"] for step in steps],
            "eval_loss": trainer.evaluate()["eval_loss"], "start": start, "weights": weights_of(model)}


def training():
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        return {name: trained(folder, **VARIANTS[name]) for name in (ON[RANKS] if RANKS > 1 else VARIANTS)}


def said(call):
    """The ValueError of the call."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return "nothing"


def mistakes():
    """Of two ranks; both make the same."""
    import tiny_models
    import torch.testing._internal.distributed.fake_pg  # noqa: F401: registers a backend that is neither Gloo nor NCCL
    import trireme
    dist.init_process_group("gloo")
    starts = torch.tensor([0, 4])
    q, k = torch.randn(2, 3, 8), torch.randn(2, 1, 8)
    fake = dist.new_group(backend="fake")
    only_cuda = dist.new_group(backend="cuda:fake")
    parallel = trireme.SequenceParallel(8, 2)
    model = trireme.parallelize(tiny_models.build(tiny_models.CONFIGS["qwen3_head_dim"]()))
    return {
        "ulysses": said(lambda: trireme.SequenceParallel(3, 1, sequence_parallel_type="ulysses")),
        "ulysses_size": said(lambda: trireme.SequenceParallel(8, 2, ulysses_size=3)),
        "hybrid's default": said(lambda: trireme.SequenceParallel(3, 1)),
        "heads": said(lambda: trireme.ulysses_attention(q, k, k, starts)),
        "rows": said(lambda: trireme.ring_attention(q, k, k, torch.tensor([0, 5, 9]))),
        "fake": said(lambda: trireme.ring_attention(q, k, k, starts, fake)),
        "only cuda": said(lambda: trireme.ring_attention(q, k, k, starts, only_cuda)),
        "generate": said(lambda: model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=2)),
        "padding": said(lambda: model(torch.tensor([[5, 6]]), attention_mask=torch.zeros(1, 2))),
        "ulysses of the model": parallel.ulysses.size,
    }


def lost():
    """What the first of two ranks hears when the other does not come."""
    import trireme
    dist.init_process_group("gloo")
    if dist.get_rank() == 1:
        return ""
    q = torch.randn(2, 2, 8)
    try:
        trireme.ring_attention(q, q, q, torch.tensor([0, 4]))
    except RuntimeError as error:
        return str(error)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.save(globals()[sys.argv[1]](), sys.argv[2])
    if dist.is_initialized():
        dist.destroy_process_group()
