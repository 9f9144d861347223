"""The attention written in torch, compared with the definition, a query and a head at a time."""

import math
import sys

import pytest

from local.fleet import ROOT

torch = pytest.importorskip("torch", reason="torch is no dependency; run by make test-gpu")

PAGE = 16


@pytest.fixture(scope="module")
def flash():
    """The module as exllamav2 imports it: first on the path."""
    sys.path.insert(0, str(ROOT / "workers" / "engines" / "gpu" / "attention"))
    import flash_attn  # noqa: PLC0415 - it is on the path only now

    yield flash_attn
    sys.path.pop(0)
    del sys.modules["flash_attn"]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(7)


def naive(q, k, v, *, causal=False, window=(-1, -1), softcap=0.0, scale=None):
    """Attend in one sequence: q (s, h, d), k and v (t, g, d)."""
    s, h, d = q.shape
    t, g, _ = k.shape
    out = torch.zeros_like(q)
    for i in range(s):
        place = t - s + i
        low = max(0, place - window[0]) if window[0] >= 0 else 0
        right = 0 if causal else window[1]
        high = min(t, place + right + 1) if right >= 0 else t
        for head in range(h if high > low else 0):
            key, value = k[low:high, head // (h // g)], v[low:high, head // (h // g)]
            score = key @ q[i, head] * (scale or 1 / math.sqrt(d))
            score = softcap * torch.tanh(score / softcap) if softcap else score
            out[i, head] = score.softmax(0) @ value
    return out


def rand(*shape):
    return torch.randn(*shape)


def close(got, want):
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


CASES = [
    {},
    {"causal": True},
    {"causal": True, "window": (4, 4)},
    {"window": (3, 2)},
    {"causal": True, "softcap": 5.0},
    {"causal": True, "scale": 0.3},
]


def arguments(case):
    names = {"window": "window_size", "scale": "softmax_scale"}
    return {names.get(name, name): value for name, value in case.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("s", "t"), [(7, 7), (1, 9), (3, 11), (5, 2)])
def test_batches_attend_as_defined(flash, case, s, t):
    q, k, v = rand(2, s, 6, 8), rand(2, t, 2, 8), rand(2, t, 2, 8)
    got = flash.flash_attn_func(q, k, v, **arguments(case))
    want = torch.stack([naive(*one, **case) for one in zip(q, k, v, strict=True)])
    close(got, want)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sequences_end_to_end_do_not_see_each_other(flash, case):
    counts_q, counts_k = [3, 1, 5], [4, 6, 5]
    edges = [torch.tensor([0, *counts]).cumsum(0).int() for counts in (counts_q, counts_k)]
    q, k, v = rand(9, 4, 8), rand(15, 2, 8), rand(15, 2, 8)
    got = flash.flash_attn_varlen_func(q, k, v, *edges, 5, 6, **arguments(case))
    parts = zip(q.split(counts_q), k.split(counts_k), v.split(counts_k), strict=True)
    close(got, torch.cat([naive(*one, **case) for one in parts]))


class Paged:
    """A cache of shuffled pages, NaN where nothing is written; and the keys and values in order."""

    def __init__(self, lengths, pages=4, heads=2, size=8):
        total = len(lengths) * pages
        self.table = torch.randperm(total).view(len(lengths), pages).int()
        self.keys, self.values = (torch.full((total, PAGE, heads, size), torch.nan) for _ in "kv")
        self.true = [(rand(n, heads, size), rand(n, heads, size)) for n in lengths]
        self.lengths = torch.tensor(lengths).int()
        for row, pair in enumerate(self.true):
            for cache, rows in zip((self.keys, self.values), pair, strict=True):
                for place, one in enumerate(rows):
                    cache[self.table[row, place // PAGE], place % PAGE] = one


@pytest.mark.parametrize("case", [one for one in CASES if one.get("causal")], ids=str)
@pytest.mark.parametrize("new", [1, 5, 20])
def test_pages_are_extended_in_place_and_attended_to_in_order(flash, case, new):
    cache = Paged([0, 15, 16, 40])
    q, k, v = rand(4, new, 6, 8), rand(4, new, 2, 8), rand(4, new, 2, 8)
    call = flash.flash_attn_with_kvcache
    got = call(
        q, cache.keys, cache.values, k, v, cache_seqlens=cache.lengths,
        block_table=cache.table, **arguments(case),
    )  # fmt: skip
    for row, (old_k, old_v) in enumerate(cache.true):
        want = naive(q[row], torch.cat([old_k, k[row]]), torch.cat([old_v, v[row]]), **case)
        close(got[row], want)
    again = call(
        q, cache.keys, cache.values, cache_seqlens=cache.lengths + new,
        block_table=cache.table, **arguments(case),
    )  # fmt: skip
    close(again, got)


def test_without_a_block_table_each_sequence_has_a_row(flash):
    keys, values = rand(2, 12, 2, 8), rand(2, 12, 2, 8)
    q, k, v = rand(2, 2, 4, 8), rand(2, 2, 2, 8), rand(2, 2, 2, 8)
    got = flash.flash_attn_with_kvcache(q, keys, values, k, v, cache_seqlens=5, causal=True)
    for row in range(2):
        close(got[row], naive(q[row], keys[row, :7], values[row, :7], causal=True))
        close(keys[row, 5:7], k[row])


def test_an_unsupported_argument_is_refused(flash):
    q = rand(1, 1, 2, 8)
    with pytest.raises(NotImplementedError, match="dropout_p"):
        flash.flash_attn_func(q, q, q, 0.5)
    with pytest.raises(NotImplementedError, match="rotary_cos"):
        flash.flash_attn_with_kvcache(q, q, q, rotary_cos=q.sum(), cache_seqlens=1)


def test_exllamav2_takes_it_for_flash_attention(flash):
    import inspect  # noqa: PLC0415

    version = [int(part) for part in flash.__version__.split(".")]
    assert version >= [2, 5, 7]
    assert {"window_size", "softcap"} <= set(inspect.signature(flash.flash_attn_func).parameters)
