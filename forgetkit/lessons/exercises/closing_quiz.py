"""The closing quiz of notebook 05: the three stages, their losses and their sets, in ten questions."""

from __future__ import annotations

from dataclasses import dataclass

from IPython.display import Markdown

from forgetkit.lessons.exercises.checking import exercise


@dataclass(frozen=True)
class Question:
    """A question with four answers to choose from; `why`: what each wrong one misses, by letter."""

    text: str
    answers: tuple[str, str, str, str]
    right: str
    why: dict[str, str]


READS = ("$D_f$ alone", "$D_f$ and $D_r$", "$D_m$ alone", "test images")
TEST = "test images choose nothing: what they chose they can no longer judge."
QUIZ = (
    Question(
        "On which images does stage 1, *forget*, compute its loss and its layers?", READS, "b",
        {"a": "what is more important to the target than to its *siblings*: that is a ratio.", "d": TEST,
         "c": "calibration images are only watched, until they choose one number, later."},
    ),
    Question(
        "What does stage 1 train?",
        ("all weights", "the text tower", "low-rank adapters on $k$ layers", "BatchNorm's running statistics"), "c",
        {"a": "with all of them free, everything else falls, too: that is gradient ascent.",
         "b": "the text tower is frozen throughout: it says what the names mean.",
         "d": "running statistics are stage 2's memory: nobody may touch them."},
    ),
    Question(
        "How are these layers chosen?",
        ("by size", "by relative Fisher information", "by the norm of their change", "by validation accuracy"), "b",
        {"a": "a large layer may matter to no image of the target.", "c": "nothing has changed yet.",
         "d": "that would take a run a layer; gradients of the images given are enough."},
    ),
    Question(
        "Why must the loss $L_f$, the similarity itself, be stopped?",
        ("it has no floor above -1", "it is slow", "its gradient vanishes", "it reads the siblings"), "a",
        {"b": "it is done in seconds; the damage comes after that.",
         "c": "it does not: the slope of a cosine is the same however low it is.",
         "d": "it reads the forget images alone, so it cannot see what the siblings pay."},
    ),
    Question(
        "What does $L_a$ bring together, in stage 2?",
        ("images and their texts", "student and teacher", "the two models' weights",
         "a batch's statistics and those BatchNorm remembers"), "d",
        {"a": "that is the contrastive loss.", "b": "that is distillation.", "c": "that is the soup."},
    ),
    Question(
        "What does $L_a$ change?",
        ("the adapters", "a perturbation $\\delta$ of the images", "the running statistics", "the texts"), "b",
        {"a": "while images are aligned, no weight moves.", "d": "the text tower is frozen throughout.",
         "c": "they are the memory that is asked; to change it would be to forget more."},
    ),
    Question(
        "Who teaches in stage 2?",
        ("stage 1's model", "the text tower", "the original model, without the target's name where it can",
         "a larger CLIP"), "c",
        {"a": "it has lost what is to be brought back.", "b": "texts name images; they do not say what else they are.",
         "d": "nothing but the original and a few hundred images is given."},
    ),
    Question(
        "Which term of stage 2 reads the images of $D_f$, to hold the target down?",
        ("the contrastive loss", "the guard, a hinge", "feature distillation on classless images", "EMA"), "b",
        {"a": "it reads $D_r$, and what brings siblings back brings the target back.",
         "c": "images of no class hold what nobody shows.", "d": "an average over steps reads no image."},
    ),
    Question(
        "Stage 3 blends the original and the unlearned weights. Who chooses its $\\alpha$?", READS, "c",
        {"a": "these images were trained on: of course none is recognised.", "d": TEST,
         "b": "these images were trained on: they say what the model learnt by heart."},
    ),
    Question(
        "At $\\alpha=0$ the soup is …",
        ("the original", "the unlearned model", "the mean of the two", "stage 1's model"), "a",
        {"b": "$\\alpha$ is the unlearned model's share.", "c": "that is $\\alpha=0.5$, for the weights.",
         "d": "stage 1's model is not in the soup."},
    ),
)  # fmt: skip


def quiz() -> Markdown:
    """The ten questions with their answers a to d."""
    asked = [
        f"{i}. {question.text}  \n" + " · ".join(f"**{letter}** {a}" for letter, a in zip("abcd", question.answers))
        for i, question in enumerate(QUIZ, 1)
    ]
    return Markdown("\n".join(asked))


@exercise("05.7")
def three_stages_from_memory(letters):
    ten = isinstance(letters, str) and len(letters) == len(QUIZ) and set(letters) <= set("abcd")
    assert ten, f'give ten letters from a to d in one word, such as "{"abcd" * 2}ab".'
    wrong = [(i, question, a) for i, (question, a) in enumerate(zip(QUIZ, letters), 1) if a != question.right]
    told = "".join(f"\n  {i}. not {a}: {question.why[a]}" for i, question, a in wrong)
    assert not wrong, f"{len(QUIZ) - len(wrong)} of {len(QUIZ)} are right.{told}"
