import io

from rnn_diag.terminal.plain import Console, Group, Table, Text


def printed(thing: object, **options: bool) -> str:
    console = Console(file=io.StringIO(), width=60)
    console.print(thing, **options)
    return console.file.getvalue()  # type: ignore[union-attr]


def test_columns_are_aligned_over_the_lines_of_a_cell():
    table = Table("layer", title="Found")
    table.add_column("finding", justify="right")
    table.add_row("encoder.l0\nencoder.l1", Text("vanishing", "bold").append(": far"), style="red")
    table.add_row("x", "")
    assert table.row_count == 2
    assert str(table) == "Found\nlayer       finding\nencoder.l0  vanishing: far\nencoder.l1\nx"


def test_a_grid_has_no_names_of_columns():
    grid = Table.grid(padding=(0, 1))
    grid.add_row("a", "b")
    assert str(grid) == "a  b"


def test_a_table_without_rows_is_its_header():
    assert str(Table("a", "b")) == "a  b"


def test_brackets_are_printed_as_they_are():
    assert (
        printed("[bold]digits · [3, n] callbacks=[spectrum][/red]")
        == "[bold]digits · [3, n] callbacks=[spectrum][/red]\n"
    )


def test_what_rich_would_render_is_printed_by_its_parts():
    class Report:
        def __rich__(self) -> Group:
            return Group(Text("No findings."), "end")

    assert printed(Report()) == "No findings.\nend\n"
