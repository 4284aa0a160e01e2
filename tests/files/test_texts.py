"""Texts made safe for the languages they are put in."""

import pytest

from loracast.files.texts import csv_text, markdown_text, terminal_text


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_text_that_a_spreadsheet_would_carry_out_is_marked_as_text(sign):
    assert csv_text(f"{sign}cmd") == f"'{sign}cmd"
    assert csv_text(f"a{sign}cmd") == f"a{sign}cmd"


def test_a_text_in_markdown_is_neither_cell_nor_tag_nor_link_nor_emphasis():
    told = markdown_text("a|b <img> [x](y) *z* _w_ `c` \\ \n end")
    assert told == "a\\|b &lt;img> [x]\\(y) \\*z\\* \\_w\\_ \\`c\\` \\\\   end"
    assert markdown_text("5.70 [4.95, 7.43]") == "5.70 [4.95, 7.43]"


def test_a_text_in_a_terminal_keeps_its_lines_and_moves_nothing_else():
    assert terminal_text("a\nb\x1b[2J\x07\r\x9b") == "a\nb\ufffd[2J\ufffd\ufffd\ufffd"
    assert terminal_text("naïve – ▼ [red]") == "naïve – ▼ [red]"
