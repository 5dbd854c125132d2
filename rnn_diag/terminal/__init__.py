"""Tables and lines on the screen: rich draws them where it is installed; else they are plain text."""

try:
    from rich.box import SIMPLE_HEAD
    from rich.console import Group, RenderableType
    from rich.table import Table

    from rnn_diag.terminal.drawn import Console, Text
except ImportError:
    from rnn_diag.terminal.plain import (  # type: ignore[assignment]
        SIMPLE_HEAD,
        Console,
        Group,
        RenderableType,
        Table,
        Text,
    )

__all__ = ["SIMPLE_HEAD", "Console", "Group", "RenderableType", "Table", "Text"]
