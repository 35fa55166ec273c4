"""What a model's tokens cost, as the operator states it: prices change too often to be written into the code."""

from dataclasses import dataclass

from core.settings import ModelSettings


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, which is also millionths of a dollar per token."""

    input_usd_per_million: float = 0.0
    output_usd_per_million: float = 0.0

    def cost_usd_micros(self, *, tokens_in: int, tokens_out: int) -> int:
        """What so many tokens cost, in millionths of a US dollar."""
        return round(tokens_in * self.input_usd_per_million + tokens_out * self.output_usd_per_million)


FREE = Price()


def price_of(settings: ModelSettings) -> Price:
    """The price of the model that answers; nothing where the operator states none."""
    return Price(settings.input_usd_per_million, settings.output_usd_per_million)
