"""The application: its commands, and how their errors end."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer
from typer.core import TyperGroup

from ranspec.cli.build import build
from ranspec.cli.card import card
from ranspec.cli.check import check
from ranspec.cli.compare import compare
from ranspec.cli.count import count
from ranspec.cli.explain import explain as explain_figures
from ranspec.cli.fields import fields
from ranspec.cli.list import list_names
from ranspec.cli.masks import masks
from ranspec.cli.new import new
from ranspec.cli.output import examples, message, styled
from ranspec.cli.plan import plan
from ranspec.cli.response import response
from ranspec.cli.schema import schema
from ranspec.cli.show import show
from ranspec.cli.site import site
from ranspec.cli.study import app as study
from ranspec.cli.train import train
from ranspec.cli.verify import verify
from ranspec.cli.weights import weights
from ranspec.errors import RanspecError, printable

if TYPE_CHECKING:
    from ranspec.spec import SpecError

BAD_INPUT = 2
INTERRUPTED = 130


class Commands(TyperGroup):
    """Commands whose users never see a traceback for a mistake of their own."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        prepare_streams()
        try:
            return super().main(*arguments, **settings)
        except OSError as error:  # Help that cannot be written: no command is there to tell.
            message(str(explain(error)))
            abandon(sys.stdout)
            raise SystemExit(BAD_INPUT) from None

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            abandon(sys.stdout)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            explained = explain(error)
            if explained is None:
                raise
            message(explained)
            if isinstance(error, OSError):
                abandon(sys.stdout)
            raise typer.Exit(BAD_INPUT) from None


def prepare_streams() -> None:
    """Make standard streams that can be written to, whatever the terminal and its encoding.

    A closed one takes what is written and keeps nothing; what an encoding lacks is escaped.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def abandon(stream: TextIO) -> None:
    """Leave nothing for the interpreter to flush at its end where nobody can take it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def explain(error: Exception) -> str | None:
    """Return what to tell the user of an error that is theirs to mend; none for all others."""
    if isinstance(error, OSError):
        place = printable(str(error.filename or "input or output"))
        return f"error: {place}: {error.strerror or error}"
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    if kind == "ranspec.spec.errors.SpecError":
        return cast("SpecError", error).report(color=styled(sys.stderr))
    return f"error: {error}" if isinstance(error, RanspecError) or kind in _OF_RUNS else None


_OF_RUNS = {"ranspec.runtime.checkpoint.CheckpointError", "ranspec.runtime.images.DataError"}
"""Errors of modules that stand alone: by name, so that none is imported only to be told apart."""

app = typer.Typer(
    name="ranspec",
    cls=Commands,
    help=(
        "Compile a YAML spec of a vision network into native PyTorch, TensorFlow and JAX "
        "training code, and show that all three are the same network."
    ),
    epilog=examples(
        "ranspec list",
        "ranspec count attention92_cifar",
        "ranspec build attention92_cifar --backend torch",
        "ranspec verify attention56_cifar",
        "ranspec train attention_digits --backend jax",
        "ranspec COMMAND --help",
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from ranspec import __version__

        typer.echo(f"ranspec {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Hold the options of the program itself."""


app.command(
    epilog=examples(
        "ranspec new my_network",
        "ranspec new my_network --from attention56_cifar",
        "ranspec new my_network --from attention56_cifar -o networks/my_network.yaml",
    )
)(new)
app.command(
    epilog=examples(
        "ranspec build attention92_cifar --backend torch",
        "ranspec build my_network.yaml --all-backends -o out",
        "ranspec build attention92_cifar -b jax --set attention.activation=spatial",
        "ranspec build attention92_cifar --all-backends --check --diff",
    )
)(build)
app.command(
    epilog=examples(
        "ranspec count attention56_imagenet",
        "ranspec count attention56_cifar attention92_cifar attention164_cifar",
        "ranspec count attention56_imagenet --by block --input 320x320",
        "ranspec count attention56_imagenet --convention caffe --convention fvcore",
        "ranspec count attention56_cifar --format json",
        "ranspec count --paper --format markdown",
    )
)(count)
app.command(
    "explain",
    epilog=examples(
        "ranspec explain attention452_cifar --parameters 8.6M",
        "ranspec explain attention92_imagenet --parameters 51.3M --macs 10.4G",
        "ranspec explain attention452_cifar --parameters 8.6M --vary attention.r=[1,2,3]",
        "ranspec explain attention92_cifar attention236_cifar attention452_cifar",
    ),
)(explain_figures)
app.command(
    epilog=examples(
        "ranspec show attention92_cifar",
        "ranspec show attention92_cifar --origins",
        "ranspec show attention92_cifar --set attention.learning=naive --format json",
    )
)(show)
app.command(
    epilog=examples(
        "ranspec check my_network.yaml",
        "ranspec check specs/*.yaml --strict",
        "ranspec check - --format json < my_network.yaml",
    )
)(check)
app.command("list", epilog=examples("ranspec list", "ranspec list backends"))(list_names)
app.command(epilog=examples("ranspec schema", "ranspec schema -o schema.json"))(schema)
app.command(
    epilog=examples(
        "ranspec verify attention56_cifar",
        "ranspec verify attention56_cifar --backend torch --backend jax --steps 5",
        "ranspec verify attention56_cifar --dtype float32 --format json",
    )
)(verify)
app.command(
    epilog=examples(
        "ranspec train attention_digits --backend jax",
        "ranspec train attention_digits --backend torch -- --help",
        "ranspec train attention_digits --backend torch -- --seed 1",
    )
)(train)
app.command(
    epilog=examples(
        "ranspec compare runs/attention_digits/torch runs/attention_digits/jax",
        "ranspec compare runs/attention_digits/* -o curves.svg",
        "ranspec compare runs/attention_digits/* --tolerance 1e-9 --format json",
    )
)(compare)
app.command(
    epilog=examples(
        "ranspec masks attention_digits --weights runs/attention_digits/torch --images *.png",
        "ranspec masks attention56_imagenet cat.jpg --weights best.safetensors --module stage1",
        "ranspec masks attention56_imagenet cat.jpg --channels 0,5 -o pictures",
    )
)(masks)
app.command(
    epilog=examples(
        "ranspec response attention_digits --weights runs/attention_digits/torch",
        "ranspec response attention_digits --against-weights runs/naive -o response.svg",
        "ranspec response attention56_cifar --against attention56_nal_cifar --data-dir DIR",
        "ranspec response attention_digits --format csv --count 100",
    )
)(response)
app.command(
    epilog=examples(
        "ranspec fields attention56_imagenet",
        "ranspec fields attention56_imagenet --image cat.jpg --at 60,120 -o fields.png",
    )
)(fields)
app.command(
    epilog=examples(
        "ranspec weights attention56_cifar --seed 0",
        "ranspec weights attention56_cifar -o initial.safetensors --force",
    )
)(weights)
app.command(
    epilog=examples(
        "ranspec card attention92_cifar",
        "ranspec card my_network.yaml -o my_network.html",
        "ranspec card attention56_cifar --set attention.activation=spatial",
    )
)(card)
app.command(
    epilog=examples(
        "ranspec plan attention92_imagenet --device h100 --devices 8 --batch 256",
        "ranspec plan attention92_cifar --device rtx4090 --precision tf32",
        "ranspec plan attention56_cifar --measure",
        "ranspec plan attention92_imagenet --device my_device.yaml --format json",
        "ranspec plan --study wang2017_table1 --device a100-40 --devices 4",
    )
)(plan)
app.command(
    epilog=examples(
        "ranspec site",
        "ranspec site -o docs/site",
        "ranspec site attention56_cifar attention92_cifar my_network.yaml",
    )
)(site)
app.add_typer(study)
