"""What every section of a configuration is.

A key's description reads "type and range (meaning)": it is the "expected ..." of every error about the key.
A key without a usable default has an example, which the error shows too.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """Frozen, refuses unknown keys and converts nothing, except int to float and list to tuple."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
