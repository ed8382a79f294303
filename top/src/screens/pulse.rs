//! The pulse: rates of the last minutes.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Sparkline, SparklineBar};

use super::titled;
use crate::app::App;
use crate::format::{amount, bytes, milliseconds};
use crate::model::pulse::Series;

const LABEL: u16 = 11;
const VALUE: u16 = 11;

type Format = fn(f64) -> String;
/// A series: its name, its values, how one is written, its colour.
type Shown<'a> = (&'a str, &'a Series, Format, Style);

/// Draws eight series, in two columns.
pub fn draw(frame: &mut Frame, app: &App, area: Rect) {
    let (theme, pulse) = (app.theme, &app.pulse);
    let block = titled(theme, "Pulse");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let of_bytes: Format = |rate| format!("{}/s", bytes(rate));
    let of_events: Format = |rate| format!("{}/s", amount(rate));
    let of_share: Format = |percent| format!("{percent:.1}%");
    let (index, table) = (theme.side(true), theme.side(false));
    let columns: [[Shown; 4]; 2] = [
        [
            ("reads", &pulse.reads, of_bytes, index),
            ("writes", &pulse.writes, of_bytes, table),
            ("WAL", &pulse.wal, of_bytes, theme.warm()),
            ("hits", &pulse.hits, of_share, theme.good()),
        ],
        [
            ("searches", &pulse.searches, of_events, index),
            ("inserts", &pulse.inserts, of_events, table),
            ("p50", &pulse.p50, milliseconds, theme.good()),
            ("p99", &pulse.p99, milliseconds, theme.warm()),
        ],
    ];
    let halves =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(2), Constraint::Fill(1)]).split(inner);
    for (column, half) in columns.iter().zip([halves[0], halves[2]]) {
        for ((label, series, shown, style), row) in column.iter().zip(half.rows()) {
            let [name, value, line] = Layout::horizontal([
                Constraint::Length(LABEL),
                Constraint::Length(VALUE),
                Constraint::Fill(1),
            ])
            .areas(row);
            frame.render_widget(Span::styled(format!(" {label}"), theme.label()), name);
            let text = series.last().map_or("-".to_owned(), shown);
            frame.render_widget(Line::from(format!("{text} ")).right_aligned(), value);
            let bars = series.newest(line.width.into()).into_iter().map(bar);
            frame.render_widget(Sparkline::default().data(bars).bar_set(theme.bars()).style(*style), line);
        }
    }
}

/// A bar, in thousandths: rates may be small.
fn bar(value: Option<f64>) -> SparklineBar {
    SparklineBar::from(value.map_or(0, |value| (value * 1000.0).round() as u64))
}
