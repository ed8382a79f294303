//! The page maps of an index and of its table, side by side.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Paragraph, Wrap};

use super::{panel, titled};
use crate::app::{App, Connection, Room};
use crate::format::{bytes, count, counted, percent};
use crate::model::map::{Cell, Map};

/// Draws both maps, each with a line about the cell under its cursor, and gives their room.
pub fn both(frame: &mut Frame, app: &App, area: Rect) -> [Room; 2] {
    let halves: [Rect; 2] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
    [0, 1].map(|side| one(frame, app, side, halves[side]))
}

/// Draws the maps as large as they can be, and below what the chosen cells hold and what the colours mean.
pub fn whole(frame: &mut Frame, app: &App, area: Rect) -> [Room; 2] {
    let [maps, about] = Layout::vertical([Constraint::Fill(1), Constraint::Length(5)]).areas(area);
    let block = titled(app.theme, "Pages by kind");
    let inner = block.inner(about);
    frame.render_widget(block, about);
    let [kinds, table, legend] = Layout::vertical([Constraint::Length(1); 3]).areas(inner);
    for (side, row) in [(0, kinds), (1, table)] {
        let line = Span::styled(app.theme.text(&by_kind(&app.maps[side])), app.theme.side(side == 0));
        frame.render_widget(line, row);
    }
    frame.render_widget(legend_line(app), legend);
    both(frame, app, maps)
}

fn one(frame: &mut Frame, app: &App, side: usize, area: Rect) -> Room {
    let (theme, map) = (app.theme, &app.maps[side]);
    let mut block = panel(theme, title(app, side));
    if map.growth > 0.0 {
        let growth = format!(" +{}/s ", bytes(map.growth * app.server.block_size as f64));
        block = block.title_bottom(Line::styled(growth, theme.side(side == 0)).right_aligned());
    }
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [cells, about] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(inner);
    let room = Room { columns: cells.width.into(), rows: cells.height.into() };
    if let Some(text) = missing(app, map) {
        frame.render_widget(
            Paragraph::new(Text::styled(theme.text(&text), theme.label())).wrap(Wrap { trim: true }),
            cells,
        );
        return room;
    }
    let is_focus = app.focus == side;
    for (number, cell) in map.cells.iter().enumerate().take(room.columns * room.rows) {
        let (mut glyph, mut style) = theme.cell(cell, side == 0);
        if let Some(sample) = cell.sample.as_ref().filter(|_| app.shows_kinds) {
            glyph = sample.kind.chars().next().unwrap_or(glyph);
        }
        if number == map.cursor && is_focus {
            style = style.add_modifier(Modifier::REVERSED);
        }
        let place =
            Position::new(cells.x + (number % room.columns) as u16, cells.y + (number / room.columns) as u16);
        frame.buffer_mut()[place].set_char(glyph).set_style(style);
    }
    if let Some(failure) = &map.failure {
        frame.render_widget(Span::styled(theme.text(failure), theme.bad()), about);
    } else if let Some(cell) = map.chosen() {
        let style = if is_focus { Style::new() } else { theme.label() };
        frame.render_widget(Span::styled(theme.text(&about_cell(cell, inner.width.into())), style), about);
    }
    room
}

/// The relation's name, its size, how much of what is shown is cached.
fn title(app: &App, side: usize) -> Line<'static> {
    let (theme, map) = (app.theme, &app.maps[side]);
    let name = app.chosen.as_ref().map(|index| if side == 0 { &index.name } else { &index.table });
    let name = name.map_or(["index", "table"][side], String::as_str);
    let mut style = theme.side(side == 0);
    if app.focus == side {
        style = style.add_modifier(Modifier::BOLD);
    }
    let mut facts = String::new();
    if !map.cells.is_empty() {
        let pages: i64 = map.cells.iter().map(|cell| cell.pages).sum();
        let cached: Option<i64> = map.cells.iter().map(|cell| cell.cached).sum();
        let cached = cached.map(|cached| format!(" {} cached", percent(cached as f64 / pages.max(1) as f64)));
        let extent = match map.part() {
            part if map.is_zoomed() => format!("blocks {}-{}", part.first, part.first + pages - 1),
            _ => bytes((map.pages * app.server.block_size) as f64),
        };
        facts = format!("{extent}{} ", cached.unwrap_or_default());
    }
    Line::from(vec![
        Span::styled(format!(" {} ", theme.text(name)), style),
        Span::styled(facts, theme.label()),
    ])
}

/// Why there is no map.
fn missing(app: &App, map: &Map) -> Option<String> {
    let text = match (&app.connection, &app.server.walia, &app.chosen, &map.failure) {
        (Connection::Lost(_), ..) if map.cells.is_empty() => "The server does not answer.".into(),
        (_, None, ..) if app.connection == Connection::Open => {
            "This database does not have the extension walia.".into()
        }
        (_, _, None, _) if app.connection == Connection::Open => {
            "There is no walia_hnsw index in this database.".into()
        }
        (.., Some(failure)) if map.cells.is_empty() => failure.clone(),
        _ if map.cells.is_empty() && map.cell_pages > 0 && !map.is_zoomed() => "There are no pages.".into(),
        _ => return None,
    };
    Some(text)
}

/// What a cell is and holds, as much of it as there is room for.
fn about_cell(cell: &Cell, width: usize) -> String {
    let mut text = match cell.pages {
        1 => format!("block {}", count(cell.first)),
        pages => format!("block {}, {}", count(cell.first), counted(pages, "page")),
    };
    let mut facts = Vec::new();
    match cell.cached {
        Some(0) | None => {}
        Some(_) if cell.pages == 1 => facts.push(format!("cached (used {:.0})", cell.usage)),
        Some(cached) => facts.push(format!("{} cached", count(cached))),
    }
    if cell.dirty > 0 {
        facts.push(if cell.pages == 1 { "dirty".into() } else { format!("{} dirty", count(cell.dirty)) });
    }
    if let Some(sample) = &cell.sample {
        // Of several pages the sample tells about how many there are.
        let about = if cell.pages == 1 { "" } else { "~" };
        facts.insert(0, sample.kind.clone());
        facts.push(format!("{about}{}", counted(sample.tuples, "tuple")));
        if sample.tombstones > 0 {
            facts.push(format!("{about}{}", counted(sample.tombstones, "tombstone")));
        }
        facts.push(format!("{about}{} free", bytes(sample.free_bytes as f64)));
    }
    if cell.written_looks > 0 {
        facts.insert(0, "just written".into());
    } else if cell.read_looks > 0 {
        facts.insert(0, "just read".into());
    }
    for fact in facts {
        if text.chars().count() + fact.chars().count() + 3 <= width {
            text = format!("{text} · {fact}");
        }
    }
    text
}

/// Pages by what most of each cell's hold.
fn by_kind(map: &Map) -> String {
    let mut kinds: Vec<(&str, i64)> = Vec::new();
    for cell in &map.cells {
        let kind = cell.sample.as_ref().map_or("not sampled yet", |sample| &sample.kind);
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, pages)) => *pages += cell.pages,
            None => kinds.push((kind, cell.pages)),
        }
    }
    kinds.sort_by_key(|(_, pages)| -pages);
    let scale = format!("{} a cell", counted(map.cell_pages, "page"));
    let kinds = kinds.iter().map(|(kind, pages)| format!("{kind} {}", count(*pages)));
    std::iter::once(scale).chain(kinds).collect::<Vec<_>>().join(" · ")
}

/// What the colours and glyphs mean.
fn legend_line(app: &App) -> Line<'static> {
    let theme = app.theme;
    let cell =
        |cached, written_looks| Cell { pages: 10, cached: Some(cached), written_looks, ..Cell::default() };
    let meanings = [
        (cell(0, 0), "not cached"),
        (cell(5, 0), "half"),
        (cell(10, 0), "cached"),
        (cell(10, 1), "just used"),
    ];
    let mut spans = Vec::new();
    for (cell, meaning) in meanings {
        for is_index in [true, false] {
            let (glyph, style) = theme.cell(&cell, is_index);
            spans.push(Span::styled(glyph.to_string(), style));
        }
        spans.push(Span::styled(format!(" {meaning}  "), theme.label()));
    }
    spans.push(Span::styled("k: kinds", theme.label()));
    Line::from(spans)
}
