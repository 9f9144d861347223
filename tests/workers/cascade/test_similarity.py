"""Labels by similarity: of the packaged encoder, and of an encoder made for the tests."""

import json
import threading

import pytest

from forebay.routing.jobs import parse_job
from forebay.workers.cascade.similarity import LabelVectors, answer_all
from forebay.workers.engines.batching.embedding import SentenceEncoder
from forebay.workers.engines.engine import Vectors
from local.fleet import ROOT


class Encoder:
    """Embeds by word, so that it is known which texts are near; notes the texts it is given."""

    axes = ("cat", "dog", "sun")

    def __init__(self):
        self.batches = []

    def embed(self, texts):
        self.batches.append(texts)
        rows = [tuple(float(axis in text) or 0.01 for axis in self.axes) for text in texts]
        return Vectors(vectors=tuple(rows), tokens_in=len(texts))


def answered(job, embed, labels=None):
    """Return the answer of one job, and the tokens that were read."""
    (content,), tokens = answer_all(
        [job], embed, labels=LabelVectors() if labels is None else labels
    )
    return content, tokens


def job(text, labels):
    return parse_job({"request": {"kind": "classify", "text": text, "labels": labels}})


def test_the_nearest_label_wins_and_probabilities_add_up():
    content, tokens = answered(job("a dog", ["cat", "dog"]), Encoder().embed, LabelVectors())
    assert (content.label, tokens) == ("dog", 3)
    assert content.scores[content.label] == content.probability == max(content.scores.values())
    assert sum(content.scores.values()) == pytest.approx(1)


def test_descriptions_and_examples_count():
    labels = [{"name": "x", "description": "a cat", "examples": ["cat cat"]}, "sun"]
    assert answered(job("cat", labels), Encoder().embed, LabelVectors())[0].label == "x"


def test_labels_are_embedded_once():
    encoder, vectors = Encoder(), LabelVectors()
    first = answered(job("a dog", ["cat", "dog"]), encoder.embed, vectors)[0]
    again, tokens = answered(job("a dog", ["dog", "cat"]), encoder.embed, vectors)
    assert encoder.batches == [["a dog", "cat", "dog"], ["a dog"]]
    assert (again.scores, tokens) == (pytest.approx(first.scores), 1)


def test_two_encoders_do_not_share_vectors():
    one, other, vectors = Encoder(), Encoder(), LabelVectors()
    for encoder in (one, other):
        answered(job("a dog", ["cat", "dog"]), encoder.embed, vectors)
    assert len(other.batches[0]) == 3


def test_labels_used_longest_ago_make_room():
    encoder, vectors = Encoder(), LabelVectors(max_labels=3)
    for labels in (["cat", "dog"], ["cat", "sun"], ["cat", "x"]):
        answered(job("a dog", labels), encoder.embed, vectors)
    assert len(vectors) == 3
    answered(job("a dog", ["cat", "dog"]), encoder.embed, vectors)
    assert encoder.batches[-1] == ["a dog", "dog"]


def test_more_labels_than_are_kept_still_get_an_answer():
    labels = [f"sun {n}" for n in range(9)] + ["dog"]
    assert answered(job("a dog", labels), Encoder().embed, LabelVectors(4))[0].label == "dog"


def test_threads_may_share_the_labels():
    encoder, vectors, labels_found = Encoder(), LabelVectors(max_labels=4), []

    def work(number):
        labels = ["dog", f"cat {number % 7}", f"sun {number % 3}"]
        labels_found.append(answered(job("a dog", labels), encoder.embed, vectors)[0].label)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert labels_found == ["dog"] * 60
    assert len(vectors) == 4


def test_the_packaged_encoder_is_right_and_calibrated_on_the_demos_texts():
    encoder, right, sure = SentenceEncoder(), 0, 0.0
    lines = (ROOT / "deploy" / "local" / "samples.jsonl").read_text("utf-8").splitlines()
    samples = [row for row in map(json.loads, lines) if row["request"]["kind"] == "classify"]
    for sample in samples:
        sample_job = parse_job({"request": sample["request"]})
        content, _ = answered(
            sample_job, lambda texts: encoder.encode(texts, lambda: None), LabelVectors()
        )
        right += content.label == sample["reference"]
        sure += content.probability
    assert right >= 0.7 * len(samples)
    assert abs(sure - right) <= 0.2 * len(samples)


def questions(*asked):
    return parse_job({"request": {"kind": "decide", "state": "a dog", "questions": asked}})


PET = {"type": "choice", "name": "pet", "instructions": "Which?", "choices": ["cat", "dog"]}
WILD = {
    "type": "predicate", "name": "wild", "instructions": "It is so.", "yes": "a sun", "no": "a dog",
}  # fmt: skip


def test_each_question_is_answered_by_its_nearest_option():
    content, tokens = answered(questions(PET, WILD), Encoder().embed, LabelVectors())
    assert content.basis == "similarity"
    assert (content["pet"].chosen, content["wild"].chosen) == ("dog", "no")
    assert tokens == 5
    for answer in content.answers:
        assert sum(answer.probabilities.values()) == pytest.approx(1)


def test_unsure_wins_if_no_option_stands_out():
    unsure = {**PET, "unsure": True}
    assert answered(questions(unsure), Encoder().embed, LabelVectors())[0]["pet"].chosen == ("dog")
    even = {**unsure, "choices": ["sun one", "sun two", "cat"]}
    pet = answered(questions(even), Encoder().embed, LabelVectors())[0]["pet"]
    assert pet.probabilities["unsure"] == pytest.approx(0.25, abs=0.05)


def test_the_options_of_questions_are_embedded_once():
    encoder, vectors = Encoder(), LabelVectors()
    for _ in range(2):
        answered(questions(PET, {**PET, "name": "again"}), encoder.embed, vectors)
    assert encoder.batches == [["a dog", "Which? cat", "Which? dog"], ["a dog"]]


def test_the_packaged_encoder_chooses_the_team():
    encoder = SentenceEncoder()
    asked = {
        "type": "choice", "name": "team", "instructions": "Which team should answer?",
        "choices": [
            {"name": "billing", "description": "invoices, charges, payments and refunds"},
            {"name": "delivery", "description": "parcels and couriers that are late or lost"},
        ],
    }  # fmt: skip
    job = parse_job({"request": {
        "kind": "decide", "state": {"mail": "The courier lost my parcel."}, "questions": [asked],
    }})  # fmt: skip
    content, _ = answered(job, lambda texts: encoder.encode(texts, lambda: None))
    assert content["team"].chosen == "delivery"
