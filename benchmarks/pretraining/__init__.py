"""How mini-CLIP and its oracles were pre-trained, and what they recognise."""
