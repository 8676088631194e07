"""How ``ilfo_vit_tiny`` was made: DINO self-distillation on frames that this project renders, and how far off it is."""
