"""A fake of `torch.cuda`, whose memory a test sets."""

MIB = 1 << 20
CARD = 16_380  # the card's memory, in MiB


class Cuda:
    """`torch.cuda` of one process on a card that other processes use too. Sizes are MiB."""

    class OutOfMemoryError(RuntimeError):
        pass

    def __init__(self, free=CARD - 400, total=CARD):
        self.free, self.total, self.reserved, self.fraction = free, total, 0, None

    def mem_get_info(self):
        return self.free * MIB, self.total * MIB

    def memory_reserved(self):
        return self.reserved * MIB

    def set_per_process_memory_fraction(self, fraction):
        self.fraction = fraction

    def take(self, size):
        self.reserved, self.free = self.reserved + size, self.free - size
