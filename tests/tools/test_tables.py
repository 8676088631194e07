"""Tables show names as they are."""

import io

import pytest
from rich.console import Console
from rich.markdown import Markdown

from ilfo._tools.tables import markdown_table


@pytest.mark.parametrize(
    "name", ["0.5*flow + 0.5*nearest", "a|b", "`code`", "<b>bold</b>", "C:\\runs\\*", "my_file:MyReward", "a \\| b"]
)
def test_a_rendered_table_shows_every_name_as_it_is(name):
    shown = io.StringIO()
    table = "\n".join(markdown_table([name, "steps"], [["reach", name], [name, "100"]]))
    Console(file=shown, width=120).print(Markdown(table))
    assert shown.getvalue().count(name) == 3
