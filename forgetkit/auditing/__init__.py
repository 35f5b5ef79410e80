"""Gone, or only renamed? Attacks on an unlearned model, beside the original and a model that never saw the target.

An attacker has images that no stage read: neighbours, probes, offsets and words are fitted on validation images and
measured on test images. Only the membership attack reads D_f, as the question is whether D_f stands out.
"""

from forgetkit.auditing.report import Audit, audit, audit_saved, audits
from forgetkit.auditing.retraining import statistics_anew
from forgetkit.auditing.views import depth

__all__ = ["Audit", "audit", "audit_saved", "audits", "depth", "statistics_anew"]
