"""Baselines, each after its own paper, on equal terms with ours: the same images and class texts.

| name            | after                                                            | reads                 |
|-----------------|------------------------------------------------------------------|-----------------------|
| `ga`            | gradient ascent on the forget set (Thudi et al., 2022)           | D_f                   |
| `finetune`      | fine-tuning on the retain set alone                              | D_r                   |
| `random_labels` | wrong labels on D_f, right ones on D_r (Graves et al., 2021)     | D_f, D_r              |
| `ga_retain`     | gradient ascent on D_f, descent on D_r                           | D_f, D_r              |
| `emmn`          | error-maximising/-minimising noise (Chundawat et al., 2023)      | class names only      |
| `lip`           | Lipschitz regularisation (Foster et al., arXiv 2402.01401; for   | D_f                   |
|                 | CLIP Kravets and Namboodiri, arXiv 2407.07485)                   |                       |
| `salun`         | random labels on salient weights (Fan et al., ICLR 2024)         | D_f, D_r              |
| `scrub`         | away from the teacher on D_f, after it on D_r (Kurmanji et al.,  | D_f, D_r              |
|                 | NeurIPS 2023, arXiv 2302.09880)                                  |                       |
| `munba`         | Nash bargaining of the two gradients (Wu and Harandi, ICCV 2025, | D_f, D_r              |
|                 | arXiv 2411.15537)                                                |                       |
| `text_lora`     | LoRA on the text tower alone; the text side of the CLIP variant  | D_f, class names      |
|                 | of `lip`, with a loss of our own                                 |                       |
| `task_vector`   | negated task vector (Ilharco et al., ICLR 2023)                  | D_f, D_m              |
| `negmerge`      | task vectors merged where their signs agree, negated (Kim et     | D_f, D_m              |
|                 | al., ICML 2025, arXiv 2410.05583)                                |                       |
| `ssd`           | selective synaptic dampening (Foster et al., AAAI 2024,          | D_f, D_r              |
|                 | arXiv 2308.07707)                                                |                       |
| `projection`    | the target's text direction removed from the projection          | class names, D_m      |
| `null_space`    | the same for all words of the target (Mishra et al.,             | class names, D_m      |
|                 | arXiv 2512.14137)                                                |                       |
| `erasure`       | `projection`, only where an image is of the target's domain, by  | D_f, D_r, D_m         |
|                 | LEACE's direction (Belrose et al., 2023, arXiv 2306.03819)       |                       |

Those up to `munba` are trained (`trained.py`) and change every weight of the image tower; BatchNorm stays in eval mode,
so its statistics stay. Those that would go on for ever stop by the rule of our stage 1: at most 1 percent of what they
read of D_f is still recognised. The others edit weights in closed form (`edited.py`), after fine-tuning for the task
vectors. None but ours and `erasure` was made for subgroups: where target and siblings bear one label, `emmn`,
`text_lora`, `projection` and `null_space` cannot tell them apart, and forget both.
"""

from benchmarks.baselines import edited, trained
from benchmarks.baselines.common import BASELINES, stopping_rule, train

__all__ = ["BASELINES", "edited", "stopping_rule", "train", "trained"]
