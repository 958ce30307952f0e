"""The trainer's view of a Stable Diffusion model: diffusers and transformers modules over somebody's tensors."""
