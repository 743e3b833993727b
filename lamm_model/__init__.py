"""The LAMM model: media, prompts, tasks, network and checkpoints. Knows nothing of HTTP."""
