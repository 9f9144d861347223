"""Fits and evaluates the weights of the router: `forebay router train` and `forebay router eval`.

Needs the extra `router`. No worker imports it.
"""
