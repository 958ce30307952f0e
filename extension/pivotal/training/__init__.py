"""The loop: a batch, its loss, a step, an event. It knows no host, no dataset and no page."""
