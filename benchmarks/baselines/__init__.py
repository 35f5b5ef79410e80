"""Baselines, each after its own paper, on equal terms with ours: the same images and class texts.

| name            | after                                                            | reads                 |
|-----------------|------------------------------------------------------------------|-----------------------|
| `ga`            | gradient ascent on the forget set (Thudi et al., 2022)           | D_f                   |
| `salun`         | random labels on salient weights (Fan et al., ICLR 2024)         | D_f, D_r              |
| `munba`         | Nash bargaining of the two gradients (Wu and Harandi, ICCV 2025, | D_f, D_r              |
|                 | arXiv 2411.15537)                                                |                       |
| `text_lora`     | LoRA on the text tower alone; after Kravets and Namboodiri (arXiv| D_f, class names      |
|                 | 2407.07485), with a loss of our own                              |                       |
| `task_vector`   | negated task vector (Ilharco et al., ICLR 2023)                  | D_f, D_m              |
| `projection`    | the target's text direction removed from the projection          | class names, D_m      |
| `null_space`    | the same for all words of the target (Mishra et al.,             | class names, D_m      |
|                 | arXiv 2512.14137)                                                |                       |
| `erasure`       | `projection`, only where an image is of the target's domain, by  | D_f, D_r, D_m         |
|                 | LEACE's direction (Belrose et al., 2023, arXiv 2306.03819)       |                       |
| `slug`          | one step in one layer (Cai et al., ICML 2025, arXiv 2407.11867)  | D_f, D_r, D_m         |
| `damp`          | a projection in every layer, in the way of Hatami et al., 2026,  | D_f, D_r, D_m         |
|                 | arXiv 2604.15166, of which the abstract was read                 |                       |

Those up to `munba` are trained (`trained.py`) and change every weight of the image tower; BatchNorm stays in eval mode,
so its statistics stay. Those that would go on for ever stop by the rule of our stage 1: at most 1 percent of what they
read of D_f is still recognised. The others edit weights once (`edited.py`, `surgery.py`), task vectors after
fine-tuning. None but ours and `erasure` was made for subgroups: where target and siblings bear one label,
`text_lora`, `projection` and `null_space` cannot tell them apart, and forget both. Of each family the best by Score is
here; the history has eight more (fine-tuning, random labels, GA with descent, EMMN, Lipschitz, SCRUB, NegMerge, SSD).
"""

from benchmarks.baselines import edited, surgery, trained
from benchmarks.baselines.common import BASELINES, stopping_rule, train

__all__ = ["BASELINES", "edited", "stopping_rule", "surgery", "train", "trained"]
