"""Segment a clip with released weights, or with a model that avsctl trained: python examples/load_model.py FILE."""

import sys

import torch

from avsctl_models import load_model, semantic_inference

model = load_model(sys.argv[1])  # sizes: those of the JSON beside the file, or else the published ones
frames = torch.randint(0, 256, (5, 3, model.image_size, model.image_size), dtype=torch.uint8)  # RGB, one a second
audio = torch.randn(5, model.audio_dim) if model.audio_dim else None  # a sound embedding for each frame
prior = torch.rand(5, 224, 224) if model.uses_prior else None  # stage 1's probability that a pixel sounds
with torch.inference_mode():
    output = model(model.normalize(frames), audio, prior, lengths=[5])  # the frames of each clip
maps = semantic_inference(output, (224, 224))  # (frames, classes, height, width), the decision is maps.argmax(1)
names = [model.spec[key] for key in ("name", "preset", "task")]
print(f"{' '.join(names)}: {output.num_classes} classes, maps {tuple(maps.shape)}")
