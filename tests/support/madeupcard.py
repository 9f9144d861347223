"""A card in the place of CUDA's, which says what a test wants."""

MIB = 1 << 20
CARD = 16_380  # MiB


class Cuda:
    """`torch.cuda` of one process on a card that others use too. All sizes are MiB."""

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
