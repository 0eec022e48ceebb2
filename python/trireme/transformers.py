"""Decoders of transformers whose ranks share each sequence: trireme.parallelize(model), and whatever trains the model
goes on as before, the Trainer included.

Every rank comes with a batch of its own, as data-parallel ranks do. Before the model's forward a hook gathers the
batches of the ranks that share sequences, lays their documents side by side without padding, and gives the model this
rank's rows of them; attention (an implementation that transformers knows as "trireme") reaches the others'. What the
model does to a row alone stays as it is. Loss and gradients are to be averaged over ranks, as DDP and the Trainer do:
the mean is the loss of all documents in one process.
"""
import dataclasses
import inspect

import torch
from torch.nn.functional import pad
from transformers import AttentionInterface

from trireme.attention import SequenceParallel, hybrid_attention

IGNORED = -100  # a target that is not trained


@dataclasses.dataclass
class Layout:
    """What attention has to know of a batch; goes with it through the model's keyword arguments."""
    starts: torch.Tensor
    parallel: SequenceParallel
    seen: bool = False  # by attention


def parallelize(model, group=None, *, sequence_parallel_type="hybrid", ulysses_size=0, ring_order="balanced"):
    """Lets the ranks of `group` (None: all) share sequences, as SequenceParallel says of the other arguments. Returns
    the model: a *ForCausalLM, or the PEFT model around it. All ranks call it, after torch.distributed is initialised
    (which TrainingArguments does).

    The model then takes input_ids, attention_mask, position_ids, labels [B,S] as ever, padded or packed (positions
    restart at each document, as DataCollatorWithFlattening has them), of other shapes on other ranks. A given
    num_items_in_batch counts the trained tokens of all ranks, or each rank's own; without it the loss is the mean over
    the group's tokens. Logits are those of this rank's rows, [1,s,V].

    ValueError: the model does more across tokens than full causal attention; a degree does not divide what it must.
    """
    config = model.config.get_text_config()
    _refuse_model(model, config)
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    parallel = SequenceParallel(config.num_attention_heads, kv_heads, group, ulysses_size=ulysses_size,
                                sequence_parallel_type=sequence_parallel_type, ring_order=ring_order)
    model.set_attn_implementation("trireme")
    if config._attn_implementation != "trireme":
        raise _own_attention(model)
    hook = _Hook(parallel)
    model.register_forward_pre_hook(hook, with_kwargs=True)
    model.register_forward_hook(hook.after)
    return model


def _refuse_model(model, config):
    """What would be silently wrong on a part of the rows. Attention refuses its own (_refuse_attention)."""
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    layers = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    problems = {
        "is parallel already": any(isinstance(hook, _Hook) for hook in model._forward_pre_hooks.values()),
        "predicts no tokens": model.get_output_embeddings() is None,
        f"has layers of {', '.join(sorted(layers))}": layers,
        "has layers with a state": getattr(model, "_is_stateful", False),
        f"has rotary angles that depend on the batch (rope_type {rope})": rope in ("dynamic", "longrope"),
        "balances experts over a batch (output_router_logits)": getattr(config, "output_router_logits", False),
    }
    for problem, found in problems.items():
        if found:
            raise ValueError(f"{type(model).__name__} {problem}: it cannot be parallelised by sequence")


def _own_attention(model):
    return ValueError(f"{type(model).__name__} has attention of its own, which transformers cannot replace: it cannot "
                      "be parallelised by sequence")


class _Hook:
    """Of a model's forward."""

    def __init__(self, parallel):
        self.parallel = parallel
        self.layout = None  # of the forward pass that is on

    def __call__(self, model, args, kwargs):
        inputs = {**dict(zip(inspect.signature(model.forward).parameters, args)), **kwargs}
        _refuse_inputs(inputs)
        mine = _pack(inputs)
        items = inputs.get("num_items_in_batch")
        batch, items = self._gather(mine, (mine[1] != IGNORED).sum() if items is None else items)
        starts = pad((batch[2] == 0).nonzero().flatten().cpu(), (0, 1), value=batch.shape[1])
        rows = self.parallel.rows(starts).to(batch.device)
        tokens, targets, positions = batch[:, rows].unsqueeze(1)
        trained = {"labels": targets, "shift_labels": targets, "num_items_in_batch": items}
        kept = {name: value for name, value in inputs.items() if name not in (*REPLACED, *trained)}
        has_labels = inputs.get("labels") is not None
        self.layout = Layout(starts, self.parallel)
        return (), {**kept, "input_ids": tokens, "position_ids": positions, "use_cache": False,
                    "sequence_layout": self.layout, **(trained if has_labels else {})}

    def after(self, model, args, output):
        layout, self.layout = self.layout, None
        if not layout.seen:
            raise _own_attention(model)

    def _gather(self, mine, items):
        """[3,t] of each rank -> [3,T] of all, one after another; and the mean of `items`: ranks' sums divided by it
        have the mean that is all sums divided by all items, whether items are a rank's own or already those of all."""
        name, ranks = self.parallel.whole.name, self.parallel.whole.size
        gather = torch.ops.trireme.all_gather
        header = torch.tensor([mine.shape[1], int(items)], device=mine.device)
        counts, all_items = gather(header, name).view(ranks, 2).t().tolist()
        if sum(counts) == 0:
            raise ValueError("the batch has no tokens but padding")
        padded = pad(mine, (0, max(counts) - mine.shape[1]))
        parts = gather(padded, name).view(ranks, *padded.shape)
        return torch.cat([part[:, :count] for part, count in zip(parts, counts)], 1), sum(all_items) / ranks


# Inputs whose place others take.
REPLACED = ("input_ids", "attention_mask", "position_ids", "use_cache", "past_key_values", "cu_seq_lens_q",
            "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")


def _refuse_inputs(inputs):
    if inputs.get("past_key_values") is not None or inputs.get("use_cache"):
        raise ValueError("a model that is parallel by sequence has no cache of keys and values: to generate, save it "
                         "and load it again")
    ids = inputs.get("input_ids")
    if ids is None or ids.dim() != 2:
        raise ValueError("a model that is parallel by sequence takes input_ids [batch, tokens]")
    for name in ("labels", "shift_labels", "attention_mask"):
        if inputs.get(name) is not None and inputs[name].shape != ids.shape:
            raise ValueError(f"{name} {list(inputs[name].shape)} are not of the shape of input_ids {list(ids.shape)}: "
                             "a model that is parallel by sequence knows padding and packed documents only")


def _pack(inputs):
    """[3,t] of the tokens that are not padding: token, target, and position in its document."""
    ids = inputs["input_ids"]
    mask = inputs.get("attention_mask")
    kept = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    begins = torch.zeros_like(kept)
    begins[:, :1] = True
    if inputs.get("position_ids") is not None:
        positions = inputs["position_ids"].expand(ids.shape)
        begins[:, 1:] |= positions[:, 1:] != positions[:, :-1] + 1  # as transformers finds packed documents
    elif inputs.get("cu_seq_lens_q") is not None:
        begins.view(-1)[inputs["cu_seq_lens_q"][:-1].long()] = True
    after_padding = kept & ~pad(kept, (1, 0))[:, :-1]
    if (after_padding & ~begins & (kept.cumsum(1) > 1)).any():
        raise ValueError("attention_mask has holes within a document")
    begins = (begins | after_padding)[kept]
    index = torch.arange(begins.numel(), device=ids.device)
    position = index - torch.where(begins, index, 0).cummax(0).values
    return torch.stack([ids[kept], _targets(inputs)[kept], position])


def _targets(inputs):
    """Of each token its next one's label, as transformers shifts them."""
    if inputs.get("shift_labels") is not None:
        return inputs["shift_labels"]
    if inputs.get("labels") is not None:
        return pad(inputs["labels"], (0, 1), value=IGNORED)[:, 1:]
    return torch.full_like(inputs["input_ids"], IGNORED)


def _refuse_attention(module, mask, dropout, options):
    causal = options.get("is_causal")
    problems = {
        "a sliding window": options.get("sliding_window") is not None,
        "attention dropout": dropout > 0,
        "a logit softcap": options.get("softcap") is not None,
        "attention sinks": options.get("s_aux") is not None,
        "a position bias": options.get("position_bias") is not None,
        "a mask of its own": mask is not None,
        "attention in both directions": not (getattr(module, "is_causal", True) if causal is None else causal),
    }
    for problem, found in problems.items():
        if found:
            raise ValueError(f"{type(module).__name__} has {problem}: trireme's attention is full and causal, and has "
                             "none")


def _attention_forward(module, query, key, value, attention_mask, dropout=0.0, scaling=None, sequence_layout=None,
                       **options):
    """transformers' interface: query [1,H,S,D], key and value [1,K,S,D] -> [1,S,H,D]. transformers makes no mask for an
    implementation that has registered none for masks."""
    if sequence_layout is None:
        raise ValueError(f"{type(module).__name__} was not told which rows it has: call trireme.parallelize(model) on "
                         "the model that is called (after get_peft_model), whose attention passes keyword arguments on")
    _refuse_attention(module, attention_mask, dropout, options)
    sequence_layout.seen = True
    heads = [x.squeeze(0).transpose(0, 1) for x in (query, key, value)]
    device = query.device.type
    if torch.is_autocast_enabled(device):  # does this to torch's own attention
        heads = [x.to(torch.get_autocast_dtype(device)) for x in heads]
    out = hybrid_attention(*heads, sequence_layout.starts, sequence_layout.parallel, scale=scaling)
    return out.unsqueeze(0), None


AttentionInterface.register("trireme", _attention_forward)
