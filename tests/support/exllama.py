"""Fakes of exllamav2's and exllamav3's dynamic generators without a GPU: same calls and results.

They treat jobs, pages, held text, filters and errors as the libraries' sources do;
`tests/workers/engines/exllama/test_backend.py` compares the signatures. Only the logits come from a
rule (`tinymodel.Rule`). The bases of the filters are the libraries' own (`library_sources.py`).
"""

from __future__ import annotations

import random
import time
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np

PAGE = 256
CHUNK = 2_048


class Job:
    """The part that both libraries' jobs have in common."""

    def __init__(self, input_ids, max_new_tokens, seed, stop_conditions, filters, identifier):
        self.prompt = input_ids[0].tolist()
        self.max_new_tokens = max_new_tokens
        self.rng = random.Random(seed)
        self.stop_tokens = {stop for stop in stop_conditions if isinstance(stop, int)}
        self.stop_strings = [stop for stop in stop_conditions if isinstance(stop, str)]
        self.filters = filters
        self.identifier = identifier
        self.made, self.pages, self.read = [], [], 0
        self.held_text, self.held_tokens, self.held_probs = "", [], []
        self.held_logits, self.full_completion = [], ""


class Exl2Settings:
    def __init__(self, token_repetition_penalty=1.025, temperature=0.8, top_k=50, top_p=0.8):
        assert token_repetition_penalty == 1.0
        assert top_k > 0
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p


class Exl2Job(Job):
    def __init__(
        self, *, input_ids, max_new_tokens, gen_settings=None, seed=None, stop_conditions=None,
        return_logits=False, filters=None, identifier=None,
    ):  # fmt: skip
        super().__init__(
            input_ids, max_new_tokens, seed, stop_conditions, filters or [], identifier
        )
        self.settings, self.return_logits, self.return_probs = gen_settings, return_logits, False
        self.temperature = 0.0 if gen_settings.top_k == 1 else gen_settings.temperature


class Exl3Sampler:
    def __init__(self, temperature=1.0, top_k=0, top_p=1.0):
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p


class Exl3Job(Job):
    def __init__(
        self, *, input_ids, max_new_tokens=None, sampler=None, seed=None, stop_conditions=None,
        return_logits=False, return_probs=False, filters=None, identifier=None,
    ):  # fmt: skip
        super().__init__(
            input_ids, max_new_tokens, seed, stop_conditions, filters or [], identifier
        )
        self.return_logits, self.return_probs = return_logits, return_probs
        self.temperature = sampler.temperature


class Dynamic:
    """The part that both libraries' generators have in common."""

    spare = 0

    def __init__(self, rule, pages, slots):
        self.rule, self.model = rule, object()
        self.tokenizer = types.SimpleNamespace(actual_vocab_size=rule.size)
        self.max_batch_size, self.max_pages = slots, pages
        self.unreferenced_pages = {page: page for page in range(pages)}
        self.pending_jobs, self.active_jobs = [], []
        self.filter_pool = ThreadPoolExecutor(2)
        # One buffer, which each step overwrites.
        self.rows = np.zeros((slots, 1, rule.width), dtype=np.float32)
        self.breaks = False
        self.most = 0
        self.serial = 0

    def num_remaining_jobs(self):
        return len(self.pending_jobs) + len(self.active_jobs)

    def enqueue(self, job):
        assert self._need(job) <= self.max_pages, "Job requires too many pages"
        self.serial += 1
        job.serial, job.enqueued = self.serial, time.time()
        self.pending_jobs.append(job)

    def cancel(self, job):
        if job in self.pending_jobs:
            self.pending_jobs.remove(job)
        elif job in self.active_jobs:
            self._release(job)

    def clear_queue(self):
        for job in [*self.pending_jobs, *self.active_jobs]:
            self.cancel(job)

    def iterate(self):
        if any(self.rule.tells_story(tuple(job.prompt)) for job in self.active_jobs):
            time.sleep(0.02)
        results = []
        self._start(results)
        if self.breaks:
            raise RuntimeError("CUDA error: a secret")
        for job in self.active_jobs:
            self._prefill(job, results)
        ready = [job for job in self.active_jobs if job.read == len(job.prompt)]
        ended = [job for at, job in enumerate(ready) if self._decode(job, self.rows[at], results)]
        for job in ended:
            self._release(job)
        return results

    def _need(self, job):
        return -(-(len(job.prompt) + job.max_new_tokens + self.spare) // PAGE)

    def _start(self, results):
        while self.pending_jobs and len(self.active_jobs) < self.max_batch_size:
            need = self._need(self.pending_jobs[0])
            if need > len(self.unreferenced_pages):
                return
            job = self.pending_jobs.pop(0)
            job.pages = [self.unreferenced_pages.popitem()[0] for _ in range(need)]
            self.active_jobs.append(job)
            self.most = max(self.most, len(self.active_jobs))
            results.append(self._result(job, "started"))

    def _release(self, job):
        self.active_jobs.remove(job)
        assert not self.unreferenced_pages.keys() & set(job.pages)
        self.unreferenced_pages |= {page: page for page in job.pages}

    def _prefill(self, job, results):
        if job.read < len(job.prompt):
            job.begun = time.time() if job.read == 0 else job.begun
            job.read = min(job.read + CHUNK, len(job.prompt))
            results.append(self._result(job, "prefill"))

    def _result(self, job, stage, *, eos=False):
        return {"stage": stage, "eos": eos, "job": job, "serial": job.serial} | (
            {} if job.identifier is None else {"identifier": job.identifier}
        )

    def _decode(self, job, rows, results):
        if not job.made:
            job.first = time.time()
        rows[0] = self.rule.logits([*job.prompt, *job.made])
        raw = rows[0, : self.rule.size].copy()
        token = self._sample(job, rows)
        probability = np.exp(raw[token] - raw.max()) / np.exp(raw - raw.max()).sum()
        ended = self._feed(job, token)
        job.made.append(token)
        return self._receive(job, token, probability, rows, ended, results)

    def _pick(self, job, row):
        row[self.rule.size :] = -np.inf
        if job.temperature == 0:
            return int(row.argmax())
        weights = np.exp((row - row.max()) / job.temperature)
        return int(np.searchsorted(np.cumsum(weights / weights.sum()), job.rng.random()))

    def _receive(self, job, token, probability, rows, ended, results):
        """Hold the token, then end or emit, in the order of the libraries' `receive_sample`."""
        job.held_text += self.rule.pieces[token]
        job.held_tokens.append(token)
        job.held_probs.append(probability)
        if job.return_logits:
            job.held_logits.append(rows.copy())
        if token in job.stop_tokens:
            text = {"eos_triggering_token_id": token, "eos_triggering_token_str": "<|im_end|>"}
            return self._emit(job, results, "stop_token", held=False, extra=text)
        if len(job.made) >= job.max_new_tokens:
            return self._emit(job, results, "max_new_tokens")
        if ended:
            return self._emit(job, results, "end_filter")
        if 1 <= job.held_text.count("\ufffd") < 5:
            together = self.rule.tokenizer.decode(job.held_tokens)
            if "\ufffd" in together:
                return self._emit(job, results, held=False)
            job.held_text = together
        return self._stop_strings(job, results)

    def _stop_strings(self, job, results):
        places = [at for stop in job.stop_strings if (at := job.held_text.find(stop)) >= 0]
        if places:
            rest, job.held_text = job.held_text[min(places) :], job.held_text[: min(places)]
            string = next(stop for stop in job.stop_strings if rest.startswith(stop))
            extra = {"eos_triggering_string": string}
            return self._emit(job, results, "stop_string", extra=extra, rest=rest)
        begun = any(
            job.held_text.endswith(stop[:size]) for stop in job.stop_strings
            for size in range(1, len(stop))
        )  # fmt: skip
        return self._emit(job, results, held=not begun)

    def _emit(self, job, results, reason=None, *, held=True, extra=None, rest=""):
        result = self._result(job, "streaming", eos=reason is not None)
        if held:
            job.full_completion += job.held_text
            result |= self._held(job)
            job.held_text, job.held_tokens, job.held_probs, job.held_logits = "", [], [], []
        if reason is not None:
            job.held_text = rest or job.held_text
            result |= {
                "eos_reason": reason, "full_completion": job.full_completion,
                "new_tokens": len(job.made), "prompt_tokens": len(job.prompt),
                "time_enqueued": job.begun - job.enqueued, "time_prefill": job.first - job.begun,
                "time_generate": time.time() - job.first, "cached_pages": 0, "cached_tokens": 0,
            } | (extra or {})  # fmt: skip
            if left := self._held(job):
                result["held"] = left
        results.append(result)
        return reason is not None

    def _held(self, job):
        part = {"text": job.held_text} if job.held_text else {}
        if job.held_tokens:
            part["token_ids"] = np.array([job.held_tokens])
        if job.held_probs and job.return_probs:
            part["token_probs"] = np.array([job.held_probs], dtype=np.float32)
        if job.held_logits:
            part["logits"] = np.concatenate(job.held_logits)[None]
        return part


class Exl2Generator(Dynamic):
    """exllamav2's generator: samples on the CPU, where filters narrow the logits in place."""

    def _sample(self, job, rows):
        if not job.made:
            for logits_filter in job.filters:
                logits_filter.background_drop()
                logits_filter.begin("")
        row = rows[0]
        for logits_filter in job.filters:
            assert logits_filter.can_mask_logits()
            assert logits_filter.get_next(mask=True) is True
            row = logits_filter.mask_logits(row).reshape(-1)
        return self._pick(job, row)

    def _feed(self, job, token):
        for logits_filter in job.filters:
            logits_filter.feed(np.array([[token]]))
            if logits_filter.use_background_worker():
                logits_filter.background_prepare_logit_mask(self.filter_pool)
        return False


class Exl3Generator(Dynamic):
    """exllamav3's generator: samples from a copy; masks are bits; a table holds the pages."""

    spare = 1
    padded_vocab_size = 0

    def __init__(self, rule, pages, slots):
        super().__init__(rule, pages, slots)
        self.pagetable = types.SimpleNamespace(
            max_pages=pages, unreferenced_pages=self.unreferenced_pages
        )

    def enqueue(self, job):
        super().enqueue(job)
        for logits_filter in job.filters:
            logits_filter.attach(types.SimpleNamespace(generator=self))
            logits_filter.reset()

    def _sample(self, job, rows):
        row = rows[0].copy()
        for logits_filter in job.filters:
            if logits_filter.is_active:
                bits = self.filter_pool.submit(logits_filter.get_next_logit_mask).result()
                flags = np.unpackbits(bits.reshape(-1).view(np.uint8), bitorder="little")
                row[: len(flags)][flags[: len(row)] == 0] = -np.inf
        return self._pick(job, row)

    def _feed(self, job, token):
        ended = [logits_filter.feed(token) for logits_filter in job.filters]
        return any(ended)
