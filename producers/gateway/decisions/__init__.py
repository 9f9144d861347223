"""Typed questions with calibrated answers, in OpenAI's format and in that of System One."""
