"""The web app of `surefoot app`: an image in, what zero-shot and fine-tuned models make of it side by side."""
