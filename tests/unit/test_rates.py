"""The intervals of rates equal published values."""

from __future__ import annotations

import pytest
from connleak.judging.claims import format_number
from connleak.judging.rates import byar, has_stopped, rate, smallest_visible, wilson


def test_wilson_gives_the_textbook_interval() -> None:
    low, high = wilson(10, 100)  # Newcombe 1998, method 3
    assert (low, high) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert wilson(0, 50)[0] == pytest.approx(0.0, abs=1e-12)
    assert wilson(50, 50)[1] == 1.0


def test_byar_is_near_the_exact_poisson_interval() -> None:
    low, high = byar(10)  # exact: 4.795 to 18.390
    assert (low, high) == pytest.approx((4.795, 18.39), rel=0.01)
    assert byar(0)[0] == 0.0


def test_a_rate_has_interval_and_method() -> None:
    found = rate(12, 1000, "1000 requests", 1000.0)
    assert found.value == 12.0
    assert found.low < 12 < found.high
    assert "Wilson" in found.method
    assert "Poisson" in rate(30, 10, "1000 requests", 1000.0).method
    assert rate(0, 0, "1000 requests", 1000.0).method == "no load"


def test_growth_has_stopped_after_two_cycles_without_any() -> None:
    assert has_stopped([16, 16, 16])
    assert not has_stopped([13, 16, 16])
    assert not has_stopped([16, 16])


def test_what_a_clean_run_could_not_have_missed() -> None:
    assert smallest_visible(3000) == pytest.approx(0.001)
    assert smallest_visible(0) == 1.0


def test_rates_are_written_as_people_write_them() -> None:
    assert [format_number(x) for x in (0, 0.0412, 3.14159, 1000.4)] == ["0", "0.041", "3.1", "1000"]
