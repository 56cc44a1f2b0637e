"""What every section of a configuration is.

A key's description reads "type and range (meaning)": it is the "expected ..." of every error about the key.
A key without a usable default has an example, which the error shows too.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]


def _no_word_for_null(text: str) -> str:
    if text.lower() in ("no", "off", "none", "false"):  # which YAML 1.2 takes for names
        raise ValueError(f"write null, or './{text}' where it is the name of a folder")
    return text


TextOrNull = Annotated[Text, AfterValidator(_no_word_for_null)] | None


class Section(BaseModel):
    """Frozen, refuses unknown keys and converts nothing, except int to float and list to tuple."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
