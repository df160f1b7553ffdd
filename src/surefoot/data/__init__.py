"""Images and labels become batches: tasks and splits, manifests, decoding, prompts, the loader, the data check."""
