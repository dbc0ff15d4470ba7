from reprise.report import text
from reprise.report.comparison_file import Comparison, SearchFacts
from reprise.report.render import in_order


def test_the_title_counts_and_names(study: Comparison) -> None:
    assert text.title(study) == "Three models on shop"
    study["entrants"], study["dataset"]["path"] = study["entrants"][:1], None
    assert text.title(study) == "One model on f00d"
    assert text.counted(13, "model") == "13 models"


def test_the_headline_says_what_is_shown_and_what_is_not(study: Comparison) -> None:
    drawn = in_order(study, "ndcg@10")
    assert text.headline(study, drawn, "ndcg@10") == (
        "gru 1 x 8 has the highest ndcg@10, 0.3000; no difference is shown between it and lstm 1 x 8; "
        "it is better than one other. With two seeds that is said of these weights only."
    )
    study["entrants"][1]["seeds"].append(3)
    study["verdicts"][2]["better"] = "gru 1 x 8"
    assert text.headline(study, drawn, "ndcg@10").endswith("; it is better than all others.")
    study["verdicts"] = []
    assert text.headline(study, drawn, "ndcg@10") == ""


def test_the_verdicts_on_the_leader_come_first_the_nearest_before(study: Comparison) -> None:
    said = text.verdicts(study, in_order(study, "ndcg@10"))
    assert said is not None
    assert said.first == ["No difference is shown between gru 1 x 8 and lstm 1 x 8.", "gru 1 x 8 is better."]
    assert said.others == ["lstm 1 x 8 is better."]


def test_what_correction_does_to_an_interval_is_said_where_there_is_one(study: Comparison) -> None:
    assert text.correction(study).startswith(
        "Each p is corrected for all 3 comparisons (Holm 1979). Each interval"
    )
    study["verdicts"] = study["verdicts"][:1]
    assert text.correction(study) == ""


def test_hits_in_an_example_are_marked(study: Comparison) -> None:
    (example,) = text.examples(study, in_order(study, "ndcg@10"))
    assert example.summary == "Sequence u7: Mug 3, in 3 of 3 lists"
    assert example.before == "Mug 1 \N{RIGHTWARDS ARROW} Mug 2"
    gru, lstm, popularity = example.lists
    assert gru.items == [("later", "Mug 4"), ("hit", "Mug 3"), ("", "Mug 9")]
    assert [found.place for found in (gru, lstm, popularity)] == [
        "next item at rank 2", "next item at rank 1,200", "next item no candidate",
    ]  # fmt: skip


def test_how_each_was_made(study: Comparison) -> None:
    gru, _, popularity = text.recipes(in_order(study, "ndcg@10"), "test")
    assert gru.made == "runs/gru-1-x-8-1 (seed 1), runs/gru-1-x-8-2 (seed 2)"
    assert 'metric = "ndcg@10"' in gru.text
    assert popularity.text == "baseline popularity, fitted to the events before the test part"


def test_a_search_shows_the_most_important_field_first() -> None:
    best = {
        "number": 2,
        "state": "complete",
        "value": 0.31234,
        "fields": {"model.size": 8, "model.dropout": 0.123456},
    }
    found = text.search(
        SearchFacts(
            metric="ndcg@10",
            trials=[{"number": 1, "state": "pruned", "value": 0.2, "fields": {"model.size": 4}}, best],
            best=best,
            importance={"model.size": 0.25, "training.epochs": 0.75},
            note="A hint.",
        )
    )
    assert found is not None
    assert found.sentence == (
        "Two trials on the validation part, 1 of them to the end. The best, number 2, has ndcg@10 0.3123 there: "
        "model.size 8, model.dropout 0.1235."
    )
    assert found.note == "A hint."
    assert found.bars == [("training.epochs", 100.0, "75%"), ("model.size", 33.3, "25%")]
    assert text.search(None) is None


def test_the_split_in_words() -> None:
    assert text.split({"kind": "time", "train_end_ms": 0, "valid_end_ms": 86_400_000}) == (
        "by time, validation from 1970-01-01 00:00:00 UTC, test from 1970-01-02 00:00:00 UTC"
    )
    assert text.split({"kind": "leave_one_out"}) == "by leave one out"


def test_no_verdict_has_a_reason(study: Comparison) -> None:
    assert text.no_verdicts(study).startswith("No intervals were made")
    study["entrants"] = study["entrants"][:1]
    assert text.no_verdicts(study) == "One model alone is not compared with anything."


def test_sentences_are_typeset() -> None:
    assert text.typeset("a-b is better (-0.0039 [-1, +2], p < 0.01); p = 0.9, gap 1-2") == (
        "a-b is better (\N{MINUS SIGN}0.0039 [\N{MINUS SIGN}1, +2], p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}0.01); "
        "p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.9, gap 1-2"
    )
