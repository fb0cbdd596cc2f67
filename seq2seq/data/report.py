"""What was kept of a corpus, and what was dropped and why."""

from dataclasses import dataclass

from seq2seq.errors import UserError


@dataclass(frozen=True)
class Report:
    """Counts of the pairs of a corpus that were kept and dropped; as a string, the line that a log shows."""

    kept: int
    blank: int
    too_long: int
    max_length: int  # tokens of a side, at most
    cleaned: int = 0  # pairs, kept or not, in which `is_broken` found a character

    def __add__(self, other: "Report") -> "Report":
        kept, blank, too_long = self.kept + other.kept, self.blank + other.blank, self.too_long + other.too_long
        return Report(kept, blank, too_long, self.max_length, self.cleaned + other.cleaned)

    def must_keep_a_pair(self) -> None:
        """Raise UserError if no pair is left."""
        if not self.kept:
            raise UserError(f"no sentence pair is left: {self}; raise data.max_length or check the corpus")

    def __str__(self) -> str:
        read = self.kept + self.blank + self.too_long
        dropped = f"dropped {self.blank:,} blank and {self.too_long:,} longer than {self.max_length:,} tokens"
        cleaned = f"; cleaned {self.cleaned:,} with control or broken characters" if self.cleaned else ""
        return f"kept {self.kept:,} of {read:,} pairs; {dropped}{cleaned}"
