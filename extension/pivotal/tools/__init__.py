"""What can be done with finished files: networks resized, merged and extracted, bundles and embeddings converted."""
