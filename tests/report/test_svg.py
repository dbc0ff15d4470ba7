from reprise.report.svg import Series, dot, path, picture, tag, word


def test_text_and_attributes_are_escaped() -> None:
    assert word("<b>", 1, 2.25) == '<text x="1" y="2.2">&lt;b&gt;</text>'
    assert tag("g", aria_label='"><script>') == '<g aria-label="&#34;&gt;&lt;script&gt;"></g>'
    assert (
        tag("text", tag("tspan", "a & b"), class_="head")
        == '<text class="head"><tspan>a &amp; b</tspan></text>'
    )


def test_an_attribute_without_a_value_is_left_out() -> None:
    assert tag("text", "a", class_=None) == "<text>a</text>"


def test_a_picture_says_what_it_shows() -> None:
    drawn = picture([path([(0, 1), (2, 3.14)], "curve s0")], "loss & time", width=10, height=20)
    assert drawn == (
        '<svg viewBox="0 0 10 20" class="plot" role="img" aria-label="loss &amp; time">'
        '<polyline points="0.0,1.0 2.0,3.1" class="curve s0"></polyline></svg>'
    )


def test_baselines_are_hollow_and_a_colour_that_comes_again_is_a_square() -> None:
    assert Series("a", 2, baseline=True).css == "s2 hollow"
    assert Series("a", 9, baseline=False).css == "s1 again"
    assert "<circle" in dot(0, 0, Series("a", 7, baseline=False), "")
    assert "<rect" in dot(0, 0, Series("a", 8, baseline=False), "")
