"""How far a participant's worker is, and the losses that it told on the way: what a page draws while it runs."""

from __future__ import annotations

from parties.service.messages import Progress

MOST_LOSSES = 400  # points that are kept of a curve; of more every other one is left out


class Course(Progress):
    """The newest progress, and every loss so far, or every second, or fourth."""

    losses: tuple[tuple[int, float], ...] = ()  # iteration and mean training loss, in order

    @classmethod
    def after(cls, message: Progress, before: Course | None) -> Course:
        """The course with one more message; of one iteration the last loss counts."""
        losses = before.losses if before else ()
        if message.loss is not None:
            earlier = tuple(each for each in losses if each[0] < message.iteration)
            losses = (*earlier, (message.iteration, message.loss))
        if len(losses) > MOST_LOSSES:
            losses = (*losses[:-1:2], losses[-1])
        return cls(**message.model_dump(), losses=losses)
