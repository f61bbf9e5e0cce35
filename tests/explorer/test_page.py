"""The page in a real browser: what it computes is the library's, and what lights up belongs together.

Kernels are powers of two, so that every entry of a dense matrix tells by its bits which taps it is the sum of.
"""

import os
import shutil

import numpy as np
import pytest

import convmtx as cm

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
if CHROMIUM is None:
    pytest.skip("no Chromium; $CHROMIUM names one", allow_module_level=True)

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as run:
        started = run.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Open the page of a map; at the end nothing was complained of, and nothing but the file was asked for."""
    contexts, troubles, requests = [], [], []

    def show(op, width=1280, **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(cm.explore(op, tmp_path / "page.html").as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert troubles == []
    assert requests == [(tmp_path / "page.html").as_uri()] * len(contexts)


def powers(*shape):
    return 2 ** np.arange(np.prod(shape)).reshape(shape)


def agrees(page, op, kernel=None):
    """The page shows the matrix of ``op``, its outputs, and a call that makes it."""
    assert np.array_equal(np.array(page.evaluate("convmtx.matrix()")), op.to_dense())
    x = np.array(page.evaluate("convmtx.input()")).reshape(op.in_shape)
    assert x.any()
    assert np.array_equal(np.array(page.evaluate("convmtx.output()")).reshape(op.out_shape), op(x))
    call = page.inner_text("#call")
    made = eval(call, {"cm": cm, "K": op.kernel if kernel is None else kernel})
    assert (made.in_shape, made.out_shape) == (op.in_shape, op.out_shape), call
    assert np.array_equal(made.to_dense(), op.to_dense()), call


# Settings

P = powers
PLAIN, LINE = (P(3, 3), (6, 5)), (P(3), 8)
LAST, FIRST = (P(2, 2, 2, 3), (4, 5, 2)), (P(4, 1, 2, 2), (2, 3, 4))
BASES = {
    "plain": (cm.conv, *PLAIN, {}, [
        {"stride": 2}, {"stride": (1, 3)}, {"dilation": 2}, {"dilation": (2, 1), "padding": "same"},
        {"padding": "same"}, {"padding": "full"}, {"padding": 2}, {"padding": [(0, 1), (3, 0)]},
        {"padding": [(-1, 0), (0, -2)]}, {"padding": "same", "boundary": "wrap"},
        {"padding": "same", "boundary": "reflect"}, {"padding": 9, "boundary": "reflect"},
        {"padding": "full", "boundary": "symmetric"}, {"padding": 8, "boundary": "symmetric", "stride": 3},
        {"padding": "same", "boundary": "edge", "dilation": 2}, {"padding": 2, "boundary": ("wrap", "edge")},
        {"padding": "same", "boundary": ("zero", "reflect"), "stride": (2, 1)}, {"flip": True},
        {"flip": True, "padding": "full", "stride": 2}, {"input_dilation": 2, "padding": "same"},
        {"input_dilation": (3, 1), "stride": (2, 1), "dilation": (1, 2), "padding": 1, "boundary": "wrap"},
        {"shape": (3, 12)}, {"shape": (1, 1), "padding": 4, "boundary": "reflect"},
        {"shape": (2, 2), "padding": "full"},
    ]),
    "line": (cm.conv, *LINE, {}, [
        {"stride": 3}, {"padding": "same", "boundary": "wrap"}, {"padding": "full", "flip": True},
        {"padding": [(5, 1)], "boundary": "symmetric"}, {"shape": 20, "dilation": 4}, {"shape": 1, "padding": 3},
        {"shape": 3, "padding": 7, "boundary": "edge"}, {"input_dilation": 4, "padding": "same", "stride": 3},
    ]),
    "even": (cm.conv, P(2, 4), (5, 4), {}, [{"padding": "same"}, {"padding": "same_lower", "flip": True}]),
    "last": (cm.conv, *LAST, {}, [
        {}, {"stride": 2, "padding": "same"}, {"padding": "same_lower", "boundary": "reflect", "flip": True},
        {"shape": (3, 3, 2), "dilation": 2, "padding": "full", "boundary": "wrap"},
    ]),
    "first, groups": (cm.conv, *FIRST, {"groups": 2, "channels": "first"}, [
        {}, {"padding": "same", "boundary": "symmetric"}, {"stride": (1, 2), "flip": True, "input_dilation": 2},
    ]),
    "line, depthwise": (cm.conv, P(3, 1, 4), (6, 4), {"groups": 4}, [{"stride": 2, "padding": 1}, {"flip": True}]),
    "transposed": (cm.conv_transpose, P(3, 2), (3, 4), {}, [
        {"stride": 2}, {"stride": (3, 2), "padding": "same"}, {"padding": "full", "shape": (5, 5)}, {"padding": 1},
        {"stride": 2, "dilation": 2, "padding": [(1, 0), (-1, 2)], "flip": True},
        {"stride": 3, "padding": "same_lower", "dilation": (1, 2)},
    ]),
    "transposed, groups": (cm.conv_transpose, P(4, 1, 2, 2), (4, 3, 2), {"groups": 2, "channels": "first"}, [
        {"stride": 2}, {"stride": (1, 2), "padding": 1, "shape": (4, 3, 3)}, {"flip": True},
    ]),
}  # fmt: skip


def change(page, op, settings):
    """Bring a page to the settings of a map as a person would: with sliders, lists and boxes."""
    d = len(op.geometry.axes)
    each = {name: value if isinstance(value, tuple) else (value,) * d for name, value in settings.items()}
    padding = settings.get("padding", "valid")
    pads = (
        [(padding, padding)] * d if isinstance(padding, int) else [padding] * d if isinstance(padding, str) else padding
    )

    def put(name, value):
        control = page.locator(f"[name={name}]")
        if control.input_value() != str(value):
            control.select_option(value) if name.endswith(("boundary", "padding")) else control.fill(str(value))

    page.set_checked("[name=flip]", settings.get("flip", False))
    if d > 1:
        page.set_checked("[name=alike]", all(len(set(map(str, value))) == 1 for value in [*each.values(), pads]))
    for j, axis in enumerate(op.geometry.axes):
        put(f"axis{j}-size", axis.size)
    for j in range(d):
        if not page.is_visible(f"[name=axis{j}-stride]"):
            continue
        for name in ("stride", "dilation", "input_dilation"):
            put(f"axis{j}-{name}", each.get(name, (1, 1))[j])
        put(f"axis{j}-boundary", each.get("boundary", ("zero", "zero"))[j])
        if isinstance(pads[j], str):
            put(f"axis{j}-padding", pads[j])
        else:
            put(f"axis{j}-lo", pads[j][0])
            put(f"axis{j}-hi", pads[j][1])


def test_the_table_is_long_enough():
    assert sum(len(table) for *_, table in BASES.values()) >= 40


@pytest.mark.parametrize("base", BASES)
def test_settings_give_the_maps_of_the_library(opened, base):
    make, kernel, shape, fixed, table = BASES[base]
    page = opened(make(kernel, shape, **fixed))
    for given in table:
        settings = dict(given)
        op = make(kernel, settings.pop("shape", shape), **fixed, **settings)
        change(page, op, settings)
        agrees(page, op)


@pytest.mark.parametrize("base", BASES)
def test_a_page_begins_with_its_map(opened, base):
    make, kernel, shape, fixed, table = BASES[base]
    for given in table[::4]:
        settings = dict(given)
        op = make(kernel, settings.pop("shape", shape), **fixed, **settings)
        agrees(opened(op), op)
        if all(axis.zero_outside for axis in op.geometry.axes):
            agrees(opened(op.T), op.T)


@pytest.mark.parametrize("groups", [1, 2])
def test_transpose_on_a_circle(opened, groups):
    """Which is a convolution on a circle too, of the kernel reversed and its channels swapped."""
    K = powers(4, 4 // groups, 3)
    op = cm.conv(K, (4, 5), padding=[(2, 0)], boundary="wrap", channels="first", groups=groups)
    own = K.reshape(groups, 4 // groups, 4 // groups, 3).swapaxes(1, 2).reshape(K.shape)[..., ::-1]
    page = opened(op.T)
    agrees(page, op.T, own)
    assert "K is its own kernel" in page.inner_text("#geometry")


def test_settings_that_make_no_map(opened):
    op = cm.conv(powers(3, 3), (4, 4))
    page = opened(op)
    page.fill("[name=axis0-dilation]", "2")
    said = page.inner_text("#message")
    assert said.startswith("The kernel does not fit along axis 0: it spans 5 positions, and the padded input has 4.")
    assert page.evaluate("[convmtx.matrix(), convmtx.output()]") == [None, None]
    assert page.input_value("[name=axis0-padding]") == "valid"
    page.fill("[name=axis0-lo]", "")
    assert page.inner_text("#message") == "Padding wants two whole numbers, before and after."
    page.fill("[name=axis0-lo]", "1")
    assert not page.is_visible("#message")
    agrees(page, cm.conv(powers(3, 3), (4, 4), dilation=2, padding=[(1, 0)] * 2))
    page.fill("[name=axis0-lo]", "2000")
    assert "up to 1024 of each are drawn" in page.inner_text("#message")
    page.select_option("[name=axis0-padding]", "valid")
    assert page.input_value("[name=axis0-lo]") == "0"
    assert "does not fit" in page.inner_text("#message")


def test_transposed_settings_that_make_no_map(opened):
    page = opened(cm.conv_transpose([1, 2, 4], 2))
    page.fill("[name=axis0-lo]", "4")
    assert page.inner_text("#message") == "There would be 0 outputs along the axis: cut less with padding."


# Pointing


def lit(page):
    """What is lit, as {(kind, id)}, without the corners of the matrix where x and y are shown once more."""
    cells = page.evaluate("[...document.querySelectorAll('.lit')].map((cell) => [cell.dataset.kind, +cell.dataset.id])")
    return {tuple(cell) for cell in cells}


def colours(page, picture, kind, index):
    """The taps whose colours a cell has."""
    paints = page.locator(f"#{picture} [data-kind={kind}][data-id='{index}'] .paint")
    return [int(name.split()[1][1:]) for name in paints.evaluate_all("all => all.map((p) => p.getAttribute('class'))")]


def taps_in(entry):
    return [tap for tap in range(int(entry).bit_length()) if int(entry) >> tap & 1]


def belonging(op, kind, index):
    """What belongs to a cell, told by the dense matrix."""
    D = op.to_dense()
    entries = np.stack(np.nonzero(D), axis=1)
    if kind == "entry":
        r, c = divmod(index, D.shape[1])
        chosen = [(r, c)] if D[r, c] else []
        found = {("entry", index)} if D[r, c] else set()
        found |= {("output", r), ("input", c)}
    else:
        sides = {"output": lambda r, c: {r}, "input": lambda r, c: {c}, "tap": lambda r, c: taps_in(D[r, c])}  # noqa: ARG005
        chosen = [(int(r), int(c)) for r, c in entries if index in sides[kind](r, c)]
        found = {(kind, index)}
    for r, c in chosen:
        found |= {("entry", r * D.shape[1] + c), ("output", r), ("input", c)}
        found |= {("tap", index)} if kind == "tap" else {("tap", tap) for tap in taps_in(D[r, c])}
    return found


POINTED = {
    "valid": cm.conv(powers(3, 3), (5, 4)),
    "folded": cm.conv(powers(2, 3), (3, 3), padding="full", boundary="reflect"),
    "strided": cm.conv(powers(3), 9, stride=4, padding=[(1, 1)]),
    "channels": cm.conv(powers(2, 2, 2, 3), (3, 3, 2), padding="same", boundary="edge"),
    "groups": cm.conv(powers(4, 1, 2), (2, 5), groups=2, channels="first", flip=True),
    "transposed": cm.conv_transpose(powers(3, 3), (2, 3), stride=2, padding=1),
}


@pytest.mark.parametrize("name", POINTED)
def test_pointing_lights_what_belongs_together(opened, name):
    op = POINTED[name]
    page = opened(op)
    D = op.to_dense()
    cells = {"kernel": ("tap", op.kernel.size), "input": ("input", D.shape[1]), "output": ("output", D.shape[0])}
    for picture, (kind, count) in cells.items():
        for index in np.unique(np.linspace(0, count - 1, 5, dtype=int)):
            page.hover(f"#{picture} [data-id='{index}']")
            assert lit(page) == belonging(op, kind, index), (kind, index)
            page.hover("h1")
    for r, c in np.argwhere(D)[:: max(1, np.count_nonzero(D) // 6)]:
        index = int(r * D.shape[1] + c)
        page.hover(f"#matrix [data-kind=entry][data-id='{index}']")
        assert lit(page) == belonging(op, "entry", index)
        assert sorted(colours(page, "input", "input", c)) == taps_in(D[r, c])
        assert sorted(colours(page, "output", "output", r)) == taps_in(D[r, c])
        assert sorted(colours(page, "matrix", "entry", index)) == taps_in(D[r, c])


def test_the_window_has_the_colours_of_its_taps(opened):
    op = POINTED["folded"]
    page, D = opened(op), op.to_dense()
    for r in range(D.shape[0]):
        page.hover(f"#output [data-id='{r}']")
        for c in range(D.shape[1]):
            assert sorted(colours(page, "input", "input", c)) == taps_in(D[r, c])


def test_pointing_where_the_matrix_is_empty(opened):
    op = cm.conv(powers(3, 3), (5, 4))
    page = opened(op)
    x = page.locator("#matrix [data-kind=input][data-id='19']").bounding_box()
    y = page.locator("#matrix [data-kind=output][data-id='0']").bounding_box()
    page.mouse.move(x["x"] + x["width"] / 2, y["y"] + y["height"] / 2)
    assert lit(page) == {("output", 0), ("input", 19)}
    assert page.inner_text("#sentence") == "y[0, 0] does not read x[4, 3]: entry 0, 19 is 0"


def test_everything_that_is_lit_looks_it(opened):
    """Not by colour alone: lit cells have a frame, and the matrix fades around them."""
    page = opened(cm.conv(powers(3, 3), (5, 4)))
    page.hover("#kernel [data-id='4']")
    assert page.locator(".lit").count() == page.locator(".lit .frame").count() > 0
    assert page.locator(".frame").count() == page.locator(".lit").count()
    faded = page.locator("#matrix [data-kind=entry]:not(.lit)").first
    assert float(faded.evaluate("cell => getComputedStyle(cell).opacity")) < 0.5
    fills = page.locator("#kernel .paint").evaluate_all("all => all.map((p) => getComputedStyle(p).fill)")
    assert len(set(fills)) == 9


def said_at(page, selector):
    page.hover(selector)
    return page.inner_text("#sentence")


def test_sentences(opened):
    page = opened(cm.conv([[1, -1, 0], [2.5, 0, 7]], (5, 6)))
    x = np.array(page.evaluate("convmtx.input()")).reshape(5, 6)
    assert said_at(page, "#matrix [data-kind=entry][data-id='346']") == (
        "y[2, 3] reads x[2, 4] through K[0, 1] = -1 (entry 11, 16)"
    )
    assert said_at(page, "#kernel [data-id='1']") == (
        "K[0, 1] = -1 joins 16 pairs: y[0, 0] reads x[0, 1], y[0, 1] reads x[0, 2], y[0, 2] reads x[0, 3], …"
    )
    assert said_at(page, "#input [data-id='6']") == (
        f"x[1, 0] = {x[1, 0]} is read by 2 outputs: y[0, 0], y[1, 0] (column 6 of W)"
    )
    (a, b, c), (d, e, f) = x[1:3, 0:3]
    assert said_at(page, "#output [data-id='4']") == (
        f"y[1, 0] = 1·{a} - 1·{b} + 0·{c} + 2.5·{d} + 0·{e} + 7·{f} = {a - b + 2.5 * d + 7 * f:g}, row 4 of W times x"
    )
    page.hover("h1")
    assert page.inner_text("#sentence").startswith("y[2, 2] = ")  # where the page began, until something is chosen


def test_sentences_of_folded_and_missing_taps(opened):
    page = opened(cm.conv([1, 2, 4], 3, padding=[(2, 0)], boundary="edge"))
    entry = "#matrix [data-kind=entry][data-id='0']"
    assert said_at(page, entry) == "y[0] reads x[0] through K[0] + K[1] + K[2] = 1 + 2 + 4 = 7 (entry 0, 0)"
    page.select_option("[name=axis0-boundary]", "zero")
    assert said_at(page, "#output [data-id='0']").endswith("row 0 of W times x; 2 taps read nothing here")


def test_channels_and_numbers_that_are_none(opened):
    page = opened(cm.conv([[[np.nan]], [[np.inf]]], (2, 1)))
    assert page.locator("#kernel text:not(.label)").all_text_contents() == ["NaN", "inf"]
    assert said_at(page, "#kernel [data-id='1']") == "K[1, 0, 0] = inf joins 1 pair: y[0, 0] reads x[1, 0]"
    assert "NaN" in page.locator("#output [data-id='0'] text").text_content()


# Without a mouse


def test_keys(opened):
    op = cm.conv(powers(3, 3), (5, 4))
    page = opened(op)
    for picture, kind in (("kernel", "tap"), ("input", "input"), ("output", "output")):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == picture
        assert lit(page) == belonging(op, kind, 0)
        assert page.locator(f"#{picture}").evaluate("box => getComputedStyle(box).outlineStyle") == "solid"
    for key, index in (("ArrowDown", 2), ("ArrowRight", 3), ("ArrowRight", 3), ("Home", 2), ("End", 3), ("ArrowUp", 1)):
        page.keyboard.press(key)
        assert lit(page) == belonging(op, "output", index), key
    page.keyboard.press("Escape")
    assert lit(page) == set()
    page.focus("#matrix")
    page.keyboard.press("ArrowRight")
    assert lit(page) == belonging(op, "entry", 1)
    page.keyboard.press("ArrowUp")
    assert lit(page) == belonging(op, "input", 1)
    page.mouse.move(1, 1)  # what the keys chose stays
    assert lit(page) == belonging(op, "input", 1)


def test_what_a_screen_reader_is_told(opened):
    page = opened(cm.conv(powers(2, 3), (4, 5)))
    for name, label, rows, columns in (
        ("kernel", "kernel, 2 by 3", 2, 3),
        ("input", "input, 4 by 5", 4, 5),
        ("output", "output, 3 by 3", 3, 3),
        ("matrix", "matrix, 9 by 20, below the input and beside the output", 10, 21),
    ):
        grid = page.get_by_role("grid", name=label, exact=True)
        assert grid.get_attribute("id") == name
        assert grid.get_attribute("aria-rowcount") == str(rows)
        assert grid.get_attribute("aria-colcount") == str(columns)
    page.focus("#input")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    cell = page.locator("#" + page.get_attribute("#input", "aria-activedescendant"))
    assert cell.get_attribute("aria-colindex") == "2"
    assert cell.locator("..").get_attribute("aria-rowindex") == "2"
    assert cell.text_content() == f"x[1, 1] = {page.evaluate('convmtx.input()')[6]}"
    assert page.get_attribute("#sentence", "aria-live") == "polite"
    for control in page.locator("input, select").all():
        assert control.evaluate("control => control.labels.length") == 1


@pytest.mark.parametrize("name", POINTED)
def test_on_a_phone(opened, name):
    op = POINTED[name]
    page = opened(op, width=360, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.tap("#input [data-id='3']")
    assert lit(page) == belonging(op, "input", 3)
    sentence = page.locator("#sentence").bounding_box()
    assert 0 <= sentence["y"] <= 900 - sentence["height"]  # seen wherever the page is scrolled to


@pytest.mark.parametrize("op", [cm.conv(np.ones((3, 3)), (24, 24), padding="same"), cm.conv(np.arange(30), 90)])
def test_large_maps_stay_within_a_phone(opened, op):
    page = opened(op, width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_both_themes(opened):
    op = cm.conv(powers(3), 6)
    papers = [opened(op, color_scheme=scheme).evaluate("getComputedStyle(document.documentElement).backgroundColor")
              for scheme in ("light", "dark")]  # fmt: skip
    brightness = [sum(int(part) for part in paper.strip("rgb()").split(",")) for paper in papers]
    assert brightness[0] > 600 > 200 > brightness[1]


def test_copying_the_call(opened):
    page = opened(cm.conv(powers(3), 6), permissions=["clipboard-read", "clipboard-write"])
    page.fill("[name=axis0-stride]", "2")
    page.click("#copy")
    page.wait_for_function("['Copied', 'Selected'].includes(document.getElementById('copy').textContent)")
    assert page.evaluate("getSelection().toString()") == "cm.conv(K, 6, stride=2)"
