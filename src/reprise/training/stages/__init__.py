"""What a run does after its epochs: fit corrections and cold items, and fine-tune on the validation part."""
