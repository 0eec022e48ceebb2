"""Fine-grained float8 folders as Qwen3-*-FP8 and DeepSeek publish them, and the formula that undoes them.

transformers derives the blocks from the grid of scales, so that it reads only matrices that whole blocks cover
(integrations/finegrained_fp8.py _dequantize_one); the format itself has smaller blocks at the edges, which the formula here
does.
"""
import re

import tiny_models
import torch

LARGEST = torch.finfo(torch.float8_e4m3fn).max


def spread(scales, block, shape):
    """Each block's scale at each of its elements."""
    return scales.float().repeat_interleave(block[0], -2).repeat_interleave(block[1], -1)[..., :shape[-2], :shape[-1]]


def quantise(weight, block, dtype):
    """(codes, scales): the largest of a block becomes the largest number of float8, or less where scales are powers of two."""
    rows, columns = weight.shape
    padded = torch.nn.functional.pad(weight.float(), (0, -columns % block[1], 0, -rows % block[0]))
    tiles = padded.unflatten(1, (-1, block[1])).unflatten(0, (-1, block[0]))
    scales = tiles.abs().amax((1, 3)) / LARGEST
    if dtype == torch.float8_e8m0fnu:
        scales = scales.log2().ceil().exp2()
    scales = scales.to(dtype)
    return (weight.float() / spread(scales, block, weight.shape)).to(torch.float8_e4m3fn), scales


def make(folder, block, dtype=torch.float32, keep=()):
    """Makes a float8 folder of a model folder in bf16. Linears of layers are float8, but for those whose name holds a word of
    `keep`. Without a block each matrix has one scale."""
    def change(tensors):
        for name in [name for name in tensors if re.search(r"_proj\.weight$", name)]:
            if not any(word in name for word in keep):
                codes, scales = quantise(tensors[name], block or tensors[name].shape, dtype)
                tensors[name], tensors[name + "_scale_inv"] = codes, scales if block else scales.reshape(())
    tiny_models.edit_weights(folder, change)
    tiny_models.edit_json(folder / "config.json", lambda config: config.update(
        dtype="bfloat16", quantization_config={
            "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": block and list(block),
            "modules_to_not_convert": ["lm_head", *keep]}))
    return folder


def undone(folder, to, block, dtype=torch.float32):
    """A copy of a float8 folder with plain weights, by the formula."""
    copy = tiny_models.copy_of(folder, to)

    def change(tensors):
        for name in [name for name in tensors if name.endswith("_scale_inv")]:
            weight = name.removesuffix("_scale_inv")
            codes = tensors[weight].float()
            tensors[weight] = (codes * spread(tensors.pop(name), block, codes.shape)).to(dtype)
    tiny_models.edit_weights(copy, change)
    tiny_models.edit_json(copy / "config.json", lambda config: config.pop("quantization_config"))
    return copy
