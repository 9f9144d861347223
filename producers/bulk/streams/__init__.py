"""The bytes of an input: from any offset on, kept if they come only once, and in lines."""
