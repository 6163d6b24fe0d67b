"""The two observers: the sampler, on the server's side, and the probe collector, on the app's side."""
