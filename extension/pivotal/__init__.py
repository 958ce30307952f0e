"""Pivotal: trains Stable Diffusion embeddings and LoRAs inside the WebUI that has the checkpoint loaded."""

__version__ = "0.7.0"
