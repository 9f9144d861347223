# ruff: noqa: PLR0917 - the arguments of flash-attn, in its order
"""Paged attention for exllamav2 in plain torch, for machines that cannot compile flash-attn.

With `FOREBAY_ATTENTION=torch` this folder goes first on the path, so that exllamav2 imports it as
`flash_attn`. Arguments and shapes are those of flash-attn 2.5.7, without what exllamav2 does not
use: dropout, rotary embedding, ALiBi. All results are exact. It is slower because the pages of the
cache are gathered into one tensor for every layer and step.

Shapes: b sequences, s queries, t keys, h query heads, g heads of keys and values, d a head's size.
"""

from __future__ import annotations

from typing import Any

import torch

__version__ = "2.5.7"

Window = tuple[int, int]
_EVERYTHING: Window = (-1, -1)


def flash_attn_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,  # noqa: FBT001, FBT002 - flash-attn's signature
    window_size: Window = _EVERYTHING,
    softcap: float = 0.0,
) -> torch.Tensor:
    """Attend from q (b, s, h, d) to k and v (b, t, g, d); causal aligns the ends of both."""
    _refuse(dropout_p=dropout_p)
    lengths = torch.full((k.shape[0],), k.shape[1], device=k.device)
    return _attend(q, k, v, lengths, softmax_scale, _span(window_size, causal), softcap)


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,  # noqa: FBT001, FBT002 - flash-attn's signature
    window_size: Window = _EVERYTHING,
    softcap: float = 0.0,
) -> torch.Tensor:
    """Attend in sequences laid end to end: q (sum of s, h, d), k and v (sum of t, g, d)."""
    del max_seqlen_q, max_seqlen_k  # flash-attn chooses kernels by them
    queries = torch.tensor_split(q, cu_seqlens_q[1:-1].long().cpu())
    keys = torch.tensor_split(k, cu_seqlens_k[1:-1].long().cpu())
    values = torch.tensor_split(v, cu_seqlens_k[1:-1].long().cpu())
    parts = [
        flash_attn_func(
            query[None],
            key[None],
            value[None],
            dropout_p,
            softmax_scale,
            causal,
            window_size,
            softcap,
        )[0]
        for query, key, value in zip(queries, keys, values, strict=True)
    ]
    return torch.cat(parts)


def flash_attn_with_kvcache(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    k: torch.Tensor | None = None,
    v: torch.Tensor | None = None,
    cache_seqlens: int | torch.Tensor | None = None,
    block_table: torch.Tensor | None = None,
    softmax_scale: float | None = None,
    causal: bool = False,  # noqa: FBT001, FBT002 - flash-attn's signature
    window_size: Window = _EVERYTHING,
    softcap: float = 0.0,
    **others: Any,
) -> torch.Tensor:
    """Write k and v at the end of each sequence's cache, in place; then attend to all of it.

    Args:
        q: (b, s, h, d).
        k_cache: (pages, page size, g, d) with a block table, else (b, longest, g, d).
        v_cache: the same.
        k: (b, new, g, d), or `None` if the cache holds all keys.
        v: the same.
        cache_seqlens: (b,) or one number: keys that were in the cache before.
        block_table: (b, pages) the pages of each sequence in order.
        softmax_scale: `None` is 1 / sqrt(d).
        causal: each query sees the keys up to its own place, counted from the end.
        window_size: keys that a query sees to the left and right of its place; -1 is all.
        softcap: limit of the scores, to both sides; 0 is off.
        others: other arguments of flash-attn, which must be off.
    """
    _refuse(**others)
    lengths = _lengths(cache_seqlens, q, k_cache, block_table)
    if k is not None and v is not None:
        _append(k_cache, k, lengths, block_table)
        _append(v_cache, v, lengths, block_table)
        lengths = lengths + k.shape[1]
    longest = int(lengths.max())
    keys = _gather(k_cache, block_table, longest)
    values = _gather(v_cache, block_table, longest)
    return _attend(q, keys, values, lengths, softmax_scale, _span(window_size, causal), softcap)


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    lengths: torch.Tensor,
    scale: float | None,
    window: Window,
    softcap: float,
) -> torch.Tensor:
    """Attend to the first `lengths` (b,) keys of each sequence.

    Query heads that share a key head become more queries of that head, so that no key is copied.
    """
    b, s, h, d = q.shape
    groups = k.shape[2]
    seen = _mask(s, k.shape[1], lengths, window)  # (b, s, t)
    sees_any = seen.any(-1)
    mask = (seen | ~sees_any[..., None]).repeat(1, h // groups, 1)[:, None]  # (b, 1, h/g * s, t)
    queries = q.view(b, s, groups, h // groups, d).permute(0, 2, 3, 1, 4).reshape(b, groups, -1, d)
    pads = (torch.arange(k.shape[1], device=k.device) >= lengths[:, None])[..., None, None]
    # A page that is not written yet may hold NaN, and 0 times NaN is NaN.
    keys, values = (x.masked_fill(pads, 0).transpose(1, 2) for x in (k, v))
    scale = d**-0.5 if scale is None else scale
    if softcap:
        out = _capped(queries, keys, values, mask, scale, softcap)
    else:
        attention = torch.nn.functional.scaled_dot_product_attention
        out = attention(queries, keys, values, attn_mask=mask, scale=scale)
    out = out.view(b, groups, h // groups, s, d).permute(0, 3, 1, 2, 4).reshape(b, s, h, d)
    return out * sees_any[..., None, None]


def _capped(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor,
    scale: float,
    softcap: float,
) -> torch.Tensor:
    scores = softcap * torch.tanh((q @ k.transpose(-1, -2)).float() * (scale / softcap))
    return scores.masked_fill(~mask, -torch.inf).softmax(-1).to(v.dtype) @ v


def _mask(s: int, t: int, lengths: torch.Tensor, window: Window) -> torch.Tensor:
    """Return which of t keys each of s queries sees: (b, s, t). The ends are aligned."""
    left, right = window
    key = torch.arange(t, device=lengths.device)[None, None]
    place = (lengths[:, None] - s + torch.arange(s, device=lengths.device))[..., None]
    seen = (key < lengths[:, None, None]).expand(-1, s, -1)
    if right >= 0:
        seen = seen & (key <= place + right)
    if left >= 0:
        seen = seen & (key >= place - left)
    return seen


def _span(window: Window, causal: bool) -> Window:  # noqa: FBT001 - passed on
    return (window[0], 0) if causal else (window[0], window[1])


def _lengths(
    given: int | torch.Tensor | None,
    q: torch.Tensor,
    cache: torch.Tensor,
    table: torch.Tensor | None,
) -> torch.Tensor:
    """Return the keys in each sequence's cache (b,); without a number, all of the cache."""
    if isinstance(given, torch.Tensor):
        return given.long()
    whole = cache.shape[1] if table is None else cache.shape[1] * table.shape[1]
    return torch.full((q.shape[0],), whole if given is None else given, device=q.device)


def _append(
    cache: torch.Tensor, new: torch.Tensor, lengths: torch.Tensor, table: torch.Tensor | None
) -> None:
    place = lengths[:, None] + torch.arange(new.shape[1], device=new.device)  # (b, new)
    if table is None:
        rows = torch.arange(new.shape[0], device=new.device)[:, None]
        cache[rows, place] = new
    else:
        page = table.long().gather(1, place // cache.shape[1])
        cache[page, place % cache.shape[1]] = new


def _gather(cache: torch.Tensor, table: torch.Tensor | None, longest: int) -> torch.Tensor:
    """Return the keys or values of each sequence in order: (b, longest, g, d)."""
    if table is None:
        return cache[:, :longest]
    pages = -(-longest // cache.shape[1])
    return cache[table[:, :pages].long()].flatten(1, 2)[:, :longest]


def _refuse(**arguments: Any) -> None:
    """Raise for an argument that would change the result and is not supported here."""
    for name, value in arguments.items():
        if value is not None and value is not False and value != 0:
            raise NotImplementedError(f"{name} is not supported by the attention written in torch")
