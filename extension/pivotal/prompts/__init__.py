"""From text to token ids: chunks, emphasis, placeholders, templates and the counter. No torch, no host."""
