"""Gone, or only renamed? Attacks on an unlearned model, beside the original and a model that never saw the target.

| file            | what it has                                                                  |
|-----------------|------------------------------------------------------------------------------|
| `report.py`     | `audit`: every attack on every model; the table                              |
| `attacks.py`    | attacks on finished embeddings, an equation each                             |
| `retraining.py` | attacks that change weights: relearning, and rounding                        |
| `estimates.py`  | shares, AUROC, average precision, each with its 95 % interval                |
| `limits.py`     | what each line means, and when it is an alarm                                |

An attacker has images that no stage read: neighbours, probes, offsets and words are fitted on validation images and
measured on test images. Only the membership attack reads D_f, as the question is whether D_f stands out.
"""

from forgetkit.auditing.report import Audit, audit, audit_saved

__all__ = ["Audit", "audit", "audit_saved"]
