//! What every bench needs: a runtime, and tables.

use comfy_table::{CellAlignment, Table, presets::NOTHING};

/// Runs a bench to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Runtime::new()?.block_on(future)
}

/// A table without lines; all columns from that one on hold numbers.
pub(crate) fn table<const N: usize>(titles: [&str; N], numbers_from: usize) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(titles);
    for column in table.column_iter_mut().skip(numbers_from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
