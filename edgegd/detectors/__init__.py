"""All that knows the classes of Ultralytics: checkpoints, deployment, losses, batches, distillation, activations."""
