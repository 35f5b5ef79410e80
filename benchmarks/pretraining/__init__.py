"""How mini-CLIP and its oracles were pre-trained, what they recognise, and what each idea of it is worth."""
