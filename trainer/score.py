"""`python -m trainer.score`: a reward for every candidate of every query.

Exit codes: 0 done, 2 bad input or configuration, 130 interrupted.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from rag_embedder.errors import ConfigError
from rag_embedder.registry import unknown_name
from rag_embedder.scenario import SCENARIO_NAMES
from trainer.command import run_command
from trainer.rewards import REWARDS, Reward, RewardOptions
from trainer.rewards.protocol import AnswerRule, Normalisation, Pool, RankTies

if TYPE_CHECKING:
    from trainer.scoring import ScorePlan

app = typer.Typer(name="trainer.score", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def run(  # noqa: PLR0913  (options, by name)
    data: Annotated[Path, typer.Option(help="Mined examples: a .jsonl file or a folder of them.")],
    scenario: Annotated[str, typer.Option(help="qa, convsearch, chat, lrlm, icl or tool: chooses the template.")],
    out: Annotated[Path, typer.Option(help="Folder of shards; the same command again continues there.")],
    reward: Annotated[str, typer.Option(help="likelihood, rank_aware, labels or reranker.")] = "likelihood",
    lm: Annotated[
        str | None, typer.Option(help="Causal LM: folder, hub id, or http://host/v1 of an OpenAI-compatible server.")
    ] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Of a server's model: folder or hub id.")] = None,
    reranker: Annotated[str | None, typer.Option(help="Cross-encoder or decoder: folder or hub id.")] = None,
    template: Annotated[
        str | None, typer.Option(help="Another scenario's, qa-paper, or a .toml file; default: the scenario's.")
    ] = None,
    normalisation: Annotated[
        str, typer.Option(help="Log-probability per token (mean) or of the whole (sum).")
    ] = "mean",
    answers: Annotated[str, typer.Option(help="Several answers: draw one with the seed, max or mean.")] = "draw",
    samples: Annotated[int, typer.Option(help="rank_aware: outputs sampled per query.")] = 10,
    temperature: Annotated[float, typer.Option(help="rank_aware: of the sampling.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="rank_aware: of the sampling.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(help="rank_aware: tokens of a sampled output.")] = 64,
    pool: Annotated[
        str, typer.Option(help="rank_aware: sample once (shared) or for each candidate (separate).")
    ] = "shared",
    rank_ties: Annotated[str, typer.Option(help="rank_aware: optimistic, or mid for the mean rank.")] = "optimistic",
    candidate_tokens: Annotated[int, typer.Option(help="A candidate's first tokens that are read.")] = 512,
    max_length: Annotated[int | None, typer.Option(help="Tokens read at once; default: what the model reads.")] = None,
    batch_tokens: Annotated[int | None, typer.Option(help="Padded tokens of one pass; default: by device.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto (bfloat16 on a GPU), float32, bfloat16, float16.")] = "auto",
    seed: Annotated[int, typer.Option(help="For drawn answers and samples.")] = 0,
    shard_pairs: Annotated[
        int, typer.Option(help="Pairs of one shard: what is lost at most if the run is killed.")
    ] = 4096,
    part: Annotated[str, typer.Option(help="i/n: take every n-th shard, for n processes with one folder.")] = "0/1",
    reward_temperature: Annotated[float, typer.Option(help="Of the softmax that the report calls one-hot.")] = 1.0,
    skip_unscorable: Annotated[
        bool, typer.Option("--skip-unscorable", help="Leave out examples without an answer that the model can read.")
    ] = False,
    estimate_only: Annotated[bool, typer.Option("--estimate-only", help="Say how long it takes, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score mined candidates with a language model, a cross-encoder or labels; a killed run goes on where it was."""
    from trainer.scoring import ScorePlan

    plan = ScorePlan(
        data=data,
        scenario=scenario,
        reward=reward,
        out=out,
        shard_pairs=shard_pairs,
        part=_part(part),
        reward_temperature=reward_temperature,
        skip_unscorable=skip_unscorable,
    )
    options = RewardOptions(
        scenario=scenario,
        lm=lm,
        tokenizer=tokenizer,
        reranker=reranker,
        template=template,
        normalisation=cast(Normalisation, normalisation),
        answers=cast(AnswerRule, answers),
        samples=samples,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        pool=cast(Pool, pool),
        rank_ties=cast(RankTies, rank_ties),
        candidate_tokens=candidate_tokens,
        max_length=max_length,
        batch_tokens=batch_tokens,
        device=device,
        dtype=dtype,
        seed=seed,
    )
    if scenario not in SCENARIO_NAMES and template is None:
        raise unknown_name("scenario", scenario, [*SCENARIO_NAMES])
    built = REWARDS[reward].build(options)
    _run(plan, built, seed=seed, estimate_only=estimate_only, as_json=as_json)


def _run(plan: "ScorePlan", reward: Reward, *, seed: int, estimate_only: bool, as_json: bool) -> None:
    from tqdm import tqdm

    from evals.provenance import provenance
    from trainer.scoring import Estimate, score
    from trainer.scoring.estimate import duration
    from trainer.scoring.report import report_table

    bar = tqdm(unit=" pairs", disable=None)

    def announce(guess: Estimate) -> None:
        typer.echo(guess.text(), err=True)
        bar.reset(total=guess.num_pairs)

    def advance(pairs: int) -> None:
        bar.update(pairs)

    with bar:
        outcome = score(
            plan,
            reward,
            on_estimate=announce,
            advance=advance,
            provenance=provenance(seed, program="python -m trainer.score"),
            stops_after_estimate=estimate_only,
        )
    if outcome.num_left_out:
        typer.echo(f"left out {outcome.num_left_out:,} examples that cannot be scored", err=True)
    if as_json:
        report = outcome.report.to_json() if outcome.report is not None else None
        typer.echo(json.dumps({"out": str(plan.out), **asdict(outcome), "report": report}))
        return
    if estimate_only:
        return
    rate = outcome.num_scored_pairs / outcome.seconds if outcome.seconds else 0.0
    typer.echo(
        f"{outcome.num_scored_pairs:,} pairs scored in {duration(outcome.seconds)} ({rate:,.0f} pairs/s), "
        f"{outcome.num_kept_pairs:,} were there"
    )
    if outcome.report is None:
        typer.echo(f"{outcome.num_missing_shards} shards are missing: other parts write them.")
    else:
        typer.echo(report_table([outcome.report]))


def _part(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise ConfigError(f"part: got {text!r}; expected i/n with 0 <= i < n, such as 0/8.")
    return int(index), int(count)


def main() -> None:
    """Entry point of `python -m trainer.score`."""
    run_command(app, "score", interrupted="finished shards are kept, run the same command to go on.")


if __name__ == "__main__":
    main()
