"""Gone, or only renamed? Attacks on an unlearned model, beside the original and a model that never saw the target.

All is fitted on validation images and measured on test images; only the membership attack reads D_f.
"""

from forgetkit.auditing.report import Audit, audit, audit_saved, audits
from forgetkit.auditing.retraining import statistics_anew
from forgetkit.auditing.views import depth

__all__ = ["Audit", "audit", "audit_saved", "audits", "depth", "statistics_anew"]
