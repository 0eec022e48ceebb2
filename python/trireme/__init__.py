"""Attention of one sequence on several ranks, for torch and transformers.

    import trireme
    trireme.parallelize(model)      # a *ForCausalLM of transformers: the ranks now share each sequence

    parallel = trireme.SequenceParallel(heads=32, kv_heads=8)
    rows = parallel.rows(starts)    # which this rank has of packed documents
    out = trireme.hybrid_attention(q, k, v, starts, parallel)
"""
from trireme.attention import SequenceParallel, hybrid_attention, ring_attention, ulysses_attention

__all__ = ["SequenceParallel", "hybrid_attention", "parallelize", "ring_attention", "ulysses_attention"]


def __getattr__(name):
    if name == "parallelize":  # brings transformers, which the rest does without
        from trireme.transformers import parallelize
        return parallelize
    raise AttributeError(f"module 'trireme' has no attribute '{name}'")
