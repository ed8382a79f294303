//! The lists that fill a screen: indexes, and the last searches.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Text;
use ratatui::widgets::{Cell, Row, Table, TableState};

use super::titled;
use crate::app::App;
use crate::format::{amount, bytes, milliseconds, percent};
use crate::model::searches::{State, shortened};
use crate::model::{Asked, Index};

/// Draws all indexes, with what their statistics tell.
pub fn indexes(frame: &mut Frame, app: &App, area: Rect) {
    let theme = app.theme;
    let is_wide = area.width >= 100;
    let right = |text: String| Cell::from(Text::from(text).right_aligned());
    let heads = ["index", "table", "size", "searches", "inserts", "hits", "p50", "p99", "dead", "health"];
    let widths = [8, 8, 7, 4, 7, 7, 5].map(Constraint::Length);
    let widths =
        [&[Constraint::Fill(2), Constraint::Fill(2)][..], &widths, &[Constraint::Length(16)]].concat();
    let rows = app.indexes.iter().map(|index| {
        let of_ms = |ms: Option<f64>| ms.map_or("-".into(), milliseconds);
        let asked = (index.pages_hit + index.pages_read) as f64;
        let hits = if asked > 0.0 { percent(index.pages_hit as f64 / asked) } else { "-".into() };
        let cells = [
            Cell::from(theme.text(&index.name)).style(theme.side(true)),
            Cell::from(theme.text(&index.table)).style(theme.side(false)),
            right(bytes((index.pages * app.server.block_size) as f64)),
            right(amount(index.searches as f64)),
            right(index.inserts.map_or("-".into(), |inserts| amount(inserts as f64))),
            right(hits),
            right(of_ms(index.p50)),
            right(of_ms(index.p99)),
            right(amount(index.dead_rows as f64)),
            Cell::from(summary(app, index)),
        ];
        Row::new(fitting(cells, is_wide))
    });
    let header = Row::new(fitting(heads, is_wide)).style(theme.label());
    let place =
        app.chosen.as_ref().and_then(|chosen| app.indexes.iter().position(|index| index.oid == chosen.oid));
    let table = Table::new(rows, fitting(widths, is_wide))
        .header(header)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(titled(theme, "Indexes"));
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(place));
}

/// The columns; where there is little room, names need that of tables and of dead rows more.
fn fitting<T>(columns: impl IntoIterator<Item = T>, is_wide: bool) -> impl Iterator<Item = T> {
    columns
        .into_iter()
        .enumerate()
        .filter(move |(number, _)| is_wide || ![1, 8].contains(number))
        .map(|(_, column)| column)
}

/// In a word, what was found when it was asked.
fn summary(app: &App, index: &Index) -> String {
    let health = match app.health.get(&index.oid) {
        Some(Asked::Answered(health)) if health.unreachable > 0 => "unreachable",
        Some(Asked::Answered(health)) if health.reindex_recommended => "REINDEX",
        Some(Asked::Answered(_)) => "good",
        Some(Asked::Waiting) => "asked",
        Some(Asked::Failed(_)) => "failed",
        None => "",
    };
    let health = if index.is_valid { health } else { "not valid" };
    match app.recall.get(&index.oid) {
        Some(Asked::Answered(recall)) => match recall.recall {
            Some(recall) => format!("{recall:.3} {health}"),
            None => health.into(),
        },
        _ => health.into(),
    }
}

/// Draws the searches that were seen.
pub fn searches(frame: &mut Frame, app: &App, area: Rect) {
    let theme = app.theme;
    let rows = app.searches.newest_first().iter().skip(app.scrolled).map(|search| {
        let state = match search.state {
            State::Running => "running",
            State::Ended => "",
            State::Unknown => "not seen to end",
        };
        Row::new([
            Cell::from(Text::from(milliseconds(search.milliseconds)).right_aligned()),
            Cell::from(search.pid.to_string()).style(theme.label()),
            Cell::from(theme.text(&search.role)),
            Cell::from(if search.wait.is_empty() { state.to_owned() } else { search.wait.clone() })
                .style(theme.warm()),
            Cell::from(theme.text(&shortened(&search.text))),
        ])
    });
    let widths = [
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Length(16),
        Constraint::Fill(1),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(["time", "pid", "role", "state", "statement"]).style(theme.label()))
        .block(titled(theme, "Last searches of other sessions"));
    frame.render_widget(table, area);
}
