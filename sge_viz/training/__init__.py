"""How the bundled weights were made: distillation, and ordinary training."""
