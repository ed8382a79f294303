//! The small panels of the overview: what is under way, the graph's health, the last searches.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::titled;
use crate::app::App;
use crate::format::{amount, bytes, count, counted, duration, milliseconds, percent};
use crate::model::searches::{Search, State, shortened};
use crate::model::tasks::Task;
use crate::model::{Asked, Health, Recall};

/// Draws the tasks, each with a bar and the time that its phase will take.
pub fn tasks(frame: &mut Frame, app: &App, area: Rect) {
    let theme = app.theme;
    let block = titled(theme, "Under way");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    if app.tasks.iter().next().is_none() {
        frame.render_widget(Span::styled(" no build, vacuum or import", theme.label()), inner);
    }
    for ((task, remaining), row) in app.tasks.iter().zip(inner.rows()) {
        let what = Line::from(vec![
            Span::styled(format!(" {} {} ", task.command, theme.text(&task.relation)), theme.side(true)),
            Span::raw(format!("{} ", task.phase)),
        ]);
        let rest = format!(" {} ", progress(task, remaining));
        let widths = [
            Constraint::Length((what.width() as u16).min(row.width / 2)),
            Constraint::Fill(1),
            Constraint::Length(rest.len() as u16),
        ];
        let [name, gauge, left] = Layout::horizontal(widths).areas(row);
        frame.render_widget(what, name);
        if let Some(share) = task.share() {
            let filled = (share * f64::from(gauge.width)).round() as usize;
            let (full, empty) = if theme.is_ascii { ("#", ".") } else { ("█", "░") };
            let bar = Line::from(vec![
                Span::styled(full.repeat(filled), theme.good()),
                Span::styled(empty.repeat(usize::from(gauge.width) - filled), theme.label()),
            ]);
            frame.render_widget(bar, gauge);
        }
        frame.render_widget(rest, left);
    }
}

/// How far a task is, and for how long it will go on.
fn progress(task: &Task, remaining: Option<f64>) -> String {
    let done = match (task.share(), &*task.unit) {
        (Some(share), _) => percent(share),
        (None, "bytes") => bytes(task.done as f64),
        (None, unit) => format!("{} {unit}", count(task.done)),
    };
    match remaining {
        Some(seconds) => format!("{done}, {} left", duration(seconds)),
        None => format!("{done}, for {}", duration(task.seconds)),
    }
}

/// Draws what is known of the graph's health, and how to ask for more.
pub fn health(frame: &mut Frame, app: &App, area: Rect) {
    let theme = app.theme;
    let name = app.chosen.as_ref().map_or(String::new(), |index| format!(" of {}", index.name));
    let block = titled(theme, &format!("Health{name}"));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let Some(index) = &app.chosen else { return };
    let mut lines = Vec::new();
    if !index.is_valid {
        lines.push(Line::styled(" not valid: REINDEX or DROP it", theme.bad()));
    }
    lines.extend(match app.health.get(&index.oid) {
        Some(Asked::Answered(health)) => of_health(app, health),
        Some(Asked::Waiting) => vec![Line::styled(" reading the index (c cancels)", theme.warm())],
        Some(Asked::Failed(why)) => vec![Line::styled(theme.text(&format!(" {why}")), theme.bad())],
        None => {
            vec![sampled(app), Line::styled(" h: unreachable nodes, reads the index", theme.label())]
        }
    });
    lines.push(match app.recall.get(&index.oid) {
        Some(Asked::Answered(recall)) => of_recall(app, recall),
        Some(Asked::Waiting) => Line::styled(" measuring recall (c cancels)", theme.warm()),
        Some(Asked::Failed(why)) => Line::styled(theme.text(&format!(" {why}")), theme.bad()),
        None => Line::styled(" r: measures recall, reads the table", theme.label()),
    });
    let healed = index.links_healed.map(|healed| format!(", {} healed by searches", counted(healed, "link")));
    lines.push(Line::styled(
        format!(" {} in the table{}", counted(index.dead_rows, "dead row"), healed.unwrap_or_default()),
        theme.label(),
    ));
    frame.render_widget(Paragraph::new(lines), inner);
}

/// What the map tells without being asked.
fn sampled(app: &App) -> Line<'static> {
    let samples = || app.maps[0].cells.iter().filter_map(|cell| cell.sample.as_ref());
    if samples().next().is_none() {
        return Line::styled(" not sampled yet", app.theme.label());
    }
    let tombstones: i64 = samples().map(|sample| sample.tombstones).sum();
    let free: i64 = samples().map(|sample| sample.free_bytes).sum();
    Line::from(format!(" ~{}, ~{} free", counted(tombstones, "tombstone"), bytes(free as f64)))
}

fn of_health(app: &App, health: &Health) -> Vec<Line<'static>> {
    let theme = app.theme;
    let unreachable = if health.unreachable > 0 { theme.bad() } else { theme.good() };
    let first = Line::from(vec![
        Span::styled(format!(" {} unreachable", count(health.unreachable)), unreachable),
        Span::raw(format!(" of {} nodes", amount(health.nodes as f64))),
        Span::styled(format!("  {}", health.clock), theme.label()),
    ]);
    let drift = match health.drift {
        Some(drift) if health.reindex_recommended => {
            Span::styled(format!(" drift {drift:.2}: REINDEX"), theme.bad())
        }
        Some(drift) => Span::raw(format!(" drift {drift:.2}")),
        None => Span::raw(" no codes"),
    };
    vec![first, Line::from(vec![drift, Span::raw(format!(", {}", counted(health.tombstones, "tombstone")))])]
}

fn of_recall(app: &App, recall: &Recall) -> Line<'static> {
    let theme = app.theme;
    let Some(found) = recall.recall else {
        return Line::styled(" recall: no rows", theme.label());
    };
    let style = if found < 0.9 { theme.bad() } else { theme.good() };
    let median = recall.median_ms.map_or(String::new(), |median| format!(", {}", milliseconds(median)));
    Line::from(vec![
        Span::styled(format!(" recall@10 {found:.3}"), style.add_modifier(Modifier::BOLD)),
        Span::raw(median),
        Span::styled(format!("  {}", recall.clock), theme.label()),
    ])
}

/// Draws the newest searches.
pub fn searches(frame: &mut Frame, app: &App, area: Rect) {
    let block = titled(app.theme, "Last searches");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let searches = app.searches.newest_first();
    if searches.is_empty() {
        frame.render_widget(Span::styled(" none seen", app.theme.label()), inner);
    }
    for (search, row) in searches.iter().zip(inner.rows()) {
        frame.render_widget(search_line(app, search), row);
    }
}

/// A search as a line: its time, and what it is.
fn search_line(app: &App, search: &Search) -> Line<'static> {
    let style = if search.state == State::Running { app.theme.warm() } else { Style::new() };
    let mark = match search.state {
        State::Running => app.theme.text("▶"),
        State::Ended => " ".into(),
        State::Unknown => ">".into(),
    };
    Line::from(vec![
        Span::styled(format!("{mark}{:>9} ", milliseconds(search.milliseconds)), style),
        Span::styled(app.theme.text(&shortened(&search.text)), app.theme.label()),
    ])
}
