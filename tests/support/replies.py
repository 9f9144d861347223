"""What the mock of Bedrock answers, if a test says it word for word."""


class Replies:
    """Gives these answers as the mock's `references`, one after the other."""

    def __init__(self, *texts):
        self.texts = list(texts)

    def answer(self, prompt, schema):
        return self.texts.pop(0)
