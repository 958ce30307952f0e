"""Networks: small trainable changes of a model's layers (LoRA and its kin), one file per method, named after its paper."""
