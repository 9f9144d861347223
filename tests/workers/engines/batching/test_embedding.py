"""The packaged sentence encoder."""

from forebay.workers.engines.batching.embedding import SentenceEncoder


def test_all_engines_of_a_process_share_one_model_and_its_lock():
    one, other = SentenceEncoder(), SentenceEncoder()
    assert one._model is other._model
    assert one._lock is other._lock
