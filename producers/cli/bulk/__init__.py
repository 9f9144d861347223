"""The commands `forebay bulk …`."""
