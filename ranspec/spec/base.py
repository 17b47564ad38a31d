"""What every part of the spec language shares: strictness, and the types of its values."""

from __future__ import annotations

from collections.abc import Iterator
from keyword import iskeyword
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


def _not_reserved(name: str) -> str:
    if iskeyword(name):
        raise ValueError(f"{name!r} is a keyword of Python; choose another name")
    return name


def _printable(text: str) -> str:
    """Refuse control characters other than newlines: texts end up in docstrings."""
    for line in text.split("\n"):
        if not line.isprintable():
            odd = next(character for character in line if not character.isprintable())
            raise ValueError(f"character U+{ord(odd):04X} cannot be printed; remove it")
    return text


IDENTIFIER = "^[a-z][a-z0-9_]*$"
Identifier = Annotated[str, Field(pattern=IDENTIFIER, max_length=64), AfterValidator(_not_reserved)]
Count = Annotated[int, Field(ge=0, le=1000)]
Positive = Annotated[int, Field(ge=1, le=65536)]
Size = Annotated[int, Field(ge=1, le=4096)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Rate = Annotated[float, Field(gt=0.0, le=1e3)]
Text = Annotated[str, Field(max_length=2000), AfterValidator(_printable)]


class Model(BaseModel):
    """A strict, immutable, hashable part of a spec."""

    number_keys: ClassVar[tuple[str, ...]] = ()
    """The keys that a bare number stands for, where one may be written for the whole part."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, data: Any) -> Any:
        """Take lists for tuples, and a part without `kind` to be of its default's kind."""
        if not isinstance(data, dict):
            return data
        data = {key: tuple(item) if isinstance(item, list) else item for key, item in data.items()}
        for name, field in cls.model_fields.items():
            if field.discriminator and hasattr(field.default, "kind"):
                part = data.get(name)
                if isinstance(part, dict):
                    data[name] = {"kind": field.default.kind, **part}
        return data


class Whole(Model):
    """A whole file of the language, whose parts are to agree."""

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        """Raise `spec_problems`, whose context lists (path, message) pairs."""
        problems = tuple(self._disagreements())
        if problems:
            text = "; ".join(f"{'.'.join(path)}: {message}" for path, message in problems)
            context = {"problems": problems, "text": text}
            raise PydanticCustomError("spec_problems", "{text}", context)
        return self

    def _disagreements(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield where parts do not agree, as a path of keys, and what is wrong there."""
        raise NotImplementedError
