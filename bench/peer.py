"""What one would run instead on one GPU: transformers with peft, Liger kernels and gradient checkpointing.

  python bench/peer.py --shape qwen3-8b --train lora --stack best --length 32768

stack plain: gradient checkpointing, SDPA with cuDNN first.
stack best:  plain with Liger's kernels (fused linear cross-entropy, RMSNorm, RoPE, tiled SwiGLU; for experts its own
             kernel is off: it does not finish in two minutes).
stack fast:  Liger's kernels, nothing recomputed: for sequences short enough for the card.
Full fine-tunes keep bf16 weights and bf16 moments, which is less memory and less work than fp32 ones.

One JSON line: tokens/s of the timed steps, peak bytes, and the peak beyond weights, gradients and optimizer: that of a
step whose gradients exist before it starts, less what is allocated at its start.
"""
import argparse
import json
import time

import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel

VOCAB = 151936
COMMON = dict(head_dim=128, vocab_size=VOCAB, max_position_embeddings=4 << 20, use_cache=False)
SHAPES = {
    "qwen3-0.6b": dict(hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
                       num_key_value_heads=8, tie_word_embeddings=True),
    "qwen3-1.7b": dict(hidden_size=2048, intermediate_size=6144, num_hidden_layers=28, num_attention_heads=16,
                       num_key_value_heads=8, tie_word_embeddings=True),
    "qwen3-8b": dict(hidden_size=4096, intermediate_size=12288, num_hidden_layers=36, num_attention_heads=32,
                     num_key_value_heads=8, tie_word_embeddings=False),
    "qwen3-30b-a3b": dict(hidden_size=2048, intermediate_size=6144, moe_intermediate_size=768, num_hidden_layers=48,
                          num_attention_heads=32, num_key_value_heads=4, num_experts=128, num_experts_per_tok=8,
                          norm_topk_prob=True, tie_word_embeddings=False),
}


def use_liger(moe, tiled):
    from liger_kernel.transformers import monkey_patch
    patch = "apply_liger_kernel_to_qwen3_moe" if moe else "apply_liger_kernel_to_qwen3"
    getattr(monkey_patch, patch)(swiglu=not moe)
    if tiled and not moe:
        from liger_kernel.transformers.tiled_mlp import LigerTiledSwiGLUMLP
        from transformers.models.qwen3 import modeling_qwen3
        modeling_qwen3.Qwen3MLP = LigerTiledSwiGLUMLP


def build(shape, train, stack):
    sizes = SHAPES[shape]
    moe = "num_experts" in sizes
    config = (transformers.Qwen3MoeConfig if moe else transformers.Qwen3Config)(**COMMON, **sizes, rope_theta=1e6)
    config._attn_implementation = "sdpa"
    if stack != "plain":
        use_liger(moe, tiled=stack == "best")
    transformers.PreTrainedModel._init_weights = lambda self, module: None
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = (transformers.Qwen3MoeForCausalLM if moe else transformers.Qwen3ForCausalLM)(config)
    for name, weight in model.named_parameters():
        weight.data.fill_(1.0) if "norm" in name else weight.data.normal_(0.0, 0.02)
    torch.set_default_dtype(torch.float32)
    if train == "lora":
        import peft
        model = peft.get_peft_model(model, peft.LoraConfig(
            r=16, lora_alpha=32, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]))
        model.enable_input_require_grads()
    model.train()
    if stack != "fast":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


class Step:
    def __init__(self, model, batch):
        self.model, self.batch = model, batch
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-5, fused=True)

    def gradients(self, rows, length):
        """`rows` documents of `length` tokens, in micro-batches of at most `batch`."""
        loss = 0.0
        for first in range(0, rows, self.batch):
            ids = torch.randint(0, VOCAB, (min(self.batch, rows - first), length), device="cuda")
            with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True):
                part = self.model(input_ids=ids, labels=ids).loss * (len(ids) / rows)
                part.backward()
            loss += part.detach()
        return loss

    def __call__(self, rows, length):
        loss = self.gradients(rows, length)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--train", choices=["lora", "full"], default="lora")
    parser.add_argument("--stack", choices=["plain", "best", "fast"], default="plain")
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--documents", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1, help="documents of a micro-batch")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--cold", action="store_true", help="no warm-up at full length")
    args = parser.parse_args()
    torch.manual_seed(0)
    step = Step(build(args.shape, args.train, args.stack), args.batch)
    step(1, min(2048, args.length))
    if not args.cold:
        step(args.documents, args.length)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    start = time.time()
    for _ in range(args.steps):
        loss = step(args.documents, args.length)
    torch.cuda.synchronize()
    seconds = (time.time() - start) / args.steps
    peak = torch.cuda.max_memory_allocated()
    beyond = None
    if not args.cold:
        for parameter in step.parameters:
            parameter.grad = torch.zeros_like(parameter)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step.gradients(args.documents, args.length)
        beyond = torch.cuda.max_memory_allocated() - before
    print(json.dumps(dict(shape=args.shape, train=args.train, stack=args.stack, length=args.length,
                          documents=args.documents, tokens_per_second=args.documents * args.length / seconds,
                          seconds=seconds, peak=peak, beyond=beyond, loss=loss)), flush=True)


if __name__ == "__main__":
    main()
