"""Commands and checks of `forebay` on the workers' side, found by entry point."""
