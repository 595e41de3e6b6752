"""The explanations of the metrics, as a terminal and the docs get them."""

from holderpo.metrics import METRICS, main, metrics_table


def test_a_terminal_gets_every_word_in_80_columns(capsys):
    main([])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    words = " ".join(shown.split())
    for metric in METRICS:
        assert f"{metric.name} ({metric.unit}) {metric.reduction}. Healthy: " in words
        assert f"{metric.healthy}. Otherwise {metric.bad_means}." in words


def test_markdown_is_the_table_of_the_docs(capsys):
    main(["--markdown"])
    assert capsys.readouterr().out == metrics_table() + "\n"
