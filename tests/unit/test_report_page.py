"""A page that is safe to publish makes no request; anything that could is found."""

import base64

import pytest

from harness.report.page import POLICY, harden, outside_requests

GOOD = f'<html><head><meta http-equiv="Content-Security-Policy" content="{POLICY}"></head><body>{{}}</body></html>'

ALLURE = """<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>
<script async src="https://www.googletagmanager.com/gtag/js?id=G-LNDJ3J7WT0"></script>
<script>
    window.dataLayer = window.dataLayer || [];
    function gtag(){dataLayer.push(arguments);}
    gtag('config', 'G-LNDJ3J7WT0', {});
</script>
<script>d("data/results.json", "eyJ4Ijo3fQ==")</script></body></html>"""


def data(kind, code):
    return f"data:{kind};base64,{base64.b64encode(code.encode()).decode()}"


def test_analytics_are_found_and_taken_out_and_the_results_stay():
    assert any("googletagmanager" in found for found in outside_requests(ALLURE))
    assert outside_requests(harden(ALLURE)) == []
    assert "eyJ4Ijo3fQ==" in harden(ALLURE)


def test_a_page_without_policy_is_refused():
    assert outside_requests("<html><head><script>1</script></head></html>")


def test_a_policy_behind_a_script_is_refused():
    assert outside_requests(f"<script>1</script>{GOOD}")


def test_a_weaker_policy_is_refused():
    assert outside_requests(GOOD.replace("default-src 'none'", "default-src *"))


@pytest.mark.parametrize(
    "element",
    [
        '<img src="http://out.test/x.png">',
        '<img srcset="//out.test/x.png 2x">',
        '<img src="x.png">',
        '<link rel="preconnect" href="https://out.test">',
        '<iframe src="https://out.test"></iframe>',
        '<form action="https://out.test"></form>',
        '<a href="#x" ping="https://out.test">x</a>',
        '<div style="background: url(https://out.test/x)"></div>',
        "<style>@import 'https://out.test/x.css'</style>",
        '<meta http-equiv="refresh" content="0; url=https://out.test">',
        '<svg><image xlink:href="https://out.test/x"/></svg>',
        "<script>gtag('event')</script>",
        f'<script src="{data("text/javascript", "fetch(`https://out.test/beacon`)")}"></script>',
        f'<link rel="stylesheet" href="{data("text/css", "a { background: url(https://out.test/x) }")}">',
        '<script src="data:text/javascript;base64,%%%"></script>',
    ],
)
def test_whatever_would_ask_somebody_is_found(element):
    assert outside_requests(GOOD.format(element))


@pytest.mark.parametrize(
    "element",
    [
        '<a href="https://example.test/doc">a link to click</a>',
        '<img src="data:image/png;base64,AAAA">',
        '<svg xmlns="http://www.w3.org/2000/svg"><use href="#i"/></svg>',
        f'<script src="{data("text/javascript", "x.createElementNS(`http://www.w3.org/2000/svg`, 1)")}"></script>',
        '<script>d("data/attachments/1.txt", "aHR0cDovL2V2aWwudGVzdA==")</script>',
    ],
)
def test_what_asks_nobody_is_left_in_peace(element):
    assert outside_requests(GOOD.format(element)) == []
