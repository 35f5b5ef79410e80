"""Figures of the tutorial: one look, colour-blind safe, legible in grey, axes named with units."""

from .base import (
    COLOURS,
    STYLE,
    alignment_bars,
    bars,
    before_after,
    confusion,
    fisher_bars,
    guesses,
    image_grid,
    loss_curves,
    save,
    similarities,
    table_bars,
    use_style,
)
from .benchmark import fronts, score_strips, sensitivity
from .evaluation import dumbbells, embedding_map, grouped_bars, neighbour_grid, score_slots, spread
from .forgetting import accuracy_by_step, adapter_gradients, gradient_squares, layer_choice, similarity_by_step
from .reminding import alignment_curves, channel_means, drift, pixel_grid, strength, teachers, variations, weight_path
from .restoring import distance_bars, soup_choice, soup_pair, soup_path, soup_point
from .styles import style_accuracies, style_grid
from .sweeps import mean_and_runs

__all__ = [
    "COLOURS",
    "STYLE",
    "use_style",
    "save",
    "image_grid",
    "before_after",
    "guesses",
    "table_bars",
    "fisher_bars",
    "alignment_bars",
    "loss_curves",
    "confusion",
    "similarities",
    "bars",
    "gradient_squares",
    "layer_choice",
    "adapter_gradients",
    "similarity_by_step",
    "accuracy_by_step",
    "pixel_grid",
    "drift",
    "alignment_curves",
    "channel_means",
    "strength",
    "teachers",
    "weight_path",
    "variations",
    "soup_path",
    "soup_pair",
    "soup_choice",
    "soup_point",
    "distance_bars",
    "score_slots",
    "dumbbells",
    "grouped_bars",
    "neighbour_grid",
    "embedding_map",
    "spread",
    "score_strips",
    "fronts",
    "sensitivity",
    "style_grid",
    "style_accuracies",
    "mean_and_runs",
]
