"""Whether a run may write into its folder: it is free, or holds the same run, which is to be continued."""

from collections.abc import Callable
from pathlib import Path

from rag_embedder.errors import ConfigError

RECIPE = "recipe.toml"
"""The resolved recipe in the run's folder."""


def check_out(
    out: Path, recipe: str, *, resume: bool, fixed_part: Callable[[Path], str], may_change: tuple[str, ...]
) -> None:
    """Refuse to write over another run.

    Args:
        out: `train.out`.
        recipe: what of the recipe, as TOML, must be as it was; `fixed_part` gives the same of the recipe in a file.
        resume: whether the run in the folder is to be continued.
        fixed_part: see `recipe`.
        may_change: the keys that are not in it, for the message.

    Raises:
        ConfigError: if the folder is not empty, or to be continued and of another recipe.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not resume:
        raise ConfigError(
            f"train.out: {out} exists and is not an empty folder; expected a new path. To continue the run in it, add "
            "--resume. Nothing was written."
        )
    if not (out / RECIPE).exists():
        raise ConfigError(f"train.out: {out} has no {RECIPE}; expected the folder of a run to continue.")
    before = fixed_part(out / RECIPE)
    if before != recipe:
        changed = [line for line in recipe.splitlines() if line not in before.splitlines()]
        raise ConfigError(
            f"--resume: the recipe differs from that of the run in {out} (first: {(changed or ['a line less'])[0]}); "
            f"expected the same but for {', '.join(may_change)}. Use {out / RECIPE}, or another train.out."
        )
